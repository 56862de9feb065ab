"""What a pretrained trunk is worth, and what it costs to send. Prints a table of docs/how-to/own-model.md.

Eight agents with few samples each see the left or the right half of a digit, or both (digits4). The trunk of each half
was trained before on other pictures of the same digits, or on digits of which no agent has one. It is kept frozen,
trained on, or left out: then the same trunk begins at random, and learns or stays so.
"""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import parse_p2p
from parse_p2p.data import Dataset
from parse_p2p.data.sets import digits4
from parse_p2p.lab.experiments.statistics import SEEDS, differences, interval, markdown

VIEWS = ("left", "right")
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
MIX = {"left": 2, "right": 2, "left+right": 4}


class Trunk(nn.Sequential):
    """(B, 32) → (B, 32)."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())


def other_pictures() -> tuple[Dataset, Dataset, float]:
    """Half of all pictures to train the trunks, and half for the agents, who train on a tenth of theirs."""
    whole = digits4.open(digits4.Options(views="left-right"), 0)
    return whole.select(range(0, len(whole), 2)), whole.select(range(1, len(whole), 2)), 0.9


def other_digits() -> tuple[Dataset, Dataset, float]:
    """The digits 0 to 4 to train the trunks, and 5 to 9 for the agents, who train on a quarter of theirs."""
    whole = digits4.open(digits4.Options(views="left-right"), 0)
    low = whole.targets < 5
    parts = (whole.select(torch.nonzero(rows).flatten()) for rows in (low, ~low))
    first, last = (Dataset("digits", part.inputs, part.targets % 5, 5) for part in parts)
    return first, last, 0.75


SETTINGS = {"other pictures of these digits": other_pictures, "other digits": other_digits}


def pretrain(data: Dataset, folder: Path) -> None:
    """Write the weights of a trunk for each half, standardised inputs in, as ``left.pt`` and ``right.pt``."""
    for view in VIEWS:
        torch.manual_seed(0)
        trunk, head = Trunk(), nn.Linear(32, data.classes)
        x = parse_p2p.data.standardise(data, data)[0].inputs[parse_p2p.Modality(view)]
        optimiser = torch.optim.Adam([*trunk.parameters(), *head.parameters()], 0.01)
        for _ in range(200):
            optimiser.zero_grad()
            loss: Tensor = cross_entropy(head(trunk(x)), data.targets)
            loss.backward()
            optimiser.step()
        torch.save(trunk.state_dict(), folder / f"{view}.pt")


def score(arm: dict[str, Any], data: Dataset, test: float, folder: Path, lr: float, seed: int) -> tuple[float, float]:
    """Mean accuracy of the agents, and bytes that one sends in a round."""
    encoders = {view: {"weights": str(folder / f"{view}.pt")} if arm["pretrained"] else {} for view in VIEWS}
    model = {"encoder": {"kind": "__main__:Trunk", "frozen": arm["frozen"]}, "encoders": encoders}
    found = parse_p2p.run(
        "ring:8", MIX, data=data, test=test, seed=seed, rounds=20, model=model, train={"lr": lr}, device="cpu"
    )
    return found.accuracy, found.bytes / 8 / 20


ARMS: dict[str, dict[str, Any]] = {
    "pretrained, frozen": {"pretrained": True, "frozen": True},
    "pretrained, trained on": {"pretrained": True, "frozen": False},
    "from scratch": {"pretrained": False, "frozen": False},
    "at random, frozen": {"pretrained": False, "frozen": True},
}


HEADING = ("accuracy", "more than from scratch", "kB a round", "learning rate")

Score = Callable[[str, float, int], tuple[float, float]]
"""Of an arm at a learning rate and a seed: accuracy, and bytes that an agent sends in a round."""


def compared(arms: Collection[str], scored: Score, rates: Collection[float], baseline: str) -> list[list[str]]:
    """A row for each arm: each at the learning rate that suits it on seeds that are not reported."""
    chosen = {arm: max(rates, key=lambda lr: sum(scored(arm, lr, s)[0] for s in (100, 101))) for arm in arms}
    found = {arm: [scored(arm, chosen[arm], seed) for seed in SEEDS] for arm in arms}
    others = [arm for arm in arms if arm != baseline]
    apart = [[a - b for (a, _), (b, _) in zip(found[arm], found[baseline], strict=True)] for arm in others]
    more = dict(zip(others, differences(apart), strict=True))
    return [
        [
            arm,
            interval([accuracy for accuracy, _ in found[arm]]),
            str(more.get(arm, "")),
            f"{found[arm][0][1] / 1000:.1f}",
            str(chosen[arm]),
        ]
        for arm in arms
    ]


def rows(setting: str) -> list[list[str]]:
    """A row for each arm."""
    before, data, test = SETTINGS[setting]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pretrain(before, folder)

        def scored(arm: str, lr: float, seed: int) -> tuple[float, float]:
            return score(ARMS[arm], data, test, folder, lr, seed)

        return [[setting, *row] for row in compared(ARMS, scored, RATES, "from scratch")]


def main() -> None:
    torch.set_num_threads(1)
    body = [row for setting in SETTINGS for row in rows(setting)]
    print("\n".join(markdown(["trained before on", "trunk", *HEADING], body)))


if __name__ == "__main__":
    main()

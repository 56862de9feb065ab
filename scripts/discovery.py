"""Rounds of gossip, from one contact each, until every slice's holders are connected. Writes docs/results/discovery.md.

8 to 256 agents of five types in one process, with PARSE's slices; three ways of who knows whom at the outset, all
messages arriving or a fifth of them lost, five seeds.
"""

import math
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from gossip_network import GossipNetwork, gossipers
from matplotlib import pyplot

from parse_p2p import __version__
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import Component, Holder, Region, offers
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.discovery.gossip.messages import PeerDescriptor, label
from parse_p2p.discovery.gossip.peer_sample import RUMOURS, VIEW
from parse_p2p.lab.experiments.statistics import SEEDS, half, interval, markdown
from parse_p2p.methods.parse import METHOD

DOCS = Path(__file__).parent.parent / "docs"
SIZES = (8, 16, 32, 64, 128, 256)
TYPES = ("audio", "motion", "audio+motion", "motion+video", "audio+motion+video")
MIXES = ("even", "rare")
SCENES = (("even", "tree"), ("rare", "tree"), ("rare", "first"), ("rare", "chain"))
LOSSES = (0.0, 0.2)
SETTLED = 10  # rounds after which traffic is taken: nothing new is found any more
MOST = 60  # rounds
STARTS = {"first": "all know one agent", "chain": "a chain", "tree": "a random tree"}

Job = tuple[int, str, str, float, int]


def component_parts(kinds: list[str]) -> list[Component]:
    """The components of the three-slice network of an agent that senses these."""
    rows = [f"rows.{kind}" for kind in ("redundant", "unique", "synergistic")]
    own = [Component(part, Modality(m)) for m in kinds for part in ("trunk", *rows, "head.unique")]
    return [*own, Component("head.redundant"), *([Component("head.synergistic")] if len(kinds) > 1 else [])]


def descriptor(position: int, kind: str) -> PeerDescriptor:
    kinds = kind.split("+")
    regions = {part.name: Region(part, 0, 1, ((part.name, (1,)),)) for part in component_parts(kinds)}
    holder = Holder(PeerId(f"a{position}"), tuple(map(Modality, kinds)), regions)
    held = offers(METHOD.sharing(METHOD.options(), 0, 1), holder)
    host = f"tcp://10.0.{position // 256}.{position % 256}"
    slices = frozenset(label(key, region.digest) for key, region in held.items())
    return PeerDescriptor(holder.id, (f"{host}:9000", f"{host}:9001"), holder.modalities, slices)


def descriptors(count: int, mix: str, seed: int) -> list[PeerDescriptor]:
    """Types in equal shares, or two agents with all three modalities and the others in equal shares of the rest."""
    kinds = [TYPES[i % 5] for i in range(count)]
    if mix == "rare":
        kinds = [TYPES[4]] * 2 + [TYPES[i % 4] for i in range(count - 2)]
    order = torch.randperm(count, generator=seeded(seed, "types")).tolist()
    return [descriptor(i, kinds[k]) for i, k in enumerate(order)]


def run(job: Job) -> dict[str, float]:
    """Rounds until all overlays are connected, and messages and bytes of an agent in a round then and later."""
    count, mix, contacts, loss, seed = job
    torch.set_num_threads(1)
    network = GossipNetwork(gossipers(descriptors(count, mix, seed), contacts, seed), seed, loss)
    while not network.connected():
        network.round()
        assert network.rounds < MOST, job
    found = {"rounds": network.rounds, **traffic(network, count, network.rounds)}
    if count == 64 and seed == SEEDS[0]:
        for _ in range(SETTLED):
            network.round()
        network.messages = network.bytes = 0
        network.round()
        found |= {f"later {name}": value for name, value in traffic(network, count, 1).items()}
    return found


def traffic(network: GossipNetwork, count: int, rounds: int) -> dict[str, float]:
    return {"messages": network.messages / count / rounds, "kB": network.bytes / count / rounds / 1000}


def pooled(found: dict[Job, dict[str, float]], count: int, mix: str, contacts: str, loss: float) -> list[float]:
    return [found[count, mix, contacts, loss, seed]["rounds"] for seed in SEEDS]


def growth(found: dict[Job, dict[str, float]], loss: float) -> float:
    """Rounds for each doubling of the agents, by least squares over all starts and seeds."""
    pairs = [(math.log2(job[0]), row["rounds"]) for job, row in found.items() if job[3] == loss]
    return statistics.linear_regression(*zip(*pairs, strict=True)).slope


def page(found: dict[Job, dict[str, float]]) -> str:
    text = [
        "# Discovery by gossip",
        "",
        f"Made by `scripts/discovery` with parse-p2p {__version__}, torch {torch.__version__}, on "
        f"{time.strftime('%Y-%m-%d')}; do not edit by hand.",
        "",
        f"Agents of five types ({', '.join(TYPES)}) in one process, with the slices that PARSE's table gives them; "
        "each knows one other by name and address, and no more. A round is one tick of every agent with the answers; "
        "it is a heartbeat of the discovery and not a round of learning. Counted are the rounds until the overlay of "
        "every slice, the edges on which both ends agree, is in one piece: mean ± half the 95 % interval over five "
        "seeds. *Even*: as many of each type. *Rare*: two agents sense all three modalities, so that some slices "
        f"have two holders among all. An agent keeps a random view of {VIEW} cards, no more than {RUMOURS} by hearsay, "
        "and the nearest holders of its slices. Every message is packed and unpacked as on the wire.",
        "",
        "![rounds until every overlay is connected, against the number of agents](../pictures/discovery.svg)",
    ]
    for loss in LOSSES:
        head = ["agents", "log2", *(f"{mix}, {STARTS[contacts]}" for mix, contacts in SCENES)]
        body = [
            [str(n), f"{math.log2(n):.0f}", *(interval(pooled(found, n, *scene, loss), 1) for scene in SCENES)]
            for n in SIZES
        ]
        title = "A fifth of the messages lost" if loss else "All messages arrive"
        text += ["", f"## {title}", "", *markdown(head, body)]
    worst = max(row["rounds"] for row in found.values())
    text += [
        "",
        f"The slowest of all {len(found)} runs took {worst:.0f} rounds. Twice as many agents take "
        f"{growth(found, LOSSES[0]):.1f} rounds more, and {growth(found, LOSSES[1]):.1f} with the loss "
        "(least squares over all runs). All agents share the redundant head here, and whoever has a neighbour for one "
        "slice hears from it of others; a slice whose few holders share nothing with anyone else depends on the "
        "random view alone and is found later, which is not measured here.",
        "",
        "## What it costs",
        "",
    ]
    text += [
        "Messages and kB that one of 64 agents sends in a round, headers included: over the rounds until all is "
        f"connected, and {SETTLED} rounds later, when messages only keep edges and the view alive.",
        "",
    ]
    rows = []
    for loss in LOSSES:
        for mix in MIXES:
            runs = [found[64, *scene, loss, seed] for scene in SCENES if scene[0] == mix for seed in SEEDS]
            means = [
                statistics.mean(run[name] for run in runs if name in run)
                for name in ("messages", "kB", "later messages", "later kB")
            ]
            rows.append([mix, f"{loss:.0%}", *(f"{mean:.1f}" for mean in means)])
    return "\n".join([*text, *markdown(["mix", "lost", "messages", "kB", "later: messages", "kB"], rows)]) + "\n"


def picture(found: dict[Job, dict[str, float]]) -> None:
    figure, panes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    looks = zip(SCENES, "o^sD", ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), (-0.09, -0.03, 0.03, 0.09), strict=True)
    for (mix, contacts), mark, colour, aside in looks:
        for pane, loss in zip(panes, LOSSES, strict=True):
            rows = [pooled(found, n, mix, contacts, loss) for n in SIZES]
            means, bars = [statistics.mean(row) for row in rows], [half(row) for row in rows]
            positions = [n * 2**aside for n in SIZES]  # side by side, so that no bar hides another
            pane.errorbar(positions, means, bars, color=colour, marker=mark, ms=4, lw=1, capsize=2,
                          label=f"{mix}, {STARTS[contacts]}")  # fmt: skip
    for pane, loss in zip(panes, LOSSES, strict=True):
        pane.plot(SIZES, [math.log2(n) for n in SIZES], color="grey", lw=1, ls=":", label="log2 n")
        pane.set_xscale("log", base=2)
        pane.set_xticks(SIZES, [str(n) for n in SIZES])
        pane.set_xlabel("agents")
        pane.set_title(f"{loss:.0%} of the messages lost", fontsize=10)
    panes[0].set_ylim(bottom=0)
    panes[0].set_ylabel("rounds until all overlays are connected")
    panes[0].legend(fontsize=7, frameon=False)
    pyplot.rcParams["svg.hashsalt"] = "discovery"  # the same figures give the same file
    figure.savefig(DOCS / "pictures" / "discovery.svg", metadata={"Date": None})


def main() -> None:
    jobs = [(n, *scene, loss, seed) for n in SIZES for scene in SCENES for loss in LOSSES for seed in SEEDS]
    found = {}
    with ProcessPoolExecutor(2) as pool:
        for i, (job, result) in enumerate(zip(jobs, pool.map(run, jobs), strict=True), 1):
            found[job] = result
            if i % 30 == 0:
                print(f"{i} of {len(jobs)} runs", flush=True)
    picture(found)
    (DOCS / "results" / "discovery.md").write_text(page(found), encoding="utf-8")
    print("wrote docs/results/discovery.md and docs/pictures/discovery.svg")


if __name__ == "__main__":
    main()

"""What one byzantine agent of eight costs the others with each mixer. Writes docs/results/byzantine.md.

It sends its slices with the sign flipped and ten times as large, or with large noise, or it trains on labels that are
all wrong. Five seeds, HTAD split IID, PARSE on the complete graph and on a ring of neighbours four wide.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from parse_p2p import __version__
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.message import Message
from parse_p2p.core.rng import seeded
from parse_p2p.lab.experiments.statistics import SEEDS, differences, interval, markdown
from parse_p2p.methods.base import Done, Local, Script, advance
from parse_p2p.runtime.simulator import simulate

MIXERS = ("weighted", "clipped", "trimmed-mean", "median", "krum")
ATTACKS = ("all are honest", "sign flipped, ten times as large", "noise of norm 10 a slice", "wrong labels")
GRAPHS: dict[str, dict[str, Any]] = {
    "complete graph": {"generator": "complete"},
    "ring, four neighbours each": {"generator": "circulant_graph", "args": {"offsets": [1, 2]}},
}
LIAR = "a4"  # with both modalities, so that it holds every slice

Lie = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
LIES: dict[str, Lie] = {
    "sign flipped, ten times as large": lambda x, rng: -10 * x,
    "noise of norm 10 a slice": lambda x, rng: x + 10 * torch.randn(x.shape, generator=rng) / x.numel() ** 0.5,
}


def lying(script: Callable[[Local, Any], Script], lie: Lie) -> Callable[[Local, Any], Script]:
    """The script, but what the byzantine agent sends is false."""

    def wrapped(local: Local, options: Any) -> Script:
        steps, answer = script(local, options), None
        rng = seeded("lie", local.learner.seed, local.round)
        while not isinstance(step := advance(steps, answer), Done):
            if local.me == LIAR:
                send = {
                    peer: Message({name: lie(x, rng) for name, x in sorted(message.tensors.items())}, message.meta)
                    for peer, message in sorted(step.send.items())
                }
                step = replace(step, send=send)
            answer = yield step
        return step.metrics

    return wrapped


def run(job: tuple[str, str, str, int]) -> float:
    """Mean accuracy of the honest agents."""
    graph, attack, mixer, seed = job
    torch.set_num_threads(1)
    plan = RunPlan(RunFile.model_validate({
        "graph": GRAPHS[graph], "method": "parse", "options": {"mixer": mixer}, "dataset": "htad", "seed": seed,
        "agents": {"mix": {"audio": 2, "motion": 2, "audio+motion": 4}, "placement": "blocks"}, "rounds": 20,
    }))  # fmt: skip
    if attack in LIES:
        scripts = {role: lying(script, LIES[attack]) for role, script in plan.method.scripts.items()}
        plan.method = replace(plan.method, scripts=scripts)
    agent_states = plan.agent_states()
    for p in agent_states:
        if p.me == LIAR and attack == "wrong labels":
            data = p.learner.data
            p.learner.data = replace(data, targets=(data.targets + 1) % data.classes)
    simulate(agent_states, plan.run.rounds)
    honest = [p.learner.evaluate()["accuracy"] for p in agent_states if p.me != LIAR]
    return sum(honest) / len(honest)


def page(found: dict[tuple[str, str, str, int], float]) -> str:
    text = [
        "# One byzantine agent among eight",
        "",
        f"Made by `scripts/byzantine` with parse-p2p {__version__}, torch {torch.__version__}, on "
        f"{time.strftime('%Y-%m-%d')}; do not edit by hand.",
        "",
        "PARSE on HTAD, IID, 20 rounds, eight agents (2 audio, 2 motion, 4 audio+motion); the byzantine one has both. "
        "Mean accuracy of the seven honest agents ± half the 95 % interval over five seeds, at the default learning "
        "rate and the default options of the mixers. Below each: the difference to the weighted mixer, paired by seed "
        "and corrected for all of this page (Holm). "
        "A slice has an overlay of its own over its holders, so that with few holders a robust mixer has few copies: "
        "with two, `trimmed-mean` and `krum` keep an agent's own.",
    ]
    rows = {key: [found[*key, seed] for seed in SEEDS] for key in product(GRAPHS, ATTACKS, MIXERS)}
    keys = list(product(GRAPHS, ATTACKS, MIXERS[1:]))
    apart = [[a - b for a, b in zip(rows[g, at, m], rows[g, at, "weighted"], strict=True)] for g, at, m in keys]
    more = dict(zip(keys, differences(apart), strict=True))
    for graph in GRAPHS:
        body = []
        for attack in ATTACKS:
            body.append([attack, *(interval(rows[graph, attack, m]) for m in MIXERS)])
            body.append(["", "", *(str(more[graph, attack, m]) for m in MIXERS[1:])])
        text += ["", f"## {graph}", "", *markdown(["the byzantine agent", *MIXERS], body)]
    return "\n".join(text) + "\n"


def main() -> None:
    jobs = [(g, a, m, s) for g in GRAPHS for a in ATTACKS for m in MIXERS for s in SEEDS]
    with ProcessPoolExecutor(2) as pool:
        found = {}
        for i, (job, score) in enumerate(zip(jobs, pool.map(run, jobs), strict=True), 1):
            found[job] = score
            if i % 20 == 0:
                print(f"{i} of {len(jobs)} runs", flush=True)
    (Path(__file__).parent.parent / "docs" / "results" / "byzantine.md").write_text(page(found), encoding="utf-8")
    print("wrote docs/results/byzantine.md")


if __name__ == "__main__":
    main()

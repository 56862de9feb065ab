"""Does it help to share trunks across label spaces? Prints the table of docs/explanation/reliability.md.

Eight agents on HTAD, with two label spaces or seven. Alone; with those of the same task only;
and, as a run with ``tasks`` does, with trunks and slices shared across tasks and heads within a task.
"""

import statistics
from dataclasses import replace
from typing import Any

import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.slices import Component, Holder, Sharing, both
from parse_p2p.lab.experiments.statistics import SEEDS, differences, interval, markdown
from parse_p2p.lab.experiments.tuning_plan import TuningPlan
from parse_p2p.runtime.simulator import simulate

CLASSES = range(7)
SPACES: dict[str, dict[str, list[list[int]]]] = {
    "no class in common": {"first": [[0], [1], [2]], "last": [[3], [4], [5], [6]]},
    "all classes, and three groups of them": {"fine": [[k] for k in CLASSES], "coarse": [[0, 1], [2, 3], [4, 5, 6]]},
    "one class against the rest, seven tasks": {f"t{k}": [[k], [c for c in CLASSES if c != k]] for k in CLASSES},
}
RUNS = ("local", "within", "parse")
RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)


def same_task(holder: Holder, component: Component) -> str | None:
    return holder.task


def score(space: str, kind: str, lr: float, seed: int, tuning: bool = False) -> float:
    """Mean accuracy of the eight agents, each on its own task: of test samples, or of training samples kept to tune."""
    run = RunFile.model_validate({
        "graph": {"generator": "ring"}, "method": "local" if kind == "local" else "parse", "dataset": "htad",
        "agents": {"mix": {"audio": 2, "motion": 2, "audio+motion": 4}, "tasks": list(SPACES[space])},
        "tasks": {name: {"classes": classes} for name, classes in SPACES[space].items()},
        "train": {"lr": lr}, "seed": seed, "rounds": 20,
    })  # fmt: skip
    plan = TuningPlan(run, 0.2) if tuning else RunPlan(run)
    if kind == "within":
        table = plan.method.sharing

        def narrowed(options: Any, round: int, rounds: int) -> Sharing:
            return {part: both(group, same_task) for part, group in table(options, round, rounds).items()}

        plan.method = replace(plan.method, sharing=narrowed)
    agent_states = plan.agent_states()
    simulate(agent_states, plan.run.rounds)
    return statistics.mean(p.learner.evaluate()["accuracy"] for p in agent_states)


def tuned(space: str, kind: str) -> float:
    """The learning rate that is best on kept training samples, with seeds that are not reported."""
    return max(RATES, key=lambda lr: sum(score(space, kind, lr, seed, tuning=True) for seed in (100, 101)))


def main() -> None:
    torch.set_num_threads(1)
    rows, apart = [], []
    for space in SPACES:
        best = {kind: tuned(space, kind) for kind in RUNS}
        found = {kind: [score(space, kind, best[kind], seed) for seed in SEEDS] for kind in RUNS}
        rows.append([space, *(f"{interval(found[k])} ({best[k]})" for k in RUNS)])
        apart += [[a - b for a, b in zip(found["parse"], found[kind], strict=True)] for kind in RUNS[:2]]
    shown = [str(difference) for difference in differences(apart)]
    body = [[*row, *shown[2 * i : 2 * i + 2]] for i, row in enumerate(rows)]
    print("\n".join(markdown(["tasks", "alone", "within the task", "across", "less alone", "less within"], body)))


if __name__ == "__main__":
    main()

"""Compare the methods and write docs/results.md.

Each row is tuned alike: the learning rates of GRID on DEVELOPMENT seeds, the best mean accuracy over all agents
wins. The reported runs use SEEDS, none of which tuned anything. Runs go through the simulator, which ends bit for
bit where the real processes do (a test says so).
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import centralised
import torch
from experiment import DEVELOPMENT, GRID, SEEDS, TYPES, Job, Result, Row, Runs, interval, lines, run, verdict

from parse_p2p import __version__

FOLDER = Path(__file__).parent.parent / "docs"

FAMILY = ("local", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "harmony")
METHODS = [
    Row("parse, fission", "parse", "fission"),
    *[Row(f"{name}, {network}", name, network) for network in ("fission", "monolithic") for name in FAMILY],
]
VARIANTS = [
    Row("default (branch losses, orthogonality)", "parse", "fission"),
    Row("without branch losses", "parse", "fission", (("branch", 0.0),)),
    Row("branch losses on detached latents", "parse", "fission", (("detach", True),)),
    Row("without orthogonality", "parse", "fission", (("orthogonal", 0.0),)),
    Row("with alignment", "parse", "fission", (("align", 0.5),)),
]

AGENTS: dict[str, Any] = {"mix": {"audio": 3, "motion": 3, "audio+motion": 2}, "placement": "alternating"}

SCENARIOS: dict[str, dict[str, Any]] = {
    "known bits": {
        "dataset": "bits",
        "data": {"samples": 3200},
        "rounds": 40,
        "say": "16 classes of one redundant, two unique and one synergistic bit (an XOR); 300 training samples an "
        "agent, IID. Shares of the closed-form ceiling (1/4, 1/4 and 1).",
    },
    "HTAD, IID": {
        "dataset": "htad",
        "rounds": 30,
        "say": "seven home activities from audio and wrist motion; 130 training samples an agent, IID.",
    },
    "HTAD, Dirichlet(0.3)": {
        "dataset": "htad",
        "partition": {"kind": "dirichlet", "alpha": 0.3},
        "rounds": 30,
        "say": "the same with labels dealt by Dirichlet(0.3).",
    },
}


def one(job: Job) -> Result:
    """The run of a job, whichever part it belongs to."""
    if job.scenario in centralised.SCENARIOS:
        scenario = centralised.SCENARIOS[job.scenario]
        return run(job, scenario, scenario.get("agents", AGENTS | {"coordinator": "hub"}), centralised.PROBES)
    return run(job, SCENARIOS[job.scenario], AGENTS, {})


def grid(scenario: str) -> tuple[float, ...]:
    return centralised.GRID if scenario in centralised.SCENARIOS else GRID


def table(runs: Runs, scenario: str, rows: list[Row]) -> list[str]:
    """The last column is the first row less this one, seed by seed."""
    head = ["", *TYPES, "all agents", "worst agent", "bytes a round", "lr", "first row less this one, all agents"]
    body: list[list[str]] = []
    first: list[float] | None = None
    for row in rows:
        results = runs.results(scenario, row)
        scores = [r["all"] for r in results]
        cells = [interval([r[key] for r in results]) for key in (*TYPES, "all", "worst")]
        last = "" if first is None else verdict([a - b for a, b in zip(first, scores, strict=True)])
        first = first or scores
        body.append([row.name, *cells, f"{results[0]['bytes']:.0f}", str(runs.lr(scenario, row)), last])
    return lines(head, body)


def page(runs: Runs) -> str:
    mix: Mapping[str, int] = AGENTS["mix"]
    text = [
        "# Results",
        "",
        f"Made by `scripts/results` with parse-p2p {__version__}, torch {torch.__version__}, "
        f"on {time.strftime('%Y-%m-%d')}; do not edit by hand.",
        "",
        f"Eight agents on a ring: {', '.join(f'{n} {kind}' for kind, n in mix.items())}. "
        "Test accuracy with each agent's own modalities: mean ± half the 95 % interval (Student's t) over the seeds "
        f"{', '.join(map(str, SEEDS))}. Every row was tuned alike: the learning rate out of "
        f"{', '.join(map(str, GRID))} with the best mean over all agents on the seeds "
        f"{', '.join(map(str, DEVELOPMENT))}, which are not reported. All else is the default of the run file. "
        "Bytes are the payload an agent sends in one round, uncompressed, on average. Networks of one row and its "
        "neighbour hold equal parameters (within 2 %). The differences are paired by seed and not corrected for "
        "the number of comparisons.",
        "",
        "# Decentralised methods",
    ]
    for scenario, settings in SCENARIOS.items():
        text += ["", f"## {scenario}", "", str(settings["say"]) + f" {settings['rounds']} rounds.", ""]
        text += table(runs, scenario, METHODS)
        text += ["", f"### {scenario}: the losses of PARSE", ""]
        text += table(runs, scenario, VARIANTS)
    text += ["", read("reading.md"), "", "# Centralised methods beside them", ""]
    text += centralised.page(runs)
    return "\n".join([*text, "", read("reading-centralised.md")])


def read(name: str) -> str:
    """What a person wrote on what the tables show."""
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--cache", type=Path, default=Path("runs/results.json"), help="results so far")
    arguments = parser.parse_args()
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    runs = Runs(arguments.cache, arguments.workers, one, grid)
    for scenario in SCENARIOS:
        runs.complete(scenario, [*METHODS, *VARIANTS])
    for scenario in centralised.SCENARIOS:
        runs.complete(scenario, centralised.rows(scenario))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "results.md").write_text(page(runs), encoding="utf-8")
    print("wrote docs/results.md")


if __name__ == "__main__":
    main()

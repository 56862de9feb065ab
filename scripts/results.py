"""Answer every file of experiments/; write docs/results/experiments.md. Finished runs are kept, and never run again."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from parse_p2p.lab.commands.compare import RUNS, complete, default_workers, written
from parse_p2p.lab.experiments.experiment import Experiment, Job, load
from parse_p2p.lab.experiments.experiment_tables import Study
from parse_p2p.lab.experiments.result_store import ResultStore
from parse_p2p.lab.experiments.sweep import Sweep

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results" / "experiments.md"
ORDER = ("rivals", "fission", "equal-bytes", "baselines", "graphs-of-fedavg", "recipe", "architecture",
         "information", "conflict", "bits", "losses", "branch-weights", "mixes", "families", "modalities", "slices",
         "dropped", "changes", "fedafd", "fedcmi", "fedcmi-weights", "fedmosaic", "fedmosaic-sizes",
         "shifting")  # fmt: skip

HEAD = """# All experiments

Made by `scripts/results` from the files of `experiments/`; do not edit by hand.

Each section is the output of `parse-lab compare` on one file; what it shows stands below its tables. The
[summary](index.md) says what they show together, and the limits.
"""


class _Missing(Exception):
    pass


class _Kept(Sweep):
    """Runs nothing."""

    def complete(self, jobs: Iterable[Job]) -> None:
        if any(self.store.get(self.key(job)) is None for job in jobs):
            raise _Missing


def kept(experiment: Experiment) -> Study | None:
    """An experiment all of whose runs are there."""
    study = Study(experiment, _Kept(ResultStore(RUNS / experiment.name / "outcomes"), 1))
    try:
        study.run()
    except _Missing:
        return None
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", "--workers", type=int, default=0, help="runs at once (default: one for each core)")
    parser.add_argument("--kept", action="store_true", help="run nothing; leave out what has not been run to its end")
    arguments = parser.parse_args()
    files = {path.stem: path for path in (ROOT / "experiments").glob("*.yaml")}
    names = [*(name for name in ORDER if name in files), *sorted(files.keys() - set(ORDER))]
    text = [HEAD]
    left = []
    for name in names:
        experiment = load(files[name])
        workers = arguments.jobs or default_workers(experiment)
        study = kept(experiment) if arguments.kept else complete(experiment, RUNS / name, workers, False, Console())
        if study is None:
            left.append(name)
        else:
            text += ["", *written(study, list(study.tables()), "##")]
    if left:
        text += ["", f"Not run yet: {', '.join(f'`experiments/{name}.yaml`' for name in left)}."]
    PAGE.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    print("wrote docs/results/experiments.md", f"without {', '.join(left)}" if left else "")


if __name__ == "__main__":
    main()

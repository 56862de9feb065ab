"""Answer the experiments of the pages of docs/results, a page for each folder of experiments/, and write those pages.

Finished runs are kept, and never run again.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from parse_p2p.lab.commands.compare import RUNS, complete, default_workers, written
from parse_p2p.lab.experiments.experiment import Experiment, Job, load
from parse_p2p.lab.experiments.experiment_tables import Study, of_one_page
from parse_p2p.lab.experiments.pictures import draw_differences
from parse_p2p.lab.experiments.result_store import ResultStore
from parse_p2p.lab.experiments.sweep import Sweep

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Page:
    """Of a folder of experiments: the page's title, and which experiments come first; others follow by name."""

    title: str
    first: tuple[str, ...]


PAGES = {
    "rivals": Page("PARSE, its rivals and its ablations", ("rivals", "people")),
    "parse": Page("How PARSE does it", ("losses", "slices", "own-labels")),
    "baselines": Page("PARSE beside methods with a coordinator", ("equal-bytes", "baselines", "graphs-of-fedavg")),
    "modules": Page("The centralised methods, module by module", ("fedafd", "fedcmi")),
    "conditions": Page("What else it depends on", ("recipe", "mixes", "modalities", "families")),
}

HEAD = """# {title}

Made by `scripts/results {folder}` from the files of `experiments/{folder}/`; do not edit by hand.

Each section is the output of `parse-lab compare` on one file, with p values corrected for all comparisons of this page;
what it shows stands below its tables. In pictures the baseline is better than a blue row and worse than an orange one,
and hollow points show no difference. The [summary](index.md) says what they show together, and the limits.
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


def files(folder: str) -> list[Path]:
    """The experiments of a page, in its order."""
    found = {path.stem: path for path in (ROOT / "experiments" / folder).glob("*.yaml")}
    first = PAGES[folder].first
    return [found[name] for name in [*first, *sorted(found.keys() - set(first))]]


def page(folder: str, studies: Sequence[Study], left: Sequence[str], to: Path) -> str:
    """A page in Markdown, whose pictures are drawn ``to`` a folder; ``left`` are experiments not run to their end."""
    of_one_page(studies)
    text = [HEAD.format(title=PAGES[folder].title, folder=folder)]
    for study in studies:
        place, drawn = f"pictures/{folder}/{study.experiment.name}.svg", dict[str, str]()
        if study.comparisons.found:
            (to / place).parent.mkdir(parents=True, exist_ok=True)
            drawn[draw_differences(study, to / place)] = place
        text += ["", *written(study, list(study.tables()), "##", drawn)]
    if left:
        text += ["", f"Not run yet: {', '.join(left)}."]
    return "\n".join(text).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help=f"of {', '.join(PAGES)}; default: all")
    parser.add_argument("--jobs", "--workers", type=int, default=0, help="runs at once (default: one for each core)")
    parser.add_argument("--kept", action="store_true", help="run nothing; leave out what has not been run to its end")
    arguments = parser.parse_args()
    if unknown := [page for page in arguments.pages if page not in PAGES]:
        parser.error(f"there is no page {unknown[0]!r}: take {', '.join(PAGES)}")
    for folder in arguments.pages or PAGES:
        studies, left = [], []
        for path in files(folder):
            experiment = load(path)
            workers = arguments.jobs or default_workers(experiment)
            study = kept(experiment) if arguments.kept else complete(experiment, RUNS / path.stem, workers, False,
                                                                     Console())  # fmt: skip
            if study is None:
                left.append(f"`{path.relative_to(ROOT)}`")
            else:
                studies.append(study)
        to = ROOT / "docs" / "results" / f"{folder}.md"
        to.write_text(page(folder, studies, left, to.parent), encoding="utf-8")
        print("wrote", to.relative_to(ROOT), f"without {', '.join(left)}" if left else "")


if __name__ == "__main__":
    main()

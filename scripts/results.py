"""Answer every file of experiments/ and write docs/results.md; finished runs are kept, and never run again."""

import argparse
from pathlib import Path

from rich.console import Console

from parse_p2p.lab.compare import RUNS, complete, default_workers, written
from parse_p2p.lab.experiment import load

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
ORDER = ("equal-bytes", "architecture", "losses", "subjects", "mixes", "families", "modalities", "slices", "dropped",
         "changes", "fedafd", "fedcmi", "fedmosaic", "shifting")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=0, help="runs at once (default: one for each core)")
    arguments = parser.parse_args()
    files = {path.stem: path for path in (ROOT / "experiments").glob("*.yaml")}
    names = [*(name for name in ORDER if name in files), *sorted(files.keys() - set(ORDER))]
    text = ["# Results", "", "Made by `scripts/results` from the files of `experiments/`; do not edit by hand.", ""]
    text += [(ROOT / "docs" / "reading.md").read_text(encoding="utf-8")]
    for name in names:
        experiment = load(files[name])
        study = complete(experiment, RUNS / name, arguments.workers or default_workers(experiment), False, Console())
        text += ["", *written(study, list(study.tables()), "##")]
    PAGE.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    print("wrote docs/results.md")


if __name__ == "__main__":
    main()

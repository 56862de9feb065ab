"""Accuracy over rounds and over bytes: a line a row, with its 95 % interval, one pair of panels a table."""

import itertools
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from parse_p2p.lab.experiments.experiment import row_label, tables
from parse_p2p.lab.experiments.experiment_tables import Study
from parse_p2p.lab.experiments.statistics import half


def draw(study: Study, path: Path) -> None:
    """Write the picture, in the format of the file's suffix."""
    groups = list(tables(study.experiment))
    figure, axes = plt.subplots(len(groups), 2, figsize=(11, 3.6 * len(groups)), sharey="row", squeeze=False,
                                layout="constrained")  # fmt: skip
    for (common, members), (by_round, by_bytes) in zip(groups, axes, strict=True):
        styles = itertools.product(("-", "--", ":", "-."), plt.colormaps["tab10"].colors)  # type: ignore[attr-defined]
        for labels, (style, colour) in zip(members, styles, strict=False):
            outcomes, label = study.outcomes(labels), row_label(study.experiment, labels)
            scores = [[o.scores(n)["all"] for o in outcomes] for n in range(1, outcomes[0].rounds + 1)]
            means = [statistics.mean(row) for row in scores]
            either = [half(row) if len(row) > 1 else 0.0 for row in scores]
            spent = list(itertools.accumulate(statistics.mean(row) / 1e6 for row in zip(*(o.bytes for o in outcomes),
                                                                                       strict=True)))  # fmt: skip
            width = 2.2 if label == study.experiment.baseline else 1.2
            for panel, x in ((by_round, range(1, len(means) + 1)), (by_bytes, spent)):
                if panel is by_bytes and not spent[-1]:
                    continue  # it sends nothing
                panel.plot(x, means, style, color=colour, linewidth=width, label=label)
                low, high = ([m + sign * e for m, e in zip(means, either, strict=True)] for sign in (-1, 1))
                panel.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        by_round.set(title=", ".join(common.values()), xlabel="rounds", ylabel=f"{outcomes[0].score}, all agents")
        by_bytes.set(xlabel="MB sent by each agent")
        by_round.legend(fontsize="x-small")
        for panel in (by_round, by_bytes):
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)

"""Pictures of an experiment: its rows over rounds and over bytes, and their differences to the baseline."""

import itertools
import math
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from parse_p2p.lab.experiments.experiment import row_label, tables
from parse_p2p.lab.experiments.experiment_tables import Study
from parse_p2p.lab.experiments.statistics import half
from parse_p2p.lab.graphs.picture import save

# Two of Okabe and Ito's colours, which stay apart for those who see red and green alike
COLOURS = {"better": "#0072b2", "worse": "#d55e00"}
UNSHOWN = "#8a8a8a"
ABREAST = 3  # panels of differences side by side, at most


def draw_curves(study: Study, path: Path) -> str:
    """Accuracy over rounds and over bytes: a line a row, with its 95 % interval, one pair of panels a table.

    The format is that of the file's suffix. Returns what it shows, for those who do not see it.
    """
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
    save(figure, path)
    plt.close(figure)
    return f"Over rounds and over bytes: the {study.score} of all agents in each row, with 95 % intervals"


def draw_differences(study: Study, path: Path) -> str:
    """A forest plot: the baseline less each row with its 95 % interval, one panel a table.

    Filled and coloured where it is better or worse after the correction. The format is that of the file's suffix.
    Returns what it shows, for those who do not see it.
    Raises ValueError for a study without differences: of one seed, or of the baseline alone.
    """
    experiment, tested = study.experiment, study.comparisons.found
    panels = [(", ".join(common.values()), [each for each in members if each in tested])
              for common, members in tables(experiment)]  # fmt: skip
    rows = [row_label(experiment, labels) for labels in panels[0][1]]  # as in all others
    if not rows:
        raise ValueError(f"{experiment.path}: no row is compared with another")
    across = min(ABREAST, len(panels))
    down = math.ceil(len(panels) / across)
    size = 2.6 * across + 0.08 * max(map(len, rows)), down * (0.22 * len(rows) + 0.9)
    figure, axes = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, members) in zip(axes.flat, panels, strict=False):
        found = [tested[labels] for labels in members]
        colours = [COLOURS.get(d.word, UNSHOWN) for d in found]
        insides = [COLOURS.get(d.word, "white") for d in found]
        axis.axvline(0, color="black", linewidth=0.8)
        axis.hlines(range(len(rows)), [d.mean - d.half for d in found], [d.mean + d.half for d in found], colours)
        axis.scatter([d.mean for d in found], range(len(rows)), 25, insides, edgecolors=colours, zorder=3)
        axis.set_title(title, fontsize="medium")
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(left=False)
        axis.grid(axis="x", alpha=0.25)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0, 0].set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    figure.supxlabel(f"{experiment.baseline} less this row, {study.score} of all agents", fontsize="medium")
    save(figure, path)
    plt.close(figure)
    return (
        f"{experiment.baseline} less each other row, with 95 % intervals: blue where it is better, orange where it is "
        "worse, hollow where no difference is shown"
    )

"""An experiment file: what is varied, over which seeds, and what is compared with what.

base: ../topologies/ring.yaml             # a run file, beside this one
settings: {rounds: 30}                    # of every run; dotted keys as --set takes them
axes:                                     # every combination is run
  data:                                   # labels of your own, each with its settings
    HTAD: {dataset: htad}
  method: [parse, dsgd-hybrid]            # a list: values of the key that the axis is named after
seeds: [0, 1, 2, 3, 4]
tune: {key: train.lr, values: [0.05, 0.1], seeds: [100, 101]}  # by training samples that are kept for it
baseline: parse                           # a label; its axis gives the rows of the tables
sets: data                                # the axis over which rows are compared too
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.core.errors import ConfigError, P2PError, nearest

Labels = tuple[tuple[str, str], ...]
"""By axis, in the order of the file, the label of each."""


Label = Annotated[str, BeforeValidator(str)]


def _labelled(axis: Any) -> Any:
    """What nothing is changed for needs no settings."""
    return {str(k): {} if v is None else v for k, v in axis.items()} if isinstance(axis, dict) else axis


Axis = Annotated[dict[str, dict[str, Any]], BeforeValidator(_labelled)]
"""Settings by label; in a file also a list of values, which are the labels too."""


HARMLESS = {"train.epochs": 1, "train.lr": 1e-6}
"""Settings of runs of which the bytes alone are asked: one pass, of steps so short that no loss becomes infinite."""


class Tune(BaseModel):
    """Every row gets the value with the best mean accuracy over all agents, on training samples kept for that.

    Its runs have seeds that are not reported, are simulated, and never see the test set. Reported runs train on all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field("train.lr", description="the key that is tuned")
    values: list[Any] = Field(min_length=1)
    seeds: list[int] = Field([100, 101], min_length=1)
    share: float = Field(0.2, gt=0, lt=1, description="of the training samples, kept to tune by")
    widen: int = Field(
        2,
        ge=0,
        description="how often a grid of numbers is continued on a side where the best lies on its edge",
    )
    over: list[str] | None = Field(None, description="tune for these axes; the others keep their first label's value")


class Experiment(BaseModel):
    """See the module's docstring; ``experiments/`` has examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    say: str = Field("", description="what is compared, for a reader of the tables")
    base: str = Field(description="a run file, beside this one")
    settings: dict[str, Any] = Field(default_factory=dict, description="of every run, over those of the base")
    axes: dict[str, Axis] = Field(min_length=1)
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1)
    tune: Tune | None = None
    baseline: Label = Field(description="the label that all others of its axis are compared with")
    sets: str | None = Field(None, description="the axis of data sets, over which rows are also compared")
    engine: Literal["simulator", "processes"] = "simulator"
    measures: list[str] = Field(default_factory=list, description="what else is asked of the agents at the end")
    columns: list[str] = Field(default_factory=list, description="measures that the tables show")
    claims: list[dict[str, str]] = Field(default_factory=list, description="says, of, first, second: what should hold")
    target: float | dict[str, float] | None = Field(None, description="an accuracy to reach, or one by label")
    equal_bytes: bool = Field(False, description="run each row for the rounds that the bytes of the baseline pay for")
    reading: str = Field("", description="what a person reads off the tables; goes below them")
    path: Path = Path()

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def rows(self) -> str:
        """The axis of the baseline."""
        return next(axis for axis in self.axes if self.baseline in self.axes[axis])

    def combinations(self) -> list[Labels]:
        """Of labels, one of each axis; the last axis goes fastest."""
        return [tuple(zip(self.axes, each, strict=True)) for each in itertools.product(*self.axes.values())]

    def beside(self, labels: Labels) -> Labels:
        """The combination of the baseline in the same table."""
        return tuple((axis, self.baseline if axis == self.rows else label) for axis, label in labels)

    def tuned_as(self, labels: Labels) -> Labels:
        """The combination on which the tuned value of this one is found."""
        if self.tune is None or self.tune.over is None:
            return labels
        over = self.tune.over
        return tuple((a, label if a in over else next(iter(self.axes[a]))) for a, label in labels)


@dataclass(frozen=True)
class Job:
    """One run: a combination with a seed, and the tuned value it takes, if any.

    ``share`` of the training samples is kept to tune by; None: the run is reported. ``rounds`` it has, None: those of
    the file. Of ``traffic`` only the bytes are asked, and it trains as little as can be.
    """

    experiment: Experiment
    labels: Labels
    seed: int
    tuned: Any = None
    share: float | None = None
    rounds: int | None = None
    traffic: bool = False

    @property
    def engine(self) -> str:
        """Runs that tune are simulated, which gives the same numbers."""
        if self.traffic:
            return "traffic"
        return self.experiment.engine if self.share is None else "simulator"

    @property
    def measures(self) -> list[str]:
        return [] if self.traffic else self.experiment.measures

    @property
    def called(self) -> str:
        return ", ".join(label for _, label in self.labels) + f", seed {self.seed}"

    def run(self) -> RunFile:
        """The resolved run file. Raises ConfigError naming the experiment and the combination."""
        file, settings = self.experiment.path.parent / self.experiment.base, [*self.experiment.settings.items()]
        for axis, label in self.labels:
            own = dict(self.experiment.axes[axis][label])
            if isinstance(other := own.pop("base", None), str):
                file = self.experiment.path.parent / other
            settings += own.items()
        settings.append(("seed", self.seed))
        if self.rounds is not None:
            settings.append(("rounds", self.rounds))
        if self.traffic:
            settings += HARMLESS.items()
        if self.experiment.tune is not None and self.tuned is not None:
            settings.append((self.experiment.tune.key, self.tuned))
        try:
            return run_file.load(file, settings)  # in this order: what comes later holds
        except ConfigError as error:
            raise ConfigError(self.wrong(error)) from None

    def wrong(self, error: P2PError) -> str:
        """A sentence on what is wrong with this run, which tells of rounds that stand in no file."""
        rounds = "" if self.rounds is None else f"; with equal_bytes this row has rounds: {self.rounds}"
        return f"{self.experiment.path}: {self.called}: {error}{rounds}"


def load(path: Path) -> Experiment:
    """Read an experiment file. Raises ConfigError naming file and key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"the experiment {path} cannot be read: {reason.lower()}; see experiments/") from None
    except run_file.NO_YAML as error:
        raise ConfigError(f"{path}: this is no YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} is empty or no mapping: it needs base, axes and baseline; see experiments/")
    if isinstance(axes := raw.get("axes"), dict):
        raw["axes"] = {axis: _values(path, axis, of) if isinstance(of, list) else of for axis, of in axes.items()}
    try:
        experiment: Experiment = run_file.options(Experiment, {**raw, "path": path}, str(path))
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{path}.", f"{path}: ", 1)) from None
    for sentence in _wrong(experiment):
        raise ConfigError(f"{path}: {sentence}")
    return experiment


def _values(path: Path, axis: str, values: list[Any]) -> dict[str, dict[str, Any]]:
    """A list of values as settings by label."""
    labels = {str(value): {axis: value} for value in values}
    if len(labels) < len(values):
        raise ConfigError(f"{path}: axes.{axis}: a value stands there twice; keep one")
    return labels


def _wrong(experiment: Experiment) -> Iterator[str]:
    """What keys of the file say against each other."""
    axes, tune = experiment.axes, experiment.tune
    listed = {"seeds": experiment.seeds} | ({"tune.seeds": tune.seeds, "tune.values": tune.values} if tune else {})
    for key, values in listed.items():
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            yield f"{key}: {twice[0]} stands there twice; keep one"
    for axis, labels in axes.items():
        if not labels:
            yield f"axes.{axis} has no labels: give at least one, or leave the axis out"
        for label, settings in labels.items():
            if "seed" in settings:
                yield f"axes.{axis}.{label}: seeds are no setting here; they stand under seeds"
    known, baseline = [label for labels in axes.values() for label in labels], experiment.baseline
    if baseline not in known:
        yield f"baseline: no axis has the label {baseline!r}: {nearest(baseline, known)}"
    if known.count(baseline) > 1:
        yield f"baseline: several axes have the label {baseline!r}; rename one"
    if experiment.equal_bytes:
        for label, settings in axes[experiment.rows].items():
            if "rounds" in settings:
                yield (
                    f"axes.{experiment.rows}.{label}: with equal_bytes rows have the rounds that their bytes pay for; "
                    "take rounds out, and give those of the baseline under settings"
                )
    if experiment.equal_bytes and tune is not None and tune.key.partition(".")[0] != "train":
        yield (
            f"tune.key: {tune.key} may change what is sent, and so the rounds; with equal_bytes tune a key of train, "
            "such as train.lr"
        )
    if tune is not None and (both := set(tune.seeds) & set(experiment.seeds)):
        yield f"tune.seeds: {min(both)} is one of the seeds that are reported; take others"
    if experiment.sets is not None and experiment.sets not in axes:
        yield f"sets: there is no axis {experiment.sets!r}: {nearest(experiment.sets, axes)}"
    elif experiment.sets is not None and baseline in axes[experiment.sets]:
        yield f"sets: the baseline {baseline!r} is of the axis {experiment.sets!r}; name the axis of data sets"
    elif experiment.sets is not None and len(axes[experiment.sets]) < 2:
        yield f"sets: the axis {experiment.sets!r} has a single label; give two data sets or more, or leave sets out"
    for axis in (tune.over or []) if tune is not None else []:
        if axis not in axes:
            yield f"tune.over: there is no axis {axis!r}: {nearest(axis, axes)}"
    for claim in experiment.claims:
        if claim.keys() != {"says", "of", "first", "second"}:
            yield "claims: each needs says, of (a measure), first and second (labels of rows)"
            continue
        for end in ("first", "second"):
            if claim[end] not in (labels := axes[experiment.rows]):
                yield f"claims: {end}: there is no row {claim[end]!r}: {nearest(claim[end], labels)}"


def tables(experiment: Experiment) -> Iterator[tuple[Mapping[str, str], list[Labels]]]:
    """Combinations that stand in one table, rows in the order of the file, with what they have in common."""
    rows = experiment.rows
    groups: dict[tuple[tuple[str, str], ...], list[Labels]] = {}
    for labels in experiment.combinations():
        groups.setdefault(tuple((a, label) for a, label in labels if a != rows), []).append(labels)
    for common, members in groups.items():
        yield dict(common), members


def row_label(experiment: Experiment, labels: Labels) -> str:
    return dict(labels)[experiment.rows]


def jobs(
    experiment: Experiment, labels: Sequence[Labels], seeds: Sequence[int], tuned: Any = None, rounds: int | None = None
) -> list[Job]:
    return [Job(experiment, each, seed, tuned, rounds=rounds) for each in labels for seed in seeds]


def tuning_jobs(experiment: Experiment, labels: Labels, value: Any, rounds: int | None = None) -> list[Job]:
    """The runs that say how good a value is for a combination."""
    assert experiment.tune is not None
    share = experiment.tune.share
    return [Job(experiment, labels, seed, value, share, rounds) for seed in experiment.tune.seeds]


def traffic_job(experiment: Experiment, labels: Labels, rounds: int | None = None) -> Job:
    """The run that says what a combination sends, of the first seed."""
    return Job(experiment, labels, experiment.seeds[0], rounds=rounds, traffic=True)

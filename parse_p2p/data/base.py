"""A data set's modalities share one row order: row 3 of every input is one event.

It is whole in memory, but for inputs that are read from their files when they are needed (``lazy.py``).

A data-set file offers ``Options`` (a pydantic model) and ``open(options, seed) -> Dataset``; everything after
that (splitting, scaling, dealing rows to agents, dropping a modality) is done on the value defined here.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.kinds import Kinds, Tokens, padding_of
from parse_p2p.data.lazy import Input, LazyInput, finite, in_memory, pieces, statistics
from parse_p2p.data.tasks.base import Task
from parse_p2p.data.tasks.classification import CLASSIFICATION

Rows = Tensor | NDArray[np.int64] | Sequence[int]
"""Row numbers from 0 (not a mask of booleans); a row may be named twice."""


Present = Mapping[Modality, Tensor]
"""Which samples have a modality, bool (N,), of each modality that not all samples have."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples of a data set: inputs (B, ...), targets as there, weights float32 (B,), and its task.

    Inputs are float32, or int64 (B, length) of tokens. ``prior`` (C,) is what losses add to the logits of each class,
    see ``prior_of``.
    """

    inputs: Mapping[Modality, Tensor]
    targets: Tensor
    present: Present = field(default_factory=dict)
    weights: Tensor | None = None
    task: Task = CLASSIFICATION
    prior: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def parts(self) -> "list[tuple[Tensor | slice, Batch]]":
        """The samples by which modalities they have: the rows of each part, and the part with only those inputs.

        So no network ever reads what stands where nothing was measured. Where nothing is missing the batch is the only
        part.
        """
        if not self.present:
            return [(slice(None), self)]
        return [(rows, self._part(rows, missing)) for missing, rows in _patterns(self.present)]

    def _part(self, rows: Tensor, missing: tuple[Modality, ...]) -> "Batch":
        inputs = {m: x[rows] for m, x in self.inputs.items() if m not in missing}
        weights = None if self.weights is None else self.weights[rows]
        return Batch(inputs, self.targets[rows], weights=weights, task=self.task, prior=self.prior)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled samples seen through one or more modalities.

    inputs   per modality float32, first axis the sample: (N,F) vectors, (N,C,T) series, (N,C,H,W) images; or int64
             (N,length) tokens, see ``kinds``; a tensor, or what reads its samples when they are asked for
    targets  int64 (N,), from 0 to classes - 1; or float32 (N, classes) where the task is no classification
    classes  how many classes there are, or labels, or numbers to predict: the outputs of a network
    groups   int64 (N,) or None: the natural client, such as the person, each sample comes from
    ceiling  the best accuracy any model can reach with these modalities, where a closed form is known
    shows    what these modalities show of classes, there too: those that show the same are equally likely
    labels   the names of the classes, or of what else is put out; none where they have only numbers
    present  which samples have a modality, bool (N,), of each that not all samples have; where one is missing its
             input is 0, and nobody reads it
    weights  float32 (N,), from 0, or None: how much each sample counts in the loss, beside the others of its agent
    task     what a target is: one class, any number of labels, or numbers
    kinds    of the modalities that are tokens or embeddings, which their axes do not tell
    official  bool (N,) or None: the samples that its authors keep for testing
    group_names  what the groups are called, by their number; none where they are called by it
    frequencies  (C,) or None: how frequent each class is among all agents' training samples, where that corrects logits

    Raises ConfigError where lengths differ or a target is not what the task says.
    """

    name: str
    inputs: Mapping[Modality, Input]
    targets: Tensor
    classes: int
    groups: Tensor | None = None
    ceiling: Callable[[frozenset[Modality]], float] | None = None
    shows: Callable[[frozenset[Modality], Tensor], Tensor] | None = None
    labels: tuple[str, ...] = ()
    present: Present = field(default_factory=dict)
    weights: Tensor | None = None
    task: Task = CLASSIFICATION
    kinds: Kinds = field(default_factory=dict)
    official: Tensor | None = None
    group_names: tuple[str, ...] = ()
    frequencies: Tensor | None = None

    def __post_init__(self) -> None:
        columns: list[tuple[str, Input | None]] = [
            *self.inputs.items(), ("groups", self.groups), ("weights", self.weights), ("official", self.official),
            *self.present.items(),
        ]  # fmt: skip
        for column, values in columns:
            if values is not None and len(values) != len(self):
                raise ConfigError(
                    f"data set {self.name!r} has {len(self)} targets but {len(values)} rows of {column!r}; "
                    "give one row per target"
                )
        for modality, there in self.present.items():
            if modality not in self.inputs:
                raise ConfigError(f"data set {self.name!r} says who has {modality!r}, of which it has no input")
            if not isinstance(there, Tensor) or there.dtype != torch.bool or there.dim() != 1:
                raise ConfigError(f"present of {modality!r} in {self.name!r} has to be a bool tensor (N,)")
        for m, x in self.inputs.items():
            ids = isinstance(self.kinds.get(m), Tokens)
            if ids and (x.padding is None if isinstance(x, LazyInput) else x.dtype != torch.int64 or x.ndim != 2):
                raise ConfigError(f"{m!r} of data set {self.name!r} is tokens, which have to be int64 (N, length)")
        weights = self.weights
        fits = isinstance(weights, Tensor) and weights.dim() == 1 and weights.is_floating_point()
        if weights is not None and not fits:
            raise ConfigError(f"weights of data set {self.name!r} have to be a float tensor (N,)")
        if self.official is not None and (self.official.dtype != torch.bool or self.official.dim() != 1):
            raise ConfigError(f"official of data set {self.name!r} has to be a bool tensor (N,)")
        if self.group_names and (self.groups is None or (len(self.groups) and not self._named_groups)):
            raise ConfigError(f"data set {self.name!r} has groups without a name; name each, by its number from 0")
        if len(set(self.group_names)) < len(self.group_names):
            raise ConfigError(f"data set {self.name!r} has two groups of one name; give each a name of its own")
        if wrong := self.task.wrong(self.targets, self.classes):
            raise ConfigError(f"data set {self.name!r} has {wrong}")
        if self.labels and len(self.labels) != self.classes:
            raise ConfigError(
                f"data set {self.name!r} has {self.classes} {self.task.several} but {len(self.labels)} names; "
                f"name each {self.task.one}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The names of the inputs, sorted."""
        return tuple(sorted(self.inputs))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, their numbers where they have none."""
        return self.labels or tuple(map(str, range(self.classes)))

    @property
    def _named_groups(self) -> bool:
        assert self.groups is not None
        return int(self.groups.min()) >= 0 and int(self.groups.max()) < len(self.group_names)

    @property
    def natural_groups(self) -> dict[str, int]:
        """The number of each natural group that there is a sample of, by its name; in the order of their numbers."""
        there = [] if self.groups is None else np.unique(self.groups.numpy()).tolist()
        return {self.group_names[each] if self.group_names else str(each): each for each in there}

    def shape(self, modality: Modality) -> tuple[int, ...]:
        """The shape of one sample of this modality, without the sample axis; a ``TokenShape`` of tokens.

        Raises ConfigError where it is unknown.
        """
        found, kind = tuple(self._input(modality).shape[1:]), self.kinds.get(modality)
        return kind.shape(found) if isinstance(kind, Tokens) else found

    def batch(self, rows: Rows) -> Batch:
        """These rows, in this order, of every modality."""
        at = _index(rows)
        inputs = {m: x[at] for m, x in self.inputs.items()}
        present = {m: there[at] for m, there in self.present.items()}
        return Batch(inputs, self.targets[at], present, None if self.weights is None else self.weights[at], self.task)

    def select(self, rows: Rows, modalities: Sequence[Modality] | None = None) -> "Dataset":
        """These rows seen through these modalities (default all). Raises ConfigError where one is unknown."""
        at = _index(rows)
        names = self.modalities if modalities is None else tuple(modalities)
        return replace(
            self,
            inputs={m: _selected(self._input(m), at) for m in names},
            targets=self.targets[at],
            groups=None if self.groups is None else self.groups[at],
            present=_gaps({m: there[at] for m, there in self.present.items() if m in names}),
            weights=None if self.weights is None else self.weights[at],
            official=None if self.official is None else self.official[at],
            kinds={m: kind for m, kind in self.kinds.items() if m in names},
        )

    def has(self, modality: Modality) -> Tensor:
        """Which samples have a modality, bool (N,)."""
        there = self.present.get(modality)
        return torch.ones(len(self), dtype=torch.bool, device=self.targets.device) if there is None else there

    def having(self, modality: Modality) -> Input:
        """The inputs of the samples that have a modality. Raises ConfigError where it is unknown."""
        x = self._input(modality)
        if modality not in self.present:
            return x  # not copied where all have it
        return _selected(x, torch.nonzero(self.present[modality]).flatten())

    def in_memory(self) -> dict[Modality, Tensor]:
        """All inputs whole, as tensors."""
        return {m: in_memory(x) for m, x in self.inputs.items()}

    def lacking(self) -> dict[tuple[Modality, ...], Tensor]:
        """The rows by the modalities that they lack, sorted; of those that lack none under ``()``."""
        return dict(_patterns(self.present))

    def weighed(self) -> Tensor:
        """How much each sample counts, float32 (N,)."""
        return torch.ones(len(self), device=self.targets.device) if self.weights is None else self.weights

    def sensed(self) -> "Dataset":
        """The samples that have one modality at least."""
        if any(m not in self.present for m in self.inputs):
            return self
        return self.select(torch.nonzero(torch.stack(list(self.present.values())).any(0)).flatten())

    def whole(self) -> "Dataset":
        """The samples that have every modality."""
        if not self.present:
            return self
        return self.select(torch.nonzero(torch.stack(list(self.present.values())).all(0)).flatten())

    def chances(self, said: Tensor) -> Tensor:
        """How likely each sample's class is the one ``said`` of it, (N,) → (N,), as far as these modalities show.

        1 or 0 as a rule. Where a closed form is known, a class that shows the same as the true one counts as the
        ceiling, whichever was drawn: the mean is the expected accuracy, without the luck of guessing what no model
        can know.
        """
        if self.ceiling is None or self.shows is None or self.present:
            return (said == self.targets).double()
        seen = frozenset(self.modalities)
        return (self.shows(seen, said) == self.shows(seen, self.targets)).double() * self.ceiling(seen)

    def _input(self, modality: Modality) -> Input:
        if modality not in self.inputs:
            raise ConfigError(f"data set {self.name!r} has no modality {modality!r}; {nearest(modality, self.inputs)}")
        return self.inputs[modality]


def split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set in (train, test) with ``share`` of every class, to the nearest sample, in test.

    Where the task has no classes it is the share of all samples.

    Together they are all rows, each once, drawn by the seed alone.
    A class never leaves train: one that has a single sample is not tested. Rows are drawn at random, so of a
    data set with ``groups`` each group is on both sides. Raises ConfigError unless 0 < share < 1 and both get rows.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the test share of {dataset.name!r} is {share}; give one between 0 and 1")
    rng = np.random.default_rng(seed)
    labels = dataset.task.strata(dataset.targets).numpy()
    test = np.zeros(len(dataset), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test[rows[: min(int(share * len(rows) + 0.5), len(rows) - 1)]] = True
    if not test.any():
        raise ConfigError(f"the test share {share} of {dataset.name!r} leaves no test samples; raise it")
    return dataset.select(np.flatnonzero(~test)), dataset.select(np.flatnonzero(test))


def split_groups(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set in (train, test) with about ``share`` of its natural groups in test, each group whole.

    So nobody in test was trained on. Raises ConfigError where there are no groups, or too few for both.
    """
    if dataset.groups is None:
        raise ConfigError(f"test_by: data set {dataset.name!r} has no natural groups; take sample")
    names = np.unique(dataset.groups.numpy())
    count = int(share * len(names) + 0.5)
    if not 0 < count < len(names):
        raise ConfigError(f"the test share {share} of {len(names)} groups of {dataset.name!r} leaves one side empty")
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    test = np.isin(dataset.groups.numpy(), chosen)
    return dataset.select(np.flatnonzero(~test)), dataset.select(np.flatnonzero(test))


@dataclass(frozen=True, eq=False)
class Scale:
    """Scales one modality: ``(x − mean) / deviation`` per feature (vectors) or channel (others), in double precision.

    Both have the axes of a batch, of size 1 but for the second; None leave x as it is. Where the deviation is 0 x
    becomes 0: nothing can be learnt from what is constant, and it gives no unit.
    """

    mean: Tensor | None = None
    deviation: Tensor | None = None

    @staticmethod
    def none() -> "Scale":
        """Leaves everything as it is."""
        return Scale()

    @staticmethod
    def of(x: Input) -> "Scale":
        """To mean 0 and standard deviation 1 of these samples, (N, ...); of no samples, and of ids, there is none."""
        if not len(x) or (x.padding is not None if isinstance(x, LazyInput) else not x.is_floating_point()):
            return Scale()
        if isinstance(x, LazyInput):
            size = (1, -1) + (1,) * (x.ndim - 2)
            mean, deviation, constant = (each.view(size) for each in statistics(x))
            return Scale(mean, torch.where(constant, 0.0, deviation))
        axes = [0, *range(2, x.ndim)]
        # In double: beside a large offset a float32 mean is off by a noticeable part of the deviation.
        deviation, mean = torch.std_mean(x.double(), axes, correction=0, keepdim=True)
        constant = x.amax(axes, keepdim=True) == x.amin(axes, keepdim=True)
        return Scale(mean, torch.where(constant, 0.0, deviation))

    @staticmethod
    def given(mean: Sequence[float], deviation: Sequence[float], axes: int) -> "Scale":
        """By these numbers, for samples with so many axes."""
        size = (1, -1) + (1,) * (axes - 1)
        return Scale(*(torch.tensor(x, dtype=torch.float64).view(size) for x in (mean, deviation)))

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, ...) scaled, float32."""
        if self.mean is None or self.deviation is None:
            return x
        factor = torch.where(self.deviation == 0, 0.0, 1.0 / self.deviation)
        return ((x.double() - self.mean) * factor).float()


def scaled(dataset: Dataset, scales: Mapping[Modality, Scale]) -> Dataset:
    """The data set with each of its modalities scaled, but for tokens; what is missing stays 0."""
    inputs = {
        m: x if isinstance(dataset.kinds.get(m), Tokens) else _scaled(x, scales[m], dataset.present.get(m))
        for m, x in dataset.inputs.items()
    }
    return replace(dataset, inputs=inputs)


def relative(weights: Tensor) -> Tensor:
    """Weights (N,) as an agent learns from them: with the mean 1, so that steps stay as large; zeros stay zeros."""
    return weights / weights.mean() if bool((weights > 0).any()) else weights


def evened(dataset: Dataset, frequencies: Tensor | None) -> Dataset:
    """Each sample weighed by how rare its class is, by frequencies (C,), beside its own weight; None leaves all as is.

    The rarest weighs 1, and one that is k times as frequent 1/k. A class that nobody counted, as of an agent that came
    later, counts as the rarest of the others.
    """
    if frequencies is None or not len(dataset):
        return dataset
    filled = _filled_up(frequencies)
    rare = filled.min() / filled[dataset.targets]
    return replace(dataset, weights=(dataset.weighed().double() * rare).float())


def prior_of(dataset: Dataset) -> Tensor:
    """The logarithm of how frequent each class is here over how frequent it is among all agents, (C,), float64.

    Added to logits while an agent trains, it lets them say what a sample is were classes as frequent as among all
    (logit adjustment, Menon et al., arXiv 2007.07314, section 4; of clients, Zhang et al., arXiv 2209.00189). An agent
    counts, beside its N samples by their weights, one more for each of the C classes, spread as among all:

        log((n_c / f_c + C) / (N + C)).

    So a class that it lacks has a finite value, and one that holds what all hold is not corrected. A class that nobody
    counted is as frequent as the rarest of the others. ``frequencies`` have to be known.
    """
    assert dataset.frequencies is not None
    weights = relative(dataset.weighed().double()).cpu()
    counts = torch.zeros(dataset.classes, dtype=torch.float64).index_add(0, dataset.targets.cpu(), weights)
    more = dataset.classes
    return ((counts / _filled_up(dataset.frequencies.double().cpu()) + more) / (len(dataset) + more)).log()


def _filled_up(frequencies: Tensor) -> Tensor:
    """Frequencies (C,) where a class that nobody counted is as frequent as the rarest of the others."""
    counted = frequencies[frequencies > 0]
    return torch.where(frequencies > 0, frequencies, counted.min() if len(counted) else 1.0)


def _scaled(x: Input, scale: Scale, there: Tensor | None) -> Input:
    return x.then(scale) if isinstance(x, LazyInput) else _zeroed(scale(x), there)


def _selected(x: Input, at: Tensor) -> Input:
    return x.select(at) if isinstance(x, LazyInput) else x[at]


def _zeroed(x: Tensor, there: Tensor | None) -> Tensor:
    """x (N, ...) with 0 where the sample has none of it."""
    return x if there is None else torch.where(there.view(-1, *[1] * (x.ndim - 1)), x, 0.0)


def _patterns(present: Present) -> list[tuple[tuple[Modality, ...], Tensor]]:
    """Which modalities are missing, and the rows that miss just those; nothing where all is there."""
    if not present:
        return []
    partial = sorted(present)
    has = torch.stack([present[m] for m in partial], dim=1)
    patterns, which = torch.unique(has, dim=0, return_inverse=True)
    missing = (tuple(m for m, there in zip(partial, row, strict=True) if not there) for row in patterns.tolist())
    return [(each, torch.nonzero(which == k).flatten()) for k, each in enumerate(missing)]


def _gaps(present: Present) -> Present:
    """Without the modalities that all samples have after all."""
    return {m: there for m, there in present.items() if not there.all()}


def standardise(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Scale both data sets by the mean and standard deviation of train, see ``Scale.of``."""
    scales = {m: Scale.of(train.having(m)) for m in train.inputs}
    return scaled(train, scales), scaled(test, scales)


def refuse_unlike(public: Dataset, train: Dataset) -> None:
    """Raise ConfigError for public data that the networks made for the others could not read."""
    for modality in train.modalities:
        if modality not in public.modalities or public.shape(modality) != train.shape(modality):
            alike = (
                "by the vocabulary and tokenizer" if isinstance(train.kinds.get(modality), Tokens) else "in the shape"
            )
            raise ConfigError(
                f"public.dataset: {public.name!r} does not hold {modality!r} {alike} of {train.name!r}: name a "
                "set that does, or give public.share"
            )
    if public.task.name != train.task.name:
        raise ConfigError(
            f"public.dataset: {public.name!r} is of the task {public.task.name}, and {train.name!r} of "
            f"{train.task.name}: name a set of that"
        )
    kinds = train.task.several
    if public.classes != train.classes:
        raise ConfigError(f"public.dataset: {public.name!r} has {public.classes} {kinds} and not {train.classes}")
    if not train.task.one_class and set(public.class_names) != set(train.class_names):
        both = (", ".join(map(repr, each.class_names)) for each in (public, train))
        raise ConfigError("public.dataset: {!r} has the {} {} and not {}".format(public.name, kinds, *both))


def as_the_others(public: Dataset, train: Dataset) -> Dataset:
    """Public data that are not unlike, with labels or outputs in the order of the others, and scaled as theirs."""
    if train.task.one_class:
        return public
    targets = train.task.ordered(public.targets, public.class_names, train.class_names)
    return replace(public, targets=targets, labels=train.labels, task=train.task)


def without(dataset: Dataset, modalities: Collection[str]) -> Dataset:
    """The data set with zeros, the average once it is standardised, for these modalities; with padding for tokens."""
    return _filled(dataset, modalities, 0.0)


def silent(dataset: Dataset, modalities: Collection[str]) -> Dataset:
    """The data set with no numbers for these modalities, as from a sensor that is broken; with padding for tokens."""
    return _filled(dataset, modalities, torch.nan)


def fingerprint(datasets: Iterable[Dataset]) -> str:
    """Of all samples: equal where they are, to the bit."""
    hashed = hashlib.blake2b(digest_size=8)
    for dataset in datasets:
        shapes = [(m, dataset.shape(m)) for m in dataset.modalities]
        hashed.update(repr([dataset.class_names, shapes, len(dataset)]).encode())
        inputs = (piece for m in dataset.modalities for piece in pieces(dataset.inputs[m]))
        present = (dataset.present[m] for m in sorted(dataset.present))
        for column in chain(inputs, (dataset.targets, dataset.groups, dataset.weights, dataset.official), present):
            hashed.update(b"" if column is None else column.contiguous().numpy().data)
    return hashed.hexdigest()


def unread(dataset: Dataset) -> tuple[Modality, ...]:
    """The modalities of which a sample holds no number, or no sample a token, sorted."""
    return tuple(m for m, x in sorted(dataset.inputs.items()) if not _readable(x, padding_of(dataset.kinds, m)))


def _readable(x: Input, padding: int | None) -> bool:
    if padding is None or not len(x):
        return finite(x)
    return any(bool((piece != padding).any()) for piece in pieces(x))


def _filled(dataset: Dataset, modalities: Collection[str], value: float) -> Dataset:
    inputs = {
        m: _constant(x, value, padding_of(dataset.kinds, m)) if m in modalities else x
        for m, x in dataset.inputs.items()
    }
    return replace(dataset, inputs=inputs)


def _constant(x: Input, value: float, padding: int | None) -> Tensor:
    """One value everywhere, without the memory of x."""
    one = torch.full((1,) * x.ndim, value if padding is None else padding, device=x.device)
    return one.expand(x.shape)


def packaged_file(package: str, inside: str, remedy: str) -> Path:
    """The path of the file ``inside`` an installed package, which is not imported.

    Raises ConfigError, ending in the ``remedy``, where package or file is not there.
    """
    if Path(inside).is_absolute() or ".." in Path(inside).parts:
        raise ConfigError(f"{inside!r} leads out of the Python package {package!r}; {remedy}")
    try:
        spec = find_spec(package)
    except ValueError:  # of what is imported and no package, such as __main__
        spec = None
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        if os.path.isfile(path := Path(place, inside)):  # which says no to what is no name of a file
            return path
    raise ConfigError(f"{inside!r} of the Python package {package!r} is not installed; {remedy}")


def _index(rows: Rows) -> Tensor:
    return rows.long() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows, dtype=np.int64))

"""What there is in data sets, and what in them is odd or will go wrong, before anything is trained on them.

Nothing is changed or printed: ``summary`` gives plain values, and every finding is a sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from parse_p2p.core.errors import nearest
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.lazy import in_memory
from parse_p2p.data.row_digests import digests, joined
from parse_p2p.data.schema import AXES, BY_AXES, DataSchema, modality_schemas
from parse_p2p.data.tasks.base import Task, count, listed

FEW_ROWS = 50
SHORT_SERIES = 8
LARGE = 1e6
FAR = 100.0
"""Deviations from the mean."""

UNKNOWN, CUT, FILLED = 0.1, 0.1, 0.8
"""Shares of tokens, samples and places beyond which it is said."""

CATEGORIES = range(3, 51)
"""How many distinct whole numbers look like categories; two are a yes and a no."""


@dataclass(frozen=True)
class ModalitySummary:
    """All numbers of one modality."""

    kind: str
    shape: tuple[int, ...]
    smallest: float
    largest: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class TokenSummary:
    """All ids of one modality of tokens.

    ``filled`` is the share that is padding, ``unknown`` that of the others which stand for what the tokenizer does not
    know, None where it is not known itself; ``distinct`` ids are there of the vocabulary, and ``cut`` samples were
    longer than ``length``.
    """

    length: int
    vocabulary: int
    tokenizer: str | None
    distinct: int
    filled: float
    unknown: float | None
    cut: int


@dataclass(frozen=True)
class Summary:
    """What a data set holds; ``groups`` are the names of its natural clients, None where nothing says.

    ``official`` is how many rows are its official test set, None where nothing says.

    ``modalities`` are those of numbers, and beside them are those of ``tokens``. ``targets`` has a row for each class,
    label or output, as ``task.heading`` says.
    """

    rows: int
    groups: Sequence[str] | None
    official: int | None
    modalities: Mapping[Modality, ModalitySummary]
    tokens: Mapping[Modality, TokenSummary]
    targets: Sequence[tuple[str, ...]]
    task: Task


def summary(dataset: Dataset) -> Summary:
    """What a data set with at least one row holds. Raises ConfigError where a sample has more axes than any kind."""
    groups = None if dataset.groups is None else [*dataset.natural_groups]
    official = None if dataset.official is None else int(dataset.official.sum())
    values = {m: in_memory(dataset.having(m)) for m in dataset.modalities}
    kinds = modality_schemas(dataset, "own").items()
    modalities = {m: _numbers(each.kind, each.shape, values[m]) for m, each in kinds if each.kind != "tokens"}
    tokens = {m: _ids(kind, values[m]) for m, kind in _of_tokens(dataset)}
    targets = dataset.task.rows(dataset.targets, dataset.class_names)
    return Summary(len(dataset), groups, official, modalities, tokens, targets, dataset.task)


def _of_tokens(dataset: Dataset) -> Iterator[tuple[Modality, Tokens]]:
    for m in dataset.modalities:
        if isinstance(kind := dataset.kinds.get(m), Tokens):
            yield m, kind


def _ids(kind: Tokens, ids: Tensor) -> TokenSummary:
    there = ids[ids != kind.padding]
    code = None if kind.tokenizer is None else kind.tokenizer.unknown
    unknown = None if code is None else float((there == code).double().mean()) if len(there) else 0.0
    filled, distinct = 1 - len(there) / max(1, ids.numel()), len(np.unique(there.numpy()))
    return TokenSummary(ids.shape[1], kind.vocabulary, kind.digest, distinct, filled, unknown, kind.cut)


def _numbers(kind: str, shape: tuple[int, ...], x: Tensor) -> ModalitySummary:
    deviation, mean = torch.std_mean(x.double(), correction=0)
    return ModalitySummary(kind, shape, *map(float, (x.min(), x.max(), mean, deviation)))


def findings(sources: Mapping[str, Dataset]) -> Iterator[str]:
    """What is odd in each of several data sets and between two of them, each a sentence that begins with a name."""
    for name, dataset in sources.items():
        for each in (_of_rows, _of_targets, _of_modalities, _of_repeats):
            yield from (f"{name}: {said}" for said in each(dataset))
    yield from _of_shapes(sources)
    hashes = {name: digests(dataset) for name, dataset in sources.items()}
    for one, other in combinations(sources, 2):
        common = [key for key in hashes[one] if key in hashes[other]]
        if not common:
            continue
        rows = int(np.isin(joined(hashes[one], common), joined(hashes[other], common)).sum())
        if rows:
            yield (
                f"{one}: {count(rows, 'row is', 'rows are')} in {other} too: what one agent is tested with, the other "
                "may have trained on"
            )


def _of_shapes(sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Modalities that two have in different shapes."""
    for one, other in combinations(sources, 2):
        for m in sorted(set(sources[one].modalities) & set(sources[other].modalities)):
            mine, theirs = (list(sources[name].shape(m)) for name in (one, other))
            if mine != theirs:
                yield f"{one}: {m!r} has the shape {mine} and in {other} {theirs}, but agents share one shape"


def lacking(name: str, dataset: Dataset, schema: DataSchema) -> Iterator[str]:
    """What only one of a data set and a schema names, each a sentence; none of it stops a run."""
    for m in dataset.modalities:
        if m not in schema.modalities:
            yield f"{name}: the modality {m!r} is not in data_schema: {nearest(m, schema.modalities)}"
    there = dataset.task.needed(dataset.targets, dataset.class_names)
    if absent := [each for each in schema.names if each not in there]:
        which = count(len(absent), "class", "classes")
        yield f"{name}: no row is of {which} of data_schema ({listed(absent)})"


def _of_rows(dataset: Dataset) -> Iterator[str]:
    if len(dataset) < FEW_ROWS:
        yield f"{count(len(dataset), 'row is', 'rows are')} few to train on and test with: give {FEW_ROWS} or more"


def _of_targets(dataset: Dataset) -> Iterator[str]:
    yield from dataset.task.odd(dataset.targets, dataset.class_names)


def _of_modalities(dataset: Dataset) -> Iterator[str]:
    for m, each in _of_tokens(dataset):
        yield from _of_ids(m, _ids(each, in_memory(dataset.having(m))), len(dataset))
    for m in dataset.modalities:
        if isinstance(dataset.kinds.get(m), Tokens):
            continue
        x = in_memory(dataset.having(m))
        kind = BY_AXES[x.ndim - 1]
        yield from _of_features(x, m, AXES[kind][0])
        if kind == "vector" and (categories := _categories(x)):
            yield (
                f"all features of {m!r} are whole numbers with {categories} distinct values, as tokens or categories "
                "are: are they numbers, of which more is more? If not, name them in data.tokens"
            )
        if kind == "series" and x.shape[2] < SHORT_SERIES:
            steps = count(x.shape[2], "step", "steps")
            yield f"a series of {m!r} has {steps}: are channels and steps swapped, or is it a vector?"


def _of_ids(m: Modality, found: TokenSummary, rows: int) -> Iterator[str]:
    """What is odd in ids of tokens."""
    if (found.unknown or 0) > UNKNOWN:
        yield (
            f"{found.unknown:.0%} of the tokens of {m!r} are not in the vocabulary of the tokenizer {found.tokenizer}: "
            "is it one for such texts?"
        )
    if found.cut > CUT * rows:
        yield f"{found.cut} of {rows} samples of {m!r} are cut to {found.length} tokens: is more needed?"
    if found.filled > FILLED:
        yield (f"{found.filled:.0%} of {m!r} is padding: a length of less than {found.length} would take less time")


def _of_features(x: Tensor, m: Modality, axis: str) -> Iterator[str]:
    """What is odd in single features of vectors, or channels of anything else."""
    axes = [0, *range(2, x.ndim)]
    low, high, scale = x.amin(axes), x.amax(axes), Scale.of(x)
    assert scale.mean is not None and scale.deviation is not None
    mean, deviation = scale.mean.flatten(), scale.deviation.flatten()
    far = torch.maximum(high - mean, mean - low) > FAR * deviation
    checks = (
        (deviation == 0, "one value only: nothing can be learnt from that"),
        (torch.maximum(high, -low) > LARGE, f"values beyond {LARGE:,.0f}: do they mark what is missing?"),
        (far, f"values over {FAR:.0f} deviations from the mean: do they mark what is missing?"),
    )
    for where, what in checks:
        if at := where.nonzero().flatten().tolist():
            yield f"{len(at)} of {len(low)} {axis} of {m!r} ({listed(at)}) {'has' if len(at) == 1 else 'have'} {what}"


def _categories(x: Tensor) -> int:
    """How many categories the values look like, if they do."""
    found = len(np.unique(x.numpy())) if bool((x == x.round()).all()) else 0
    return found if found in CATEGORIES else 0


def _of_repeats(dataset: Dataset) -> Iterator[str]:
    hashes = digests(dataset)
    inputs = np.unique(joined(hashes, list(hashes)), return_inverse=True)[1]
    targets = np.unique(dataset.targets.numpy(), axis=0, return_inverse=True)[1].reshape(-1)
    distinct = int(targets.max()) + 1
    samples = np.unique(inputs * distinct + targets)
    if repeats := len(dataset) - len(samples):
        yield (
            f"{count(repeats, 'row repeats', 'rows repeat')} inputs and {dataset.task.one} of an earlier one, and may "
            "be tested after that was trained on"
        )
    if unclear := int((np.bincount(samples // distinct) > 1).sum()):
        yield (
            f"{count(unclear, 'input is', 'inputs are')} there with different {dataset.task.several}, which no model "
            "can tell apart"
        )

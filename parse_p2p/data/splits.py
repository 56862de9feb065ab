"""The one place that decides which samples are kept for testing: drawn, named, or as their authors say."""

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.data.base import Dataset, split, split_groups
from parse_p2p.data.tasks.base import count

OFFICIAL = "official"
"""In place of a share: the test set that comes with the data."""

Cut = Callable[[Dataset, float, int], tuple[Dataset, Dataset]]

BY: Mapping[Literal["sample", "group"], Cut] = {"sample": split, "group": split_groups}
"""How a share is drawn by a seed: any samples, or whole natural groups."""


def held_out(
    dataset: Dataset,
    share: float | Literal["official"],
    by: Literal["sample", "group"],
    groups: Collection[str],
    seed: int,
) -> tuple[Dataset, Dataset]:
    """A data set in (train, test): the ``groups`` of these names are test, or the official set, or a share is drawn.

    Raises ConfigError, naming the key, where there is no such group or official set, and where one side gets nothing.
    """
    if groups:
        return named_groups(dataset, groups)
    return official(dataset) if isinstance(share, str) else BY[by](dataset, share, seed)


def amount(train: Dataset, cut: Cut) -> str:
    """How much an agent has of what a share of is kept: samples, or whole groups of them."""
    if cut is split_groups and train.groups is not None:
        return f"{count(len({*train.groups.tolist()}), 'group', 'groups')} of training samples"
    return f"{len(train)} training samples"


def named_groups(dataset: Dataset, names: Collection[str]) -> tuple[Dataset, Dataset]:
    """A data set in (train, test), these natural groups being test and all others train.

    Raises ConfigError for a name that no group has, naming the nearest, and where no group is left to train on.
    """
    there = dataset.natural_groups
    if not there:
        raise ConfigError(f"test_groups: data set {dataset.name!r} has no natural groups; leave it out, or name them")
    for name in names:
        if name not in there:
            raise ConfigError(f"test_groups: data set {dataset.name!r} has no group {name!r}; {nearest(name, there)}")
    if len(there) == len({*names}):
        raise ConfigError(f"test_groups: it names all {len(there)} groups of {dataset.name!r}; leave some to train on")
    assert dataset.groups is not None
    return _divided(dataset, torch.isin(dataset.groups, torch.tensor([there[name] for name in names])))


def official(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """A data set in (train, test) as its authors divided it. Raises ConfigError where they did not."""
    if dataset.official is None:
        raise ConfigError(
            f"test: data set {dataset.name!r} does not say which of its samples are the official test set; give a "
            "share, or say with data.official of your own data what does"
        )
    if bool(dataset.official.all()) or not bool(dataset.official.any()):
        which = "all" if bool(dataset.official.all()) else "none"
        raise ConfigError(f"test: {which} of the samples of {dataset.name!r} are its official test set; give a share")
    return _divided(dataset, dataset.official)


def _divided(dataset: Dataset, test: Tensor) -> tuple[Dataset, Dataset]:
    return dataset.select(torch.nonzero(~test).flatten()), dataset.select(torch.nonzero(test).flatten())

"""The one place that decides who holds which rows; it knows labels and groups, never the inputs.

Every partition takes (dataset, agents, rng, alpha) and returns one sorted int64 array of rows per agent.
Together they are all rows, each once, and the same generator state gives the same rows.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset

RowArray = NDArray[np.int64]
Partition = Callable[[Dataset, int, np.random.Generator, float], list[RowArray]]

REDRAWS = 20  # more would turn "label skew alpha" into "the mildest of many draws"


def iid(dataset: Dataset, agents: int, rng: np.random.Generator, alpha: float) -> list[RowArray]:
    """Equal shares of shuffled rows (sizes differ by 1 at most); alpha is not used."""
    _enough("iid", dataset, agents, 1)
    return [np.sort(part) for part in np.array_split(rng.permutation(len(dataset)), agents)]


def dirichlet(
    dataset: Dataset, agents: int, rng: np.random.Generator, alpha: float, minimum: int = 8
) -> list[RowArray]:
    """Label skew: each class is cut among the agents by a Dirichlet(alpha) draw (Yurochkin et al.,
    arXiv 1905.12022, section 4).

    Near 0 most of a class lies with one agent; a large alpha comes close to iid. An agent with fewer than
    ``minimum`` samples could not train: such draws are repeated, the last is mended from the largest agents.
    ConfigError if there are too few samples or alpha is not a positive number.
    """
    if not dataset.task.one_class:
        raise ConfigError(
            f"the dirichlet partition deals samples by their class, and data set {dataset.name!r} is for "
            f"{dataset.task.name}; use iid or group"
        )
    _enough("dirichlet", dataset, agents, minimum)
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"the dirichlet partition has alpha {alpha}; give a positive number, such as 0.5")
    for _ in range(REDRAWS):
        owners = _draw(dataset.targets.numpy(), agents, rng, alpha)
        if np.bincount(owners, minlength=agents).min() >= minimum:
            break
    _mend(owners, agents, rng, minimum)
    return _rows(owners, agents)


def group(dataset: Dataset, agents: int, rng: np.random.Generator, alpha: float) -> list[RowArray]:
    """Natural clients: whole groups dealt to agents in turn, in random order; alpha is not used.

    ConfigError if the data set has no groups, or fewer than there are agents.
    """
    if dataset.groups is None:
        raise ConfigError(f"data set {dataset.name!r} has no natural groups; use iid or dirichlet")
    names, member = np.unique(dataset.groups.numpy(), return_inverse=True)
    if not 1 <= agents <= len(names):
        raise ConfigError(
            f"data set {dataset.name!r} has {len(names)} natural groups for {agents} agents; "
            f"use 1 to {len(names)} agents, or iid or dirichlet"
        )
    return _rows(rng.permutation(len(names))[member] % agents, agents)


PARTITIONS: Mapping[str, Partition] = {"iid": iid, "dirichlet": dirichlet, "group": group}


def _enough(partition: str, dataset: Dataset, agents: int, each: int) -> None:
    if agents < 1 or agents * each > len(dataset):
        raise ConfigError(
            f"the {partition} partition needs at least {each} samples for each of {agents} agents, and data "
            f"set {dataset.name!r} has {len(dataset)}; use 1 to {len(dataset) // max(each, 1)} agents"
        )


def _draw(labels: RowArray, agents: int, rng: np.random.Generator, alpha: float) -> RowArray:
    """The agent of each row, by one draw."""
    owners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        bounds = np.cumsum(rng.dirichlet(np.full(agents, alpha)))[:-1] * len(rows)
        owners[rows] = np.searchsorted(bounds, np.arange(len(rows)), side="right")
    return owners


def _mend(owners: RowArray, agents: int, rng: np.random.Generator, minimum: int) -> None:
    """Moves random samples, one at a time and in place, from the largest agent to the smallest."""
    sizes = np.bincount(owners, minlength=agents)
    while sizes.min() < minimum:
        largest, smallest = sizes.argmax(), sizes.argmin()
        owners[rng.choice(np.flatnonzero(owners == largest))] = smallest
        sizes[largest] -= 1
        sizes[smallest] += 1


def _rows(owners: RowArray, agents: int) -> list[RowArray]:
    return [np.flatnonzero(owners == agent) for agent in range(agents)]

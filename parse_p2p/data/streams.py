"""Tasks that shift over time: a client's data comes task by task, and what it has seen is kept.

The protocol of FedMosaic's benchmark (arXiv 2506.11024) at small scale. Clients fall into relevance groups. A task
is the data set seen through a change of its own: labels permuted by the rule of its group, and inputs moved by an
offset of its own near the one of its group. All clients go to their next task in the same round; samples of earlier
tasks are kept and replayed. ``accuracy`` is that on a client's own tasks (the benchmark's
*self*), ``others`` that on the tasks of all others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.rng import seeded
from parse_p2p.data.base import Dataset
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.lazy import LazyInput


class StreamOptions(BaseModel):
    """How many tasks a client goes through, and how far they lie apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int = Field(2, ge=1, description="tasks of each client, one after another")
    groups: int = Field(2, ge=1, description="relevance groups; the clients are dealt to them in turn")
    rounds: int = Field(5, ge=1, description="rounds until the next task")
    relabel: bool = Field(True, description="each group and task has a label rule of its own")
    shift: float = Field(0.5, ge=0, description="size of a task's offset of every feature, in standard deviations")
    within: float = Field(0.2, ge=0, description="share of the offset that is the client's and not its group's")


@dataclass(frozen=True, eq=False)
class Stream:
    """A client's tasks: training samples by task, and test sets of its own tasks and of the others'."""

    tasks: Sequence[Dataset]
    own: Dataset
    others: Dataset
    rounds: int

    def at(self, round: int) -> Dataset:
        """What a client has seen by this round: its present task and all before."""
        return join(self.tasks[: min(round // self.rounds, len(self.tasks) - 1) + 1])


def join(datasets: Sequence[Dataset]) -> Dataset:
    """The samples of several data sets of one kind, one after another, in memory."""
    first, inputs = datasets[0], [each.in_memory() for each in datasets]
    return replace(
        first,
        inputs={m: torch.cat([each[m] for each in inputs]) for m in first.modalities},
        targets=torch.cat([d.targets for d in datasets]),
        present={m: torch.cat([d.has(m) for d in datasets]) for m in {m for d in datasets for m in d.present}},
        weights=None if all(d.weights is None for d in datasets) else torch.cat([d.weighed() for d in datasets]),
        groups=None,
        group_names=(),
        official=None,
        ceiling=None,
        shows=None,
    )


def change(dataset: Dataset, group: int, client: int, task: int, options: StreamOptions, seed: int) -> Dataset:
    """The data set as one task of one client sees it. Equal arguments give equal tasks on every agent."""
    rule = seeded(seed, "rule", group, task)
    order = torch.randperm(dataset.classes, generator=rule) if options.relabel else torch.arange(dataset.classes)
    inputs = {}
    for m, x in sorted(dataset.in_memory().items()):
        if isinstance(dataset.kinds.get(m), Tokens):
            inputs[m] = x
            continue
        common = _direction(x, seeded(seed, "shift", m, group, task))
        mine = _direction(x, seeded(seed, "shift", m, group, task, client))
        inputs[m] = x + options.shift * ((1 - options.within) * common + options.within * mine)
    return replace(dataset, inputs=inputs, targets=order[dataset.targets], ceiling=None, shows=None)


def stream(train: Dataset, test: Dataset, client: int, clients: int, options: StreamOptions, seed: int) -> Stream:
    """The stream of one client out of so many: its samples are cut into equal parts, one a task."""
    for m, x in train.inputs.items():
        if isinstance(x, LazyInput):
            raise ConfigError(
                f"stream: its tasks are made of samples in memory, and {m!r} is read lazily: leave one out"
            )
    if options.shift and (said := unshifted(m for m in train.modalities if isinstance(train.kinds.get(m), Tokens))):
        raise ConfigError(said)
    group = client % options.groups
    parts = torch.randperm(len(train), generator=seeded(seed, "cut", client)).tensor_split(options.tasks)
    tasks = [change(train.select(rows), group, client, t, options, seed) for t, rows in enumerate(parts)]
    own = join([change(test, group, client, t, options, seed) for t in range(options.tasks)])
    others = [
        change(test, other % options.groups, other, t, options, seed)
        for other in range(clients)
        if other != client
        for t in range(options.tasks)
    ]
    return Stream(tasks, own, join(others) if others else own, options.rounds)


def unshifted(tokens: Iterable[str]) -> str:
    """A sentence on inputs that have no offset, where there are any."""
    return next((f"stream.shift: {m!r} is tokens, whose ids cannot be moved: set shift: 0" for m in tokens), "")


def _direction(x: Tensor, generator: torch.Generator) -> Tensor:
    """An offset for every feature (vectors) or channel (others), one standard deviation long on average."""
    size = (1, x.shape[1]) + (1,) * (x.ndim - 2) if x.ndim > 1 else (1,)
    return torch.randn(size, generator=generator)

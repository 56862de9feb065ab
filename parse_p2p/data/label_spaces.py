"""Agents with label spaces of their own: a task takes some classes of the data set and may put several into one.

Nothing but the labels differs between tasks, so agents of all tasks share what does not depend on them (in PARSE the
trunks and the slices of the latent), and heads only within a task: the heterogeneity that arXiv 2601.10012 leaves
out by assuming one label space.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.data.base import Dataset
from parse_p2p.data.schema import DataSchema


def _as_class(value: Any) -> Any:
    """What YAML reads as a truth value, as labels are called."""
    return str(value).lower() if isinstance(value, bool) else value


Class = Annotated[int | str, BeforeValidator(_as_class)]
"""Its name or, where no class has that number for a name, its place from 0."""


class TaskOptions(BaseModel):
    """The label space of one task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[tuple[Class, ...], ...] = Field(
        description="each inner list of classes of the data set, by name or number, becomes one class; samples of "
        "others are no part of it"
    )

    @field_validator("classes")
    @classmethod
    def _a_label_space(cls, classes: tuple[tuple[Class, ...], ...]) -> tuple[tuple[Class, ...], ...]:
        if len(classes) < 2 or not all(classes):
            raise ValueError("a task needs two lists of classes or more, none of them empty")
        named = Counter(c for group in classes for c in group)
        if twice := [c for c, times in named.items() if times > 1]:
            raise ValueError(f"the class {twice[0]} stands here twice; name each once")
        return classes


def refuse_unknown(name: str, task: TaskOptions, schema: DataSchema) -> None:
    """Raise ConfigError where the task names a class that the data do not have, or one by name and by number."""
    try:
        named = Counter(c for group in places(task, schema.classes) for c in group)
    except ConfigError as error:
        raise ConfigError(f"tasks.{name}.classes: {error}") from None
    if twice := [c for c, times in named.items() if times > 1]:
        raise ConfigError(
            f"tasks.{name}.classes: the class {schema.classes[twice[0]]!r} stands there twice; name it once"
        )


def places(task: TaskOptions, names: Sequence[str]) -> list[list[int]]:
    """Of each of the task's classes, which of the data's it takes, by their places. Raises ConfigError for another."""
    return [[_place(c, names) for c in group] for group in task.classes]


def _place(chosen: int | str, names: Sequence[str]) -> int:
    if str(chosen) in names:
        return names.index(str(chosen))
    # where classes are called by numbers, another number is no place: 3 is not the fourth of 1, 2, 5, 7
    if isinstance(chosen, str) or any(name.isdecimal() for name in names if name != str(names.index(name))):
        raise ConfigError(f"the data have no class {chosen!r}: {nearest(str(chosen), names)}")
    if not 0 <= chosen < len(names):
        raise ConfigError(f"the data have no class {chosen}; their classes are 0 to {len(names) - 1}")
    return chosen


def class_names(task: TaskOptions, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the task's classes, each of those that it puts into one: ``run+walk``."""
    return tuple("+".join(names[c] for c in group) for group in places(task, names))


def seen_as(task: TaskOptions, dataset: Dataset) -> Dataset:
    """The samples of the task alone, in their order; a class of inner list k becomes class k.

    No ceiling is known for it.
    """
    new = torch.full((dataset.classes,), -1)
    for k, group in enumerate(places(task, dataset.class_names)):
        new[group] = k
    mine = dataset.select(torch.nonzero(new[dataset.targets] >= 0).flatten())
    labels = class_names(task, dataset.class_names)
    return replace(
        mine,
        targets=new[mine.targets],
        classes=len(task.classes),
        ceiling=None,
        shows=None,
        labels=labels,
        frequencies=_grouped(mine.frequencies, places(task, dataset.class_names)),
    )


def _grouped(frequencies: Tensor | None, groups: Sequence[Sequence[int]]) -> Tensor | None:
    """How frequent the classes of a task are, beside each other."""
    if frequencies is None:
        return None
    found = torch.stack([frequencies[list(group)].sum() for group in groups])
    return found / found.sum() if bool((found > 0).any()) else found

"""Agents with label spaces of their own: a task takes some classes of the data set and may put several into one.

Nothing but the labels differs between tasks, so agents of all tasks share what does not depend on them (in PARSE the
trunks and the slices of the latent), and heads only within a task: the heterogeneity that arXiv 2601.10012 leaves
out by assuming one label space.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.data.schema import DataSchema


class TaskOptions(BaseModel):
    """The label space of one task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[tuple[int, ...], ...] = Field(
        description="each inner list of classes of the data set becomes one class; samples of others are no part of it"
    )

    @field_validator("classes")
    @classmethod
    def _a_label_space(cls, classes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if len(classes) < 2 or not all(classes):
            raise ValueError("a task needs two lists of classes or more, none of them empty")
        named = Counter(c for group in classes for c in group)
        if twice := sorted(c for c, times in named.items() if times > 1):
            raise ValueError(f"the class {twice[0]} stands here twice; name each once")
        return classes


def refuse_unknown(name: str, task: TaskOptions, schema: DataSchema) -> None:
    """Raise ConfigError where the task names a class that the data do not have."""
    for c in (c for group in task.classes for c in group):
        if not 0 <= c < len(schema.classes):
            raise ConfigError(
                f"tasks.{name}.classes: the data have no class {c}; their classes are 0 to {len(schema.classes) - 1}"
            )


def class_names(task: TaskOptions, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the task's classes, each of those that it puts into one: ``run+walk``."""
    return tuple("+".join(names[c] for c in group) for group in task.classes)


def seen_as(task: TaskOptions, dataset: Dataset) -> Dataset:
    """The samples of the task alone, in their order; a class of inner list k becomes class k.

    No ceiling is known for it.
    """
    new = torch.full((dataset.classes,), -1)
    for k, group in enumerate(task.classes):
        new[list(group)] = k
    mine = dataset.select(torch.nonzero(new[dataset.targets] >= 0).flatten())
    labels = class_names(task, dataset.class_names)
    return replace(mine, targets=new[mine.targets], classes=len(task.classes), ceiling=None, shows=None, labels=labels)

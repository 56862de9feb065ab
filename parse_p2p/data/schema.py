"""What the data of all agents of a run have in common: modalities, their kinds and shapes, and the classes by name.

Networks and overlays follow from it alone, so that nobody has to see another's samples. ``schema_of`` says what a data
set is; ``conform`` makes a data set what a schema says, or refuses it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, an, nearest
from parse_p2p.core.plugin_options import sentence
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.kinds import MOST_TOKENS, Tokens, TokenShape
from parse_p2p.data.tasks.base import Task
from parse_p2p.data.tasks.classification import CLASSIFICATION, class_order
from parse_p2p.data.tasks.source import TaskName

AXES = {
    "vector": ("features",),
    "series": ("channels", "steps"),
    "image": ("channels", "height", "width"),
    "tokens": ("tokens",),
    "embedding": ("features",),
}
"""What the axes of a sample are, by its kind."""

UNSCALED = ("tokens", "embedding")
"""Kinds that a source has to name, and that are not scaled unless that is asked for."""

BY_AXES = {len(axes): kind for kind, axes in AXES.items() if kind not in UNSCALED}
"""The kind that a number of axes tells."""


LEAST = 1e-30  # so that what is divided by it stays a number
MOST = 1e30  # so that it is one in float32

SCALES = ("own", "all", "none")
PROCESSOR = "processor"


class Statistics(BaseModel):
    """Numbers to scale by: one per feature of a vector, or channel of anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[float, ...] = Field(description="subtracted")
    deviation: tuple[float, ...] = Field(description="divided by; 0 of what is constant, which becomes 0")

    @model_validator(mode="after")
    def _as_long(self) -> Self:
        if len(self.mean) != len(self.deviation):
            raise ValueError(f"mean has {len(self.mean)} numbers and deviation {len(self.deviation)}; give as many")
        if not all(map(math.isfinite, self.mean)):
            raise ValueError("a mean is a number")
        if not all(each == 0 or LEAST <= each < math.inf for each in self.deviation):
            raise ValueError(f"a deviation is a number from {LEAST}, or 0")
        return self


def _as_scale(value: Any) -> Any:
    """A word or statistics, refused by a sentence of its own: of a union all members would complain."""
    if isinstance(value, Mapping):
        try:
            return Statistics.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            said = first["msg"].removeprefix("Value error, ")
            raise sentence(f"{key}{': ' if key else ''}{said[0].lower()}{said[1:]}") from None
    if not isinstance(value, Statistics) and value not in SCALES:
        raise sentence(
            f"{value!r} is none of {', '.join(SCALES)}, {{mean: [...], deviation: [...]}}, or {{processor: FOLDER}}"
        )
    return value


def _or_a_processor(schema: dict[str, Any]) -> None:
    """In a run file, where numbers take its place when it is read: a schema holds what agents agree on."""
    keys = {PROCESSOR: {"type": "string", "description": "the folder of a pretrained model, beside the run file"}}
    schema["anyOf"].append(
        {"type": "object", "properties": keys, "required": [PROCESSOR], "additionalProperties": False}
    )


class ModalitySchema(BaseModel):
    """One modality: what a sample of it is, and how it is scaled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["vector", "series", "image", "tokens", "embedding"] = Field(description="what a sample is")
    shape: tuple[int, ...] = Field(
        min_length=1,
        description="vector and embedding [features], series [channels, steps], image [channels, height, width], "
        "tokens [length]",
    )
    scale: Annotated[Literal["own", "all", "none"] | Statistics, BeforeValidator(_as_scale)] = Field(
        "own",
        description="to mean 0 and deviation 1 by an agent's own training samples or by those of all agents, or not; "
        "or by given mean and deviation, or those of a model's processor; tokens and embeddings are not, by default",
        json_schema_extra=_or_a_processor,
    )
    vocabulary: int | None = Field(None, ge=2, le=MOST_TOKENS, description="of tokens: how many ids there are, from 0")
    padding: int | None = Field(None, ge=0, description="of tokens: the id that stands where there is nothing")
    tokenizer: str | None = Field(None, description="of tokens: the digest of the tokenizer that made them, if known")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_its_kind(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("kind") not in UNSCALED:
            return given
        return {"scale": "none", **({"padding": 0} if given["kind"] == "tokens" else {}), **given}

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        axes = AXES[self.kind]
        if len(self.shape) != len(axes) or min(self.shape) < 1:
            raise ValueError(f"the shape of {an(described(self.kind))} is [{', '.join(axes)}], each from 1")
        for key in () if self.kind == "tokens" else ("vocabulary", "padding", "tokenizer"):
            if getattr(self, key) is not None:
                raise sentence(f"{key} is for tokens, and the kind is {self.kind}; leave it out")
        if self.kind == "tokens":
            self._refuse_impossible_tokens()
        if isinstance(self.scale, Statistics) and len(self.scale.mean) != self.shape[0]:
            raise ValueError(f"scale has {len(self.scale.mean)} numbers for {self.shape[0]} {axes[0]}")
        return self

    def _refuse_impossible_tokens(self) -> None:
        if self.vocabulary is None or self.padding is None:
            raise sentence("tokens need a vocabulary, how many ids there are, and the id of padding")
        if self.padding >= self.vocabulary:
            raise sentence(f"padding {self.padding} is none of the {self.vocabulary} ids from 0")
        if self.scale != "none":
            raise sentence("tokens are ids, of which none is more than another, and cannot be scaled: leave it out")

    @model_serializer(mode="wrap")
    def _without_what_it_has_not(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is no token as it was before there were any."""
        found = cast(dict[str, Any], handler(self))
        return {key: value for key, value in found.items() if value is not None}

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of one, a ``TokenShape`` of tokens."""
        if self.vocabulary is None or self.padding is None:
            return self.shape
        found: TokenShape = TokenShape(self.shape, self.vocabulary, self.padding, self.tokenizer)
        return found

    def __str__(self) -> str:
        more = f", tokenizer {self.tokenizer}" if self.tokenizer else ""
        ids = f" (vocabulary {self.vocabulary}, padding {self.padding}{more})" if self.kind == "tokens" else ""
        return described(self.kind, self.shape) + ids


class TargetScale(BaseModel):
    """What a number to predict is scaled by while it is learnt, for all agents alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float = Field(0.0, ge=-MOST, le=MOST, description="subtracted")
    deviation: float = Field(1.0, ge=LEAST, le=MOST, description="divided by")


class DataSchema(BaseModel):
    """What agents agree on of their data: the modalities that there are, the task, and the classes or outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: dict[Modality, ModalitySchema] = Field(min_length=1, description="each by its name")
    task: TaskName = Field(
        "classification", description="what is to be predicted: classification, multi-label or regression"
    )
    classes: tuple[str, ...] = Field(
        (),
        description="their names, or those of labels, in the order of the network's outputs; not every agent has all "
        "classes, but each has all labels",
    )
    outputs: tuple[str, ...] = Field((), description="for regression: the names of the numbers to predict, likewise")
    targets: dict[str, TargetScale] = Field(
        {}, description="for regression: what an output is scaled by while it is learnt (default: not at all)"
    )

    @model_validator(mode="after")
    def _as_the_task_says(self) -> Self:
        names = self.classes + self.outputs
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise sentence(f"the {self.solved_by.one} {twice[0]!r} stands here twice; name each once")
        kind = self.solved_by
        for key in ("classes", "outputs"):
            if key != kind.names and getattr(self, key):
                raise sentence(f"{key}: the task {self.task} has none; name them under {kind.names}")
        try:
            self.solved  # noqa: B018 -- raises ValueError
        except ValueError as error:
            raise sentence(str(error)) from None
        return self

    @model_serializer(mode="wrap")
    def _without_what_does_not_matter(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A classification as it was before there was another task."""
        found = cast(dict[str, Any], handler(self))
        return {
            key: value
            for key, value in found.items()
            if key in ("modalities", self.solved_by.names) or (value and value != CLASSIFICATION.name)
        }

    @property
    def solved_by(self) -> type[Task]:
        """The kind of the task."""
        return cast(type[Task], plugins.load(plugins.TASKS, self.task))

    @property
    def solved(self) -> Task:
        """The task of these outputs."""
        return self.solved_by.of(self.names, self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the network's outputs, in their order: classes, labels, or numbers to predict."""
        return cast(tuple[str, ...], getattr(self, self.solved_by.names))

    def shapes(self, modalities: Sequence[Modality]) -> dict[Modality, tuple[int, ...]]:
        """The shape of a sample of each of these. Raises ConfigError where one is unknown."""
        for m in modalities:
            if m not in self.modalities:
                raise ConfigError(f"data_schema: there is no modality {m!r}: {nearest(m, self.modalities)}")
        return {m: self.modalities[m].sample for m in modalities}


def described(kind: str, shape: Sequence[int] = ()) -> str:
    """Such as ``series of 3 channels, 50 steps``, or without a shape the noun alone."""
    noun = "sequence" if kind == "tokens" else kind
    if not shape:
        return noun if kind != "tokens" else "sequence of tokens"
    sized = zip(shape, AXES[kind], strict=True)
    return f"{noun} of " + ", ".join(f"{size} {axis.removesuffix('s') if size == 1 else axis}" for size, axis in sized)


def schema_of(dataset: Dataset, scale: Literal["own", "all", "none"]) -> DataSchema:
    """The schema of a data set. Raises ConfigError for one class, and a sample with more axes than any kind."""
    if dataset.task.one_class and dataset.classes < 2:
        raise ConfigError(
            f"{dataset.name!r} has one class, {dataset.class_names[0]!r}, and two are needed: name all in data.classes"
        )
    return _schema(modality_schemas(dataset, scale), dataset.task, dataset.class_names)


def _schema(modalities: Mapping[Modality, ModalitySchema], task: Task, names: tuple[str, ...]) -> DataSchema:
    return DataSchema.model_validate({"modalities": modalities, "task": task.name, task.names: names})


def united(sources: Mapping[str, Dataset]) -> DataSchema:
    """The schema of data sets, by the name of where each is from: the modalities and the classes that any has.

    Classes stand in the order that all have them in, else by number or, where one is no number, by text. Raises
    ConfigError, naming both, where two have a modality in different shapes, and where there is one class in all.
    """
    found: dict[Modality, ModalitySchema] = {}
    first: dict[Modality, str] = {}
    for source, dataset in sources.items():
        for m, each in modality_schemas(dataset, "own").items():
            if found.setdefault(m, each) != each:
                raise ConfigError(
                    f"{m!r} is {an(str(found[m]))} in {first[m]} and {an(str(each))} in {source}: agents share "
                    "samples of one shape, so cut or fill one of them, or call it by another name"
                )
            first.setdefault(m, source)
    _refuse_other_tasks(sources)
    task = next(iter(sources.values())).task
    named = {dataset.class_names for dataset in sources.values()}
    classes = next(iter(named)) if len(named) == 1 else class_order(name for names in named for name in names)
    if task.one_class and len(classes) < 2:
        raise ConfigError(
            f"{' and '.join(sources)}: there is one class, {classes[0]!r}, and nothing to tell it from: add a source "
            "that has others, or name all with --set 'classes=[...]'"
        )
    return _schema({m: found[m] for m in sorted(found)}, task, classes)


def _refuse_other_tasks(sources: Mapping[str, Dataset]) -> None:
    """Raise ConfigError, naming both, where two data sets are of two tasks, or have other labels or outputs."""
    one, first = next(iter(sources.items()))
    for source, dataset in sources.items():
        if dataset.task.name != first.task.name:
            raise ConfigError(
                f"{one} is of the task {first.task.name} and {source} of {dataset.task.name}: agents learn one task, "
                "so say the same data.task of both, or leave one out"
            )
        if not first.task.one_class and set(dataset.class_names) != set(first.class_names):
            [odd, *_] = sorted(set(dataset.class_names) ^ set(first.class_names))
            there, not_there = (one, source) if odd in first.class_names else (source, one)
            raise ConfigError(
                f"{odd!r} is in {there} and not in {not_there}: each source of {first.task.name} needs all of it"
            )


def modality_schemas(dataset: Dataset, scale: Literal["own", "all", "none"]) -> dict[Modality, ModalitySchema]:
    """What a sample of each modality of a data set is; the kinds are told by the data set, or the number of axes.

    Raises ConfigError where a sample has more axes than any kind.
    """
    found = {}
    for m in dataset.modalities:
        if (each := _schema_of(dataset, m, scale)) is None:
            raise ConfigError(
                f"a sample of {m!r} in {dataset.name!r} has the shape {list(dataset.shape(m))}: give vectors "
                "[features], series [channels, steps] or images [channels, height, width]"
            )
        found[m] = each
    return found


def _schema_of(
    dataset: Dataset, modality: Modality, scale: Literal["own", "all", "none"] = "own"
) -> ModalitySchema | None:
    shape, kind = tuple(dataset.shape(modality)), dataset.kinds.get(modality)
    if isinstance(kind, Tokens):
        ids = {"vocabulary": kind.vocabulary, "padding": kind.padding, "tokenizer": kind.digest}
        return ModalitySchema.model_validate({"kind": "tokens", "shape": shape, **ids})
    name = BY_AXES.get(len(shape)) if kind is None else kind.kind
    if name is None:
        return None
    keys = {"kind": name, "shape": shape} | ({} if name in UNSCALED else {"scale": scale})
    return ModalitySchema.model_validate(keys)


def conform(dataset: Dataset, schema: DataSchema, modalities: Sequence[Modality], whose: str) -> Dataset:
    """The samples with these modalities, as the schema says: targets numbered by its classes.

    ``whose`` begins every sentence, such as ``the data of a3 (site3.csv)``. Raises ConfigError for a modality that is
    missing or of another shape, and for a class that the schema does not have, naming both sides.
    """
    for problem in unlike(dataset, schema, modalities):
        raise ConfigError(f"{whose}: {problem}")
    task, names = schema.solved, schema.names
    seen = dataset.select(range(len(dataset)), modalities)
    targets = task.ordered(seen.targets, dataset.class_names, names)
    seen = replace(seen, targets=targets, classes=len(names), labels=names, task=task)
    # what a closed form says of classes holds for the numbers that they had
    return seen if dataset.class_names == names else replace(seen, ceiling=None, shows=None)


def unlike(dataset: Dataset, schema: DataSchema, modalities: Sequence[Modality]) -> Iterator[str]:
    """Where a data set is not what a schema says, each a sentence that names both sides."""
    for m in modalities:
        if m not in dataset.modalities:
            yield f"there is no modality {m!r} in it: {nearest(m, dataset.modalities)}"
            continue
        wanted, found = schema.modalities[m], _schema_of(dataset, m)
        if found is None or found.sample != wanted.sample:  # an embedding is a vector of which more is known
            here = f"of shape {list(dataset.shape(m))}" if found is None else an(str(found))
            yield f"{m!r} is {here} here, and {an(str(wanted))} in data_schema{_remedy(m, found, wanted)}"
    if dataset.task.name != schema.task:
        yield (
            f"its task is {dataset.task.name} here, and {schema.task} in data_schema: say data.task: {schema.task} if "
            "its targets are such"
        )
        return
    task, key = schema.solved, f"data_schema.{schema.solved_by.names}"
    if unknown := [n for n in task.needed(dataset.targets, dataset.class_names) if n not in schema.names]:
        which = ""
        if task.one_class:
            at = (dataset.targets == dataset.class_names.index(unknown[0])).nonzero().flatten()
            which = f"; sample {int(at[0]) + 1} is the first of it" if len(at) else ""
        yield f"the {task.one} {unknown[0]!r} is not in {key}: {nearest(unknown[0], schema.names)}{which}"
    if missing := [] if task.one_class else [n for n in schema.names if n not in dataset.class_names]:
        yield f"the {task.one} {missing[0]!r} of {key} is not in it: {nearest(missing[0], dataset.class_names)}"


def _remedy(modality: Modality, found: ModalitySchema | None, wanted: ModalitySchema) -> str:
    """What to do where one side takes for numbers what the other takes for tokens, or they are of two tokenizers."""
    if found is None or "tokens" not in (found.kind, wanted.kind):
        return ""
    if found.kind != wanted.kind:
        if wanted.kind != "tokens":
            return ": leave it out of data.tokens and data.text"
        return f": say data.tokens: {{{modality}: {{vocabulary: {wanted.vocabulary}}}}} where they are ids"
    if found.tokenizer != wanted.tokenizer:
        return ": ids of another tokenizer mean other things, so give all agents the same"
    return ""


def scales(schema: DataSchema) -> Mapping[Modality, Scale | None]:
    """The given statistics of each modality; None where they are those of samples."""
    found: dict[Modality, Scale | None] = {}
    for m, each in schema.modalities.items():
        found[m] = None
        if isinstance(each.scale, Statistics):
            found[m] = Scale.given(each.scale.mean, each.scale.deviation, len(each.shape))
        elif each.scale == "none":
            found[m] = Scale.none()
    return found

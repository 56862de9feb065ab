"""What a source says of its modalities of tokens, and of embeddings: ids as they are, and texts by a tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.plugin_options import refused
from parse_p2p.core.types import Modality
from parse_p2p.data.kinds import MOST_TOKENS, Embedding, Kinds, Tokens
from parse_p2p.data.tasks.source import Name
from parse_p2p.data.tokenizer import Fault, Tokenizer

Length = Annotated[int, Field(ge=1, le=10**6)]

Ids = NDArray[np.int64]


class TokenOptions(BaseModel, extra="forbid", frozen=True):
    """What the ids of a modality are."""

    vocabulary: int | None = Field(
        None, ge=2, le=MOST_TOKENS, description="how many ids there are, from 0 (default: as the tokenizer says)"
    )
    padding: int | None = Field(
        None, ge=0, description="the id that stands where there is nothing (default: as the tokenizer says, or 0)"
    )
    length: Length | None = Field(
        None, description="of a sample: shorter ones are filled with padding, longer ones cut (default: all alike)"
    )
    tokenizer: Path | None = Field(None, description="the tokenizer.json that made them, or its folder, if known")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.vocabulary is None and self.tokenizer is None:
            raise refused("vocabulary", "how many ids are there? Give a number, or the tokenizer that made them")
        if self.vocabulary is not None and (self.padding or 0) >= self.vocabulary:
            raise refused("padding", f"{self.padding} is none of the {self.vocabulary} ids from 0")
        return self

    def kind(self, modality: str) -> Tokens:
        """What they are. Raises ConfigError for a tokenizer that cannot be read, or knows more ids."""
        if self.tokenizer is None:
            assert self.vocabulary is not None
            return Tokens(self.vocabulary, self.padding or 0)
        made_by = Tokenizer.read(self.tokenizer)
        if self.vocabulary is not None and self.vocabulary < made_by.vocabulary:
            raise ConfigError(
                f"data.tokens.{modality}: vocabulary is {self.vocabulary}, and the tokenizer {made_by.where} has "
                f"{made_by.vocabulary}: leave vocabulary out"
            )
        return _by(made_by, self.padding, self.vocabulary or made_by.vocabulary, f"data.tokens.{modality}")

    def read(self, rows: Sequence[Sequence[int] | None], kind: Tokens, fault: Fault) -> tuple[Ids, Tokens]:
        """Ids (N, length) of lists, padding alone for None. Raises ConfigError, which ``fault`` makes."""
        first = next((row for row, ids in enumerate(rows) if ids is not None), 0)
        length = self.length or (0 if not rows or rows[first] is None else len(rows[first] or ()))
        found, cut = np.full((len(rows), max(1, length)), kind.padding, np.int64), 0
        for row, ids in enumerate(rows):
            if ids is None:
                continue
            values = np.asarray(ids)
            if values.ndim != 1 or not values.size or values.dtype.kind not in "iu":
                raise fault(row, "holds what are no whole numbers", f"give ids from 0 to {kind.vocabulary - 1}")
            if self.length is None and len(values) != length:
                wrong = f"has {len(values)} ids, and {length} in the first sample that has any,"
                raise fault(row, wrong, "give a length, to which all are filled or cut")
            refuse_beyond(values[None], kind, lambda _, wrong, remedy, row=row: fault(row, wrong, remedy))  # type: ignore[misc]
            found[row, : min(length, len(values))] = values[:length]
            cut += len(values) > length
        return found, replace(kind, cut=cut)


class TextOptions(BaseModel, extra="forbid", frozen=True):
    """How the texts of a modality become tokens."""

    column: Name | None = Field(None, description="what holds the texts (default: what is called as the modality)")
    tokenizer: Path = Field(description="a tokenizer.json of the library tokenizers, or its folder")
    length: Length = Field(description="tokens of a sample: longer texts are cut, shorter ones filled with padding")
    padding: int | None = Field(None, ge=0, description="the id of padding (default: as the tokenizer says)")

    def read(self, modality: str, texts: Sequence[str | None], fault: Fault) -> tuple[Ids, Tokens]:
        """Ids (N, length) of texts, padding alone for None. Raises ConfigError, which ``fault`` may make."""
        made_by = Tokenizer.read(self.tokenizer)
        kind = _by(made_by, self.padding, made_by.vocabulary, f"data.text.{modality}")
        ids, cut = made_by.encoded(texts, self.length, kind.padding, fault)
        return ids, replace(kind, cut=cut)


class KindOptions(BaseModel, extra="forbid", frozen=True):
    """Which modalities are tokens or embeddings."""

    text: dict[Modality, TextOptions] = Field({}, description="the modalities that are texts, by a tokenizer")
    tokens: dict[Modality, TokenOptions] = Field({}, description="the modalities that are ids of tokens")
    embeddings: tuple[Modality, ...] = Field(
        (), description="the modalities that are vectors another model made, which are not scaled unless asked for"
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        names = [*self.text, *self.tokens, *self.embeddings]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise refused("tokens", f"{twice[0]!r} would be of two kinds; name it once")
        return self

    def kinds(self, found: Kinds, shapes: dict[Modality, tuple[int, ...]]) -> Kinds:
        """Those of tokens, as they were found, and of embeddings. Raises ConfigError for one that is no vector."""
        for m in self.embeddings:
            if m not in shapes:
                raise ConfigError(f"data.embeddings: there is no modality {m!r}; it has {', '.join(sorted(shapes))}")
            if len(shapes[m]) != 1:
                raise ConfigError(f"data.embeddings: a sample of {m!r} has the shape {list(shapes[m])}; give vectors")
        return {**found, **{m: Embedding() for m in self.embeddings}}


def refuse_beyond(ids: NDArray[Any], kind: Tokens, fault: Fault) -> None:
    """Raise ConfigError for an id that is not in the vocabulary. ``ids`` (N, length) are of any whole type."""
    step = max(1, 2**22 // max(1, ids.shape[1]))
    for start in range(0, len(ids), step):  # some at a time, for they may lie in a file
        some = ids[start : start + step]
        for row, at in np.argwhere((some < 0) | (some >= kind.vocabulary)).tolist():
            remedy = f"give ids from 0 to {kind.vocabulary - 1}, or a larger vocabulary"
            raise fault(start + row, f"has the id {some[row, at]}", remedy)


def is_text(values: NDArray[Any]) -> bool:
    """Whether an array holds texts, or none of what holds any."""
    return values.ndim == 1 and (
        values.dtype.kind == "U" or (values.dtype == object and all(v is None or isinstance(v, str) for v in values))
    )


def holds_text(rows: list[Any]) -> bool:
    """Whether a text is in it, at any depth: in an array of numpy's each would have the room of the longest."""
    types = {*map(type, rows)}
    return str in types or (list in types and any(holds_text(row) for row in rows if isinstance(row, list)))


def as_objects(values: Iterable[Any]) -> NDArray[Any]:
    """An array (N,) of anything, such as lists of several lengths."""
    listed = list(values)
    found = np.empty(len(listed), dtype=object)
    for row, value in enumerate(listed):
        found[row] = value
    return found


def _by(made_by: Tokenizer, padding: int | None, vocabulary: int, where: str) -> Tokens:
    if not 2 <= vocabulary <= MOST_TOKENS:
        raise ConfigError(
            f"{where}: the tokenizer {made_by.where} has {vocabulary} ids from 0; give one of 2 to {MOST_TOKENS}"
        )
    found = made_by.padding if padding is None else padding
    if found is None:
        raise ConfigError(
            f"{where}: the tokenizer {made_by.where} has no token of padding, such as [PAD]: say with padding which id "
            "stands where there is nothing"
        )
    if found >= vocabulary:
        raise ConfigError(f"{where}: padding {found} is none of the {vocabulary} ids from 0 of {made_by.where}")
    return Tokens(vocabulary, found, made_by)

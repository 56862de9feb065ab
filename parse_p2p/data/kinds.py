"""Kinds of input that the number of axes does not tell: the ids of tokens, and what another model made of something.

Ids are int64 from 0 and never scaled. That a modality has them goes along with its shape, a ``TokenShape``: a network
is made from shapes alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parse_p2p.data.tokenizer import Tokenizer

MOST_TOKENS = 2**24
"""Of a vocabulary: float32 counts as far."""


class TokenShape(tuple[int, ...]):
    """The shape [length] of a sample of tokens, which knows how many ids there are and which of them is padding.

    It equals no shape of numbers, nor that of tokens by another vocabulary, padding or ``tokenizer`` (its digest).
    """

    vocabulary: int
    padding: int
    tokenizer: str | None

    def __new__(cls, shape: Sequence[int], vocabulary: int, padding: int = 0, tokenizer: str | None = None) -> Any:
        made = super().__new__(cls, shape)
        made.vocabulary, made.padding, made.tokenizer = vocabulary, padding, tokenizer
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.vocabulary, self.padding, self.tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenShape) and self.__getnewargs__() == other.__getnewargs__()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.__getnewargs__())

    def __repr__(self) -> str:
        return f"TokenShape{self.__getnewargs__()}"

    def __str__(self) -> str:
        return f"{tuple(self)} of tokens"

    @property
    def any_id(self) -> int:
        """An id that is no padding, to try a network on."""
        return 0 if self.padding else 1


@dataclass(frozen=True)
class Tokens:
    """Ids from 0 to ``vocabulary`` - 1, of which ``padding`` stands where there is nothing.

    ``tokenizer`` is what made them, where that is known; ``cut`` says how many samples were longer than they are now.
    """

    vocabulary: int
    padding: int = 0
    tokenizer: Tokenizer | None = None
    cut: int = field(default=0, compare=False)

    kind = "tokens"

    @property
    def digest(self) -> str | None:
        """Of the tokenizer."""
        return None if self.tokenizer is None else self.tokenizer.digest

    def shape(self, length: Sequence[int]) -> TokenShape:
        """That of a sample."""
        found: TokenShape = TokenShape(length, self.vocabulary, self.padding, self.digest)
        return found


@dataclass(frozen=True)
class Embedding:
    """A vector that another model made, which is not scaled unless that is asked for."""

    kind = "embedding"


Kinds = Mapping[Any, Tokens | Embedding]
"""By modality, of those whose kind is not told by the number of axes."""


def padding_of(kinds: Kinds, modality: str) -> int | None:
    """The id of padding of a modality of tokens; None of any other."""
    kind = kinds.get(modality)
    return kind.padding if isinstance(kind, Tokens) else None


def tokenizers(kinds: Kinds) -> Iterator[Tokenizer]:
    """Those that made the ids of these modalities, as far as they are known."""
    for kind in kinds.values():
        if isinstance(kind, Tokens) and kind.tokenizer is not None:
            yield kind.tokenizer

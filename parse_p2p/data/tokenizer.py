"""Texts become ids of tokens by a ``tokenizer.json`` of Hugging Face's library tokenizers. Nothing is fetched.

Two tokenizers are the same where their digests are: of all that the file says but how it cuts and fills texts, for that
is said by the schema of the data.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parse_p2p.core.errors import ConfigError, cause

FILE = "tokenizer.json"
PADDING = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
"""What the token of padding is called, by custom."""

LARGEST = 256 * 2**20  # bytes

POINTER = "version https://git-lfs"

Fault = Callable[[int, str, str], ConfigError]
"""What is wrong in a row, and what would be right, as a sentence that says where the row is."""


@dataclass(frozen=True)
class Tokenizer:
    """What is in a ``tokenizer.json``, ``text``, without how it cuts and fills; ``where`` it was read."""

    text: str
    where: str = FILE
    filled_with: int | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @staticmethod
    def read(path: Path) -> "Tokenizer":
        """That of a file, or of a folder with ``tokenizer.json``. Raises ConfigError for what is none."""
        found = Tokenizer._unmade(path)
        found._made  # noqa: B018 -- raises ConfigError
        return found

    @staticmethod
    def _unmade(path: Path) -> "Tokenizer":
        """The same without the library that makes it, which is needed only where there are texts."""
        file = path
        try:
            path = path.expanduser()
            file = path / FILE if path.is_dir() else path
            content = json.loads(readable(file))
            if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
                raise ValueError("it has no model")
        except FileNotFoundError:
            raise ConfigError(
                f"the tokenizer {file} does not exist; give the path of a {FILE}, or its folder"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:  # of which RecursionError is one
            said = getattr(error, "strerror", None) or error
            raise ConfigError(f"the tokenizer {file} cannot be read ({said}); give a {FILE}") from None
        filled = content.pop("padding", None)
        content.pop("truncation", None)
        filled_with = filled.get("pad_id") if isinstance(filled, dict) else None
        if filled_with is not None and (type(filled_with) is not int or filled_with < 0):
            raise ConfigError(f"the tokenizer {file} fills with {filled_with!r}, which is no id; give a {FILE}")
        return Tokenizer(json.dumps(content, sort_keys=True, separators=(",", ":")), str(file), filled_with)

    @cached_property
    def digest(self) -> str:
        """Equal where tokenizers are."""
        return blake2b(self.text.encode(), digest_size=8).hexdigest()

    @cached_property
    def _made(self) -> Any:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would not outlive a fork
        try:
            import tokenizers
        except ModuleNotFoundError:
            raise ConfigError("a tokenizer needs the package tokenizers: pip install 'parse-p2p[text]'") from None
        with self._asked("cannot be read"):
            return tokenizers.Tokenizer.from_str(self.text)

    @contextmanager
    def _asked(self, wrong: str) -> Iterator[None]:
        """Raises ConfigError for whatever the library raises, such as a panic of Rust, which is no Exception."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            said = " ".join(cause(error).split())[:160]
            raise ConfigError(f"the tokenizer {self.where} {wrong} ({said}); give a {FILE}") from None

    @cached_property
    def vocabulary(self) -> int:
        """One more than the largest id."""
        return max(self._made.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @cached_property
    def padding(self) -> int | None:
        """The id that its file fills with, or of a token that is called so; None where there is none."""
        if self.filled_with is not None:
            return self.filled_with
        return next((id for name in PADDING if (id := self._made.token_to_id(name)) is not None), None)

    @cached_property
    def unknown(self) -> int | None:
        """The id of what is not in the vocabulary; None where there is none."""
        model = json.loads(self.text)["model"]
        if isinstance(model.get("unk_token"), str):
            found: int | None = self._made.token_to_id(model["unk_token"])
            return found
        return model["unk_id"] if isinstance(model.get("unk_id"), int) else None

    def encoded(
        self, texts: Sequence[str | None], length: int, padding: int, fault: Fault
    ) -> tuple[NDArray[np.int64], int]:
        """The ids (N, length) of texts, cut or filled at their end; padding alone for None. How many were cut.

        Raises ConfigError, which ``fault`` makes, for a text without a token, and where no token fits, or the tokenizer
        has none for a text.
        """
        made = self._made
        if length <= (special := made.num_special_tokens_to_add(False)):
            raise ConfigError(
                f"the tokenizer {self.where} adds {special} tokens to each text, which leaves none of {length}: raise "
                "length"
            )
        made.no_padding()
        made.enable_truncation(length)
        given = [(row, text) for row, text in enumerate(texts) if text is not None]
        for row, text in given:
            if not _is_unicode(text):
                raise fault(row, "has a text with half a character, a lone surrogate,", "give whole ones")
        ids, cut = np.full((len(texts), length), padding, np.int64), 0
        with self._asked("cannot read some texts"):
            encodings = made.encode_batch([text for _, text in given])
        for (row, text), found in zip(given, encodings, strict=True):
            if sum(found.special_tokens_mask) == len(found.ids):
                said = "an empty text" if not text.strip() else f"a text without a token, {text[:40]!r},"
                raise fault(row, f"has {said}", "leave it out, or give none at all where the sample lacks it")
            ids[row, : len(found.ids)] = found.ids
            cut += bool(found.overflowing)
        if ids.size and (largest := ids.max()) >= self.vocabulary:
            raise ConfigError(
                f"the tokenizer {self.where} gives the id {largest}, and has {self.vocabulary} from 0; give a {FILE}"
            )
        return ids, cut


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # of a surrogate alone, which JSON may hold
        return False
    return True


def readable(file: Path) -> str:
    """The text of a file. Raises OSError, and ValueError for a pointer to it and what is far too large."""
    if file.exists() and not file.is_file():
        raise ValueError("it is no file")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    raw = file.read_text("utf-8")
    if raw.startswith(POINTER):
        raise ValueError("it is a pointer of Git LFS: get the file with git lfs pull")
    return raw


def file_name(digest: str) -> str:
    """What a tokenizer is called beside a model."""
    return f"tokenizer-{digest}.json"


def kept(folder: Path, digest: str | None) -> Tokenizer | None:
    """The tokenizer that was kept in a folder; None where there is none. Raises ConfigError where it is another."""
    if digest is None or not (path := folder / file_name(digest)).is_file():
        return None
    found = Tokenizer._unmade(path)
    if found.digest != digest:
        raise ConfigError(f"{path} is the tokenizer {found.digest} and not {digest}: bring back the one that was there")
    return found


def digest_in(folder: Path) -> str | None:
    """Of the ``tokenizer.json`` in a folder; None where there is none. Raises ConfigError for one that is broken."""
    file = folder / FILE
    return _digest(file, file.stat().st_mtime_ns) if file.is_file() else None


@lru_cache(maxsize=8)  # each agent of a simulation asks anew
def _digest(file: Path, changed: int) -> str:
    return Tokenizer._unmade(file).digest


def keep(folder: Path, tokenizer: Tokenizer) -> None:
    """Write it there, unless it is there; what was broken is made whole."""
    path = folder / file_name(tokenizer.digest)
    try:
        there = kept(folder, tokenizer.digest)
    except ConfigError:
        there = None
    if there is None:
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_text(tokenizer.text, encoding="utf-8")
        partial.rename(path)

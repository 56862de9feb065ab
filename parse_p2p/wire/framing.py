"""The layout of a message, written down once.

A message is ``[header, buffer, buffer, …]``. The header is msgpack, small and bounded; each buffer is the memory
of (a stretch of) one tensor, never copied into the header. A message above ``CHUNK`` bytes travels as several
parts, since one big part would hold up everything behind it and defeat heartbeats:

    header = [version, run, sender, round, topic, part, parts, [[tensor, shape, codec, start, stop], …], {meta},
              newest]

``start`` and ``stop`` are bytes of the encoded tensor; ``newest`` says that the message serves in any round. ``pack``
and ``Assembler.add`` are inverses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import msgpack
import torch
from torch import Tensor

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Fact, Message
from parse_p2p.core.types import PeerId
from parse_p2p.wire.codecs.base import DOUBLE, Codec, suited

VERSION = 2
CHUNK = 1 << 20  # bytes of tensors in one message
MAX_HEADER = 1 << 16  # bytes
MAX_TENSORS = 1024  # in one message
MAX_AXES = 8
MAX_PARTS = 1 << 16
MAX_UNFINISHED = 64  # messages of one sender
MAX_ROUND = 1 << 32
OVERHEAD = 512  # bytes of memory that a message, a tensor or a fact takes at least

Buffer = bytes | memoryview
Frames = Sequence[Buffer]


@dataclass(frozen=True)
class Piece:
    """A stretch of one encoded tensor, ``start`` to ``stop`` in bytes."""

    name: str
    shape: tuple[int, ...]
    codec: str
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """Who says what in which round, or with ``newest`` in any; ``part`` counts from 0 to ``parts`` − 1."""

    run: str
    sender: PeerId
    round: int
    topic: str
    part: int = 0
    parts: int = 1
    pieces: tuple[Piece, ...] = ()
    meta: Mapping[str, Fact] = field(default_factory=dict)
    newest: bool = False

    @property
    def key(self) -> "Key":
        """What the parts of one message have in common, beside their sender."""
        return self.round, self.topic, self.newest


Key = tuple[int, str, bool]


def pack(header: Header, message: Message, codec: Codec) -> list[Frames]:
    """The parts that carry a message, as frames; with the ``raw`` codec the buffers are the tensors' own memory."""
    parts = list(_chunks(message, codec))
    return [_message(header, message.meta if i == 0 else {}, i, len(parts), p) for i, p in enumerate(parts)]


def _chunks(message: Message, codec: Codec) -> Iterator[list[tuple[Piece, memoryview]]]:
    part: list[tuple[Piece, memoryview]] = []
    room = CHUNK
    for name, tensor in message.tensors.items():
        by = suited(codec, tensor)
        data, start = by.encode(tensor), 0
        while start < len(data) or not len(data):
            if not room or len(part) == MAX_TENSORS // 8:
                yield part
                part, room = [], CHUNK
            stop = min(len(data), start + room)
            part.append((Piece(name, tuple(tensor.shape), by.name, start, stop), data[start:stop]))
            room -= stop - start
            start = stop
            if not len(data):
                break
    yield part


def _message(
    header: Header, meta: Mapping[str, Fact], part: int, parts: int, chunk: list[tuple[Piece, memoryview]]
) -> Frames:
    pieces = [[p.name, p.shape, p.codec, p.start, p.stop] for p, _ in chunk]
    head = [VERSION, header.run, header.sender, header.round, header.topic, part, parts, pieces, dict(meta),
            header.newest]  # fmt: skip
    packed: bytes = msgpack.packb(head)
    if len(packed) > MAX_HEADER:
        raise MalformedFrame(f"the header on {header.topic!r} is over {MAX_HEADER} bytes: send fewer facts")
    return [packed, *(data for _, data in chunk)]


def unpack(frames: Frames) -> tuple[Header, list[memoryview]]:
    """The header of one message and its buffers, checked against each other.

    Raises MalformedFrame, naming what is wrong, for anything that ``pack`` could not have made.
    """
    header = _header(_decode(frames))
    buffers = [memoryview(frame).cast("B") for frame in frames[1:]]
    _require(len(buffers) == len(header.pieces), "as many buffers as tensors")
    for piece, buffer in zip(header.pieces, buffers, strict=True):
        _require(len(buffer) == piece.stop - piece.start, f"{piece.stop - piece.start} bytes for {piece.name!r}")
    return header, buffers


def _decode(frames: Frames) -> list[Any]:
    _require(len(frames) > 0 and len(frames[0]) <= MAX_HEADER, f"a header of at most {MAX_HEADER} bytes")
    try:
        head = msgpack.unpackb(bytes(frames[0]), use_list=True, strict_map_key=True, max_ext_len=0)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedFrame(f"the header is no msgpack: {type(error).__name__}") from None
    _require(isinstance(head, list) and len(head) == 10, "a header of ten fields")
    _require(head[0] == VERSION, f"version {VERSION}")
    return list(head)


def _header(head: list[Any]) -> Header:
    _, run, sender, round, topic, part, parts, pieces, meta, newest = head
    _require(all(isinstance(s, str) and 0 < len(s) <= 128 for s in (run, sender, topic)), "short names")
    _require(_whole(round, MAX_ROUND) and _whole(part, MAX_PARTS) and _whole(parts, MAX_PARTS), "whole numbers")
    _require(part < parts, "a part below the number of parts")
    _require(isinstance(pieces, list) and len(pieces) <= MAX_TENSORS, f"at most {MAX_TENSORS} tensors")
    _require(isinstance(meta, dict) and all(_fact(k, v) for k, v in meta.items()), "plain facts")
    _require(isinstance(newest, bool), "true or false for whether it serves in any round")
    return Header(run, PeerId(sender), round, topic, part, parts, tuple(map(_piece, pieces)), meta, newest)


def _piece(entry: Any) -> Piece:
    _require(isinstance(entry, list) and len(entry) == 5, "five fields for a tensor")
    name, shape, codec, start, stop = entry
    _require(isinstance(name, str) and isinstance(codec, str), "a tensor's name and codec")
    _require(isinstance(shape, list) and len(shape) <= MAX_AXES and all(_whole(n, 1 << 40) for n in shape), "a shape")
    _require(prod(max(n, 1) for n in shape) < 1 << 40, "a shape that can be")
    _require(_whole(start, 1 << 40) and _whole(stop, 1 << 40) and start <= stop, "a stretch of bytes")
    return Piece(name, tuple(shape), codec, start, stop)


def _whole(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit


def _fact(name: Any, value: Any) -> bool:
    scalar = str | int | float | bool
    plain = isinstance(value, scalar) or (isinstance(value, list) and all(isinstance(v, scalar) for v in value))
    return isinstance(name, str) and plain


def _require(condition: bool, wanted: str) -> None:
    if not condition:
        raise MalformedFrame(f"a message must have {wanted}")


@dataclass
class _Partial:
    header: Header
    parts: dict[int, list[tuple[Piece, memoryview]]] = field(default_factory=dict)
    nbytes: int = 0


class Assembler:
    """Puts the parts of a message together again, in whatever order they come.

    What one sender may leave unfinished is bounded by ``limit`` bytes; beyond it the sender's unfinished messages are
    forgotten and the message refused.
    """

    def __init__(self, codecs: Iterable[Codec], limit: int = 1 << 30) -> None:
        self._codecs = {codec.name: codec for codec in (*codecs, DOUBLE)}
        self._limit = limit
        self._partial: dict[PeerId, dict[Key, _Partial]] = {}

    def add(self, header: Header, buffers: Sequence[memoryview]) -> Message | None:
        """The message, when this part completes it. Raises MalformedFrame."""
        waiting = self._partial.setdefault(header.sender, {})
        key = header.key
        if header.newest and key not in waiting:
            for older in [k for k in waiting if k[1:] == key[1:] and k[0] < header.round]:
                del waiting[older]  # which a newer message replaces
        partial = waiting.setdefault(key, _Partial(header))
        try:
            return self._add(waiting, key, partial, header, buffers)
        except MalformedFrame:
            waiting.pop(key, None)
            raise

    def forget(self, before: int) -> None:
        """Drop unfinished messages of rounds before this one that serve in their own round alone."""
        for waiting in self._partial.values():
            for key in [(round, topic, newest) for round, topic, newest in waiting if round < before and not newest]:
                del waiting[key]

    def _add(
        self,
        waiting: dict[Key, _Partial],
        key: Key,
        partial: _Partial,
        header: Header,
        buffers: Sequence[memoryview],
    ) -> Message | None:
        _require(header.parts == partial.header.parts, "the same number of parts throughout")
        stretches = list(zip(header.pieces, buffers, strict=True))
        if partial.parts.get(header.part) == stretches:
            return None  # the network carried it twice
        _require(header.part not in partial.parts, "each part once")
        partial.parts[header.part] = stretches
        partial.nbytes += sum(map(len, buffers))
        if header.part == 0:
            partial.header = replace(header)
        partial.nbytes += OVERHEAD * (1 + len(buffers) + len(header.meta))
        if sum(p.nbytes for p in waiting.values()) > self._limit or len(waiting) > MAX_UNFINISHED:
            waiting.clear()
            bounds = f"{self._limit} bytes or {MAX_UNFINISHED} messages"
            raise MalformedFrame(f"{header.sender} has more than {bounds} that are not complete")
        if len(partial.parts) < header.parts:
            return None
        del waiting[key]
        whole = [stretch for part in sorted(partial.parts) for stretch in partial.parts[part]]
        return Message(self._tensors(whole), partial.header.meta)

    def _tensors(self, stretches: list[tuple[Piece, memoryview]]) -> dict[str, Tensor]:
        byname: dict[str, list[tuple[Piece, memoryview]]] = {}
        for piece, buffer in stretches:
            byname.setdefault(piece.name, []).append((piece, buffer))
        return {name: self._tensor(pieces) for name, pieces in byname.items()}

    def _tensor(self, pieces: list[tuple[Piece, memoryview]]) -> Tensor:
        first = pieces[0][0]
        codec = self._codecs.get(first.codec)
        if codec is None:
            raise MalformedFrame(f"the codec {first.codec!r} is not this run's: {', '.join(self._codecs)}")
        count = prod(first.shape)
        end = 0
        for piece, _ in pieces:
            _require((piece.shape, piece.codec, piece.start) == (first.shape, first.codec, end), "gapless tensors")
            end = piece.stop
        _require(end == codec.length(count), f"{codec.length(count)} bytes for {count} numbers")
        if not count:
            return torch.empty(first.shape)
        return codec.decode(_joined([buffer for _, buffer in pieces]), count).reshape(first.shape)


def _joined(buffers: list[memoryview]) -> memoryview:
    """One writable, aligned buffer; the one that came, where it already is (small frames often are not)."""
    if len(buffers) == 1 and not buffers[0].readonly and _aligned(buffers[0]):
        return buffers[0]
    return memoryview(bytearray().join(buffers))


def _aligned(buffer: memoryview) -> bool:
    return torch.frombuffer(buffer, dtype=torch.uint8).data_ptr() % 8 == 0

"""Messages survive the wire in any order of their parts, and whatever else arrives is refused as malformed."""

import math

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Message
from parse_p2p.wire import framing
from parse_p2p.wire.codecs import bf16, raw
from parse_p2p.wire.framing import CHUNK, MAX_HEADER, MAX_TENSORS, VERSION, Assembler, Header, pack, unpack

CODECS = [raw.CODEC, bf16.CODEC]
HEADER = Header("run", "a0", 3, "slices")


def through(parts, limit=1 << 28):
    """What an assembler makes of messages in this order; None while something is missing."""
    assembler = Assembler(CODECS, limit)
    found = [assembler.add(*unpack(part)) for part in parts]
    assert all(message is None for message in found[:-1])
    return found[-1]


def packed(message, codec=raw.CODEC, chunk=CHUNK, header=HEADER):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "CHUNK", chunk)
        return pack(header, message, codec)


def head(part):
    return msgpack.unpackb(part[0])


def altered(part, change):
    """The message with its header changed in place by a function."""
    fields = head(part)
    change(fields)
    return [msgpack.packb(fields), *part[1:]]


def values(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# the round trip

words = st.text(max_size=12)
wholes, reals = st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False)
facts = wholes | reals | st.booleans() | words | st.lists(reals, max_size=4) | st.lists(words, max_size=4)
shapes = st.lists(st.integers(0, 9), min_size=1, max_size=3)


@st.composite
def messages(draw):
    tensors = draw(st.dictionaries(words, st.tuples(shapes, st.integers(0, 99)), max_size=8))
    return Message({name: values(*shape, seed=seed) for name, (shape, seed) in tensors.items()},
                  draw(st.dictionaries(words, facts, max_size=4)))  # fmt: skip


def assert_same(found, message, codec):
    assert dict(found.meta) == dict(message.meta)
    assert list(found.tensors) == list(message.tensors)
    for name, tensor in message.tensors.items():
        wanted = tensor if codec.lossless else tensor.to(torch.bfloat16).float()
        assert found.tensors[name].dtype == torch.float32 and torch.equal(found.tensors[name], wanted), name


@settings(deadline=None)
@given(messages(), st.sampled_from(CODECS), st.sampled_from([1, 7, 64, 1000, CHUNK]), st.data())
def test_a_message_arrives_as_it_was_in_any_order_of_its_parts(message, codec, chunk, data):
    parts = packed(message, codec, chunk)
    for i, part in enumerate(parts):
        header, buffers = unpack(part)
        assert (header.run, header.sender, header.round, header.topic) == ("run", "a0", 3, "slices")
        assert (header.part, header.parts) == (i, len(parts))
        assert sum(map(len, buffers)) <= chunk
    assert_same(through(data.draw(st.permutations(parts))), message, codec)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_tensors_above_a_chunk_travel_in_several_messages(codec):
    message = Message({"small": values(3), "big": values(900, 700), "none": values(0, 4), "last": values(1)}, {"n": 7})
    parts = pack(HEADER, message, codec)
    assert len(parts) == math.ceil(sum(codec.length(t.numel()) for t in message.tensors.values()) / CHUNK) > 1
    assert all(sum(map(len, part[1:])) <= CHUNK for part in parts)
    assert_same(through(parts[::-1]), message, codec)


def test_a_thousand_tensors_with_long_names_keep_within_the_header():
    message = Message({f"{i:04}" + 200 * "x": values(i % 3, seed=i) for i in range(1000)})
    parts = pack(HEADER, message, raw.CODEC)
    assert all(len(part[0]) <= MAX_HEADER and len(part) <= MAX_TENSORS + 1 for part in parts)
    assert_same(through(parts), message, raw.CODEC)


def test_an_empty_message_is_one_frame_set():
    parts = pack(HEADER, Message(meta={"round": 1}), raw.CODEC)
    assert len(parts) == 1
    assert through(parts) == Message({}, {"round": 1})


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_single_number_without_axes_arrives(codec):
    message = Message({"temperature": torch.tensor(0.5)})
    assert_same(through(pack(HEADER, message, codec)), message, codec)


def test_raw_neither_copies_when_packed_nor_when_unpacked():
    tensor = values(4096)
    [part] = pack(HEADER, Message({"x": tensor}), raw.CODEC)
    assert np.shares_memory(np.frombuffer(part[1], np.uint8), tensor.numpy())
    assert through([part]).tensors["x"].data_ptr() == tensor.data_ptr()


def test_every_part_of_a_large_tensor_is_its_own_memory():
    tensor = values(3 * CHUNK // 4 + 5)
    for part in pack(HEADER, Message({"x": tensor}), raw.CODEC):
        assert np.shares_memory(np.frombuffer(part[1], np.uint8), tensor.numpy())


@pytest.mark.parametrize("offset", [0, 1, 2, 4])
def test_buffers_may_be_unaligned_or_read_only(offset):
    tensor = values(5)
    [part] = pack(HEADER, Message({"x": tensor}), raw.CODEC)
    memory = bytes(offset) + bytes(part[1])
    for buffer in (memoryview(memory)[offset:], memoryview(bytearray(memory))[offset:]):
        found = through([[part[0], buffer]]).tensors["x"]
        assert torch.equal(found, tensor)
        found += 1  # a mixer may write to what came


def test_messages_of_several_senders_topics_and_rounds_do_not_mix():
    headers = [HEADER, Header("run", "a1", 3, "slices"), Header("run", "a0", 4, "slices"), Header("run", "a0", 3, "x"),
               Header("run", "a0", 3, "slices", newest=True)]  # fmt: skip
    whole = [Message({"x": values(9, seed=i)}, {"i": i}) for i in range(len(headers))]
    assembler, found = Assembler(CODECS), []
    for parts in zip(*(packed(p, chunk=8, header=h) for p, h in zip(whole, headers, strict=True)), strict=True):
        found += [message for m in parts if (message := assembler.add(*unpack(m))) is not None]
    for message, wanted in zip(found, whole, strict=True):
        assert_same(message, wanted, raw.CODEC)


# the header and its bounds

VALID = [VERSION, "run", "a0", 3, "slices", 0, 1, [["x", [2], "raw", 0, 8]], {}, False]
PIECE = VALID[7][0]
BAD_FIELDS = [
    *[(0, v) for v in (0, 1, 3, "2", None)],
    *[(i, v) for i in (1, 2, 4) for v in ("", 129 * "x", 7, None, b"run")],
    *[(3, v) for v in (-1, 1 << 32, 1.0, True, "3", None)],
    *[(5, v) for v in (-1, 1, False, 0.0, None)],
    *[(6, v) for v in (0, -1, 1 << 16, True, None)],
    *[(7, v) for v in (None, {}, [PIECE, PIECE], [], ["x"], [[*PIECE, 0]], [PIECE[:4]], (MAX_TENSORS + 1) * [PIECE])],
    *[(8, v) for v in (None, [], {"x": None}, {"x": {}}, {"x": [[1]]}, {"x": [None]}, {b"x": 1}, {"x": b"1"})],
    *[(9, v) for v in (None, 0, 1, "newest", [])],
]  # fmt: skip
BAD_PIECES = [
    *[(0, v) for v in (None, 1, b"x")],
    *[(1, v) for v in (None, 2, [-1], [1 << 40], [2.0], [True], ["2"], 9 * [1], [3], [1, 1], [])],
    *[(2, v) for v in (None, 1, b"raw", "", "zstd")],
    *[(3, v) for v in (-1, 1, 9, 8, 0.0, None)],
    *[(4, v) for v in (-1, 0, 7, 9, 1 << 40, 8.0, None)],
]


@pytest.mark.parametrize(("place", "value"), BAD_FIELDS, ids=lambda v: repr(v)[:24])
def test_a_wrong_field_of_the_header_is_refused(place, value):
    fields = [*VALID[:place], value, *VALID[place + 1 :]]
    with pytest.raises(MalformedFrame):
        through([[msgpack.packb(fields), bytes(8)]])


@pytest.mark.parametrize(("place", "value"), BAD_PIECES, ids=lambda v: repr(v)[:24])
def test_a_wrong_description_of_a_tensor_is_refused(place, value):
    piece = [*PIECE[:place], value, *PIECE[place + 1 :]]
    with pytest.raises(MalformedFrame):
        through([[msgpack.packb([*VALID[:7], [piece], {}, False]), bytes(8)]])


def test_the_header_these_are_made_from_is_right():
    assert torch.equal(through([[msgpack.packb(VALID), bytes(8)]]).tensors["x"], torch.zeros(2))


def test_facts_beyond_the_header_are_refused_on_both_sides():
    with pytest.raises(MalformedFrame, match="65536 bytes"):
        pack(HEADER, Message(meta={"x": MAX_HEADER * "x"}), raw.CODEC)
    pack(HEADER, Message(meta={"x": (MAX_HEADER - 100) * "x"}), raw.CODEC)
    with pytest.raises(MalformedFrame, match="65536 bytes"):
        unpack([msgpack.packb([*VALID[:7], [], {"x": MAX_HEADER * "x"}, False])])


@pytest.mark.parametrize("shape", [[0, 2**39, 2**39], [2**39, 2**39, 0]])
def test_an_empty_tensor_of_astronomic_shape_is_refused(shape):
    with pytest.raises(MalformedFrame):
        through([[msgpack.packb([*VALID[:7], [["x", shape, "raw", 0, 0]], {}, False]), b""]])


# whatever else arrives


def read_or_refused(frames):
    """A complete message, an incomplete one, or MalformedFrame; any other error comes through."""
    try:
        return through([frames])
    except MalformedFrame as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return None


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_bytes_are_refused(frames):
    assert read_or_refused(frames) is None


@pytest.mark.parametrize(
    "first",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 50_000,
     b"\xd6\xff\0\0\0\0", b"\xc7\x00\x05", b"\x81\x90\x01", msgpack.packb(VALID) + b"\0", msgpack.packb(VALID)[:-1]],
    ids=lambda b: b[:8].hex(),
)  # fmt: skip
def test_what_is_no_header_is_refused(first):
    with pytest.raises(MalformedFrame):
        unpack([first, bytes(8)])


def test_no_frames_are_refused():
    with pytest.raises(MalformedFrame):
        unpack([])


odd = st.recursive(
    st.sampled_from([None, True, False, -1, 0, 1, 2, 8, 129, 2**20, 2**41, 2**63, 0.0, math.nan, math.inf])
    | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


def places(value, at=()):
    """The paths to everything inside a nest of lists and dicts."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


@settings(deadline=None, max_examples=300)
@given(messages(), st.sampled_from(CODECS), st.data())
def test_a_header_changed_in_one_place_is_read_or_refused(message, codec, data):
    [part] = pack(HEADER, message, codec)
    fields = head(part)
    *way, last = data.draw(st.sampled_from(list(places(fields))))
    inner = fields
    for key in way:
        inner = inner[key]
    change = data.draw(st.sampled_from(["replace", "delete", "double"]))
    if change == "replace":
        inner[last] = data.draw(odd)
    elif change == "delete":
        del inner[last]
    elif isinstance(inner, list):
        inner.insert(last, inner[last])
    read_or_refused([msgpack.packb(fields), *part[1:]])


@settings(deadline=None, max_examples=300)
@given(messages(), st.data())
def test_a_header_with_a_wrong_byte_is_read_or_refused(message, data):
    [part] = pack(HEADER, message, raw.CODEC)
    wrong = bytearray(part[0])
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= data.draw(st.integers(1, 255))
    read_or_refused([bytes(wrong), *part[1:]])


@given(st.integers(0, 40).filter(lambda n: n != 8))
def test_a_buffer_of_another_length_is_refused(length):
    with pytest.raises(MalformedFrame, match="8 bytes for 'x'"):
        unpack([msgpack.packb(VALID), bytes(length)])


@pytest.mark.parametrize("count", [0, 2, 3])
def test_more_or_fewer_buffers_than_tensors_are_refused(count):
    with pytest.raises(MalformedFrame, match="as many buffers as tensors"):
        unpack([msgpack.packb(VALID), *count * [bytes(8)]])


# parts that do not belong together


def parts():
    """Three messages of 8, 8 and 4 bytes that carry one tensor of five numbers."""
    return packed(Message({"x": torch.arange(5.0)}), chunk=8)


def field_of(piece, value):
    return lambda fields: fields[7][0].__setitem__(piece, value)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        pytest.param(1, {3: 12, 4: 20}, id="gap"),
        pytest.param(1, {3: 4, 4: 12}, id="overlap"),
        pytest.param(1, {3: 0, 4: 8}, id="the same stretch twice"),
        pytest.param(0, {3: 8, 4: 16}, id="no beginning"),
        pytest.param(1, {1: [6]}, id="another shape"),
        pytest.param(1, {1: [5, 1]}, id="as many numbers in another shape"),
        pytest.param(1, {2: "bf16"}, id="another codec"),
        pytest.param(2, {0: "y"}, id="another name"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(part, changes):
    cut = parts()
    for place, value in changes.items():
        cut[part] = altered(cut[part], field_of(place, value))
    with pytest.raises(MalformedFrame):
        through(cut)


def test_a_tensor_that_ends_early_or_late_is_refused():
    for shape in ([4], [6]):
        with pytest.raises(MalformedFrame, match="bytes for"):
            through([altered(part, field_of(1, shape)) for part in parts()])


def test_a_part_that_comes_twice_is_passed_over():
    assembler = Assembler(CODECS)
    one, two, three = (unpack(part) for part in parts())
    again = unpack([bytes(frame) for frame in parts()[0]])
    assert [assembler.add(*part) for part in (one, again, two, one)] == [None] * 4
    assert torch.equal(assembler.add(*three).tensors["x"], torch.arange(5.0))


def test_another_part_of_the_same_number_is_refused_and_the_sender_may_begin_again():
    assembler = Assembler(CODECS)
    one, two, three = (unpack(part) for part in parts())
    header, [buffer] = one
    assembler.add(*one)
    with pytest.raises(MalformedFrame, match="each part once"):
        assembler.add(header, [memoryview(bytes(len(buffer)))])
    assert assembler.add(*one) is None and assembler.add(*two) is None
    assert torch.equal(assembler.add(*three).tensors["x"], torch.arange(5.0))


def test_a_differing_number_of_parts_is_refused():
    cut = parts()
    cut[1] = altered(cut[1], lambda fields: fields.__setitem__(6, 4))
    with pytest.raises(MalformedFrame, match="the same number of parts"):
        through(cut[:2])


def test_a_codec_of_another_run_is_refused_by_name():
    [part] = pack(HEADER, Message({"x": values(3)}), bf16.CODEC)
    with pytest.raises(MalformedFrame, match=r"'bf16' is not this run's: raw"):
        Assembler([raw.CODEC]).add(*unpack(part))


# unfinished messages


def test_too_many_unfinished_messages_are_refused_and_forgotten():
    assembler = Assembler(CODECS, limit=4000)
    other = packed(Message({"x": values(200)}), chunk=400, header=Header("run", "a1", 3, "slices"))
    assembler.add(*unpack(other[0]))
    for topic in ("one", "two"):
        assembler.add(*unpack(packed(Message({"x": values(200)}), chunk=400, header=Header("run", "a0", 3, topic))[0]))
    with pytest.raises(MalformedFrame, match="a0 has more than 4000 bytes"):
        assembler.add(*unpack(packed(Message({"x": values(200)}), chunk=400)[0]))
    parts = packed(Message({"x": values(200)}), chunk=400)
    assert [assembler.add(*unpack(m)) is None for m in parts] == [True, False], "the sender may go on afterwards"
    assert assembler.add(*unpack(other[1])) is not None, "another sender's messages are not touched"


def test_finished_messages_do_not_count_against_the_limit():
    assembler = Assembler(CODECS, limit=4000)
    for round in range(5):
        first, second = packed(Message({"x": values(200)}), chunk=400, header=Header("run", "a0", round, "slices"))
        assert assembler.add(*unpack(first)) is None
        assert assembler.add(*unpack(second)) is not None


def test_messages_of_earlier_rounds_are_forgotten():
    assembler = Assembler(CODECS, limit=4000)
    rounds = {
        r: packed(Message({"x": values(200)}), chunk=400, header=Header("run", "a0", r, "slices")) for r in (3, 4)
    }
    for first, _ in rounds.values():
        assembler.add(*unpack(first))
    assembler.forget(4)
    assert assembler.add(*unpack(rounds[4][1])) is not None
    assert assembler.add(*unpack(rounds[3][1])) is None
    assert assembler.add(*unpack(rounds[3][0])) is not None, "the earlier round begins afresh"


def test_unfinished_messages_without_tensors_are_bounded_too():
    assembler = Assembler(CODECS, limit=100_000)
    with pytest.raises(MalformedFrame):
        for topic in range(200):
            fields = ["run", "a0", 3, str(topic), 0, 2, [], {"x": 1000 * "x"}, False]
            assembler.add(*unpack([msgpack.packb([VERSION, *fields])]))


def test_an_unfinished_message_of_any_round_waits_until_a_newer_one_begins(monkeypatch):
    """A slow sender's long message is put together though my rounds go on, and one cut off leaves nothing behind."""
    monkeypatch.setattr(framing, "CHUNK", 8)
    old, new = (pack(Header("run", "a0", r, "x", newest=True), Message({"x": torch.full((4,), float(r))}), raw.CODEC)
                for r in (3, 5))  # fmt: skip
    assembler = Assembler([raw.CODEC])
    assert assembler.add(*unpack(old[0])) is None
    assembler.forget(before=100)
    assert assembler.add(*unpack(old[1])).tensors["x"].tolist() == [3.0] * 4
    assert assembler.add(*unpack(old[0])) is None
    assert assembler.add(*unpack(new[0])) is None
    assert assembler.add(*unpack(old[1])) is None, "its first half was forgotten"
    assert assembler.add(*unpack(new[1])).tensors["x"].tolist() == [5.0] * 4

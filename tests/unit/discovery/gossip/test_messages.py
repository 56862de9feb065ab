"""Messages of the discovery: what is written is read, and nothing else is."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.message import Message
from parse_p2p.core.slices import SliceKey
from parse_p2p.discovery.gossip import messages
from parse_p2p.discovery.gossip.messages import (
    MAX_DESCRIPTORS,
    MAX_SLICES,
    MAX_TABLE,
    OLDEST,
    Edge,
    GossipMessage,
    PeerDescriptor,
    read,
    write,
)
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.framing import Header, pack, unpack

WORDS = st.text(string.ascii_letters + string.digits + ".:/@é-", min_size=1, max_size=12)
LABELS = st.text(string.ascii_letters + ".@#+&:~", min_size=1, max_size=20)
DESCRIPTORS = st.builds(
    PeerDescriptor,
    WORDS,
    st.lists(WORDS, max_size=messages.MAX_ADDRESSES).map(tuple),
    st.lists(WORDS, max_size=3).map(tuple),
    st.frozensets(LABELS, max_size=8),
    st.integers(0, OLDEST - 1),
)
EDGES = st.dictionaries(LABELS, st.builds(Edge, st.booleans(), st.integers(0, messages.MAX_DEGREE)), max_size=8)


@st.composite
def gossip_messages(draw):
    first, *others = draw(st.lists(DESCRIPTORS, min_size=1, max_size=6, unique_by=lambda descriptor: descriptor.id))
    own = PeerDescriptor(first.id, first.addresses, first.modalities, first.slices)
    return GossipMessage((own, *others), draw(st.integers(0, 1 + len(others))), draw(st.booleans()), draw(EDGES))


def over_the_wire(facts):
    [frames] = pack(Header("run", "a0", 0, "gossip"), Message(meta=facts), raw.CODEC)
    return unpack(frames)[0].meta


@settings(deadline=None)
@given(gossip_messages())
def test_what_is_written_is_read(message):
    assert read(over_the_wire(write(message))) == message


VALUES = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(), st.booleans(),
    st.lists(st.one_of(st.text(max_size=4), st.integers(-2, 300), st.booleans(), st.floats()), max_size=20),
)  # fmt: skip


@settings(deadline=None)
@given(
    gossip_messages(),
    st.dictionaries(st.sampled_from(sorted(write(GossipMessage((PeerDescriptor("a0"),))))), VALUES, min_size=1),
)
def test_any_other_facts_are_refused_or_make_a_message_within_the_limits(message, spoilt):
    try:
        found = read({**write(message), **spoilt})
    except MalformedFrame:
        return
    assert read(write(found)) == found
    assert (
        len(found.descriptors) <= MAX_DESCRIPTORS
        and found.descriptors[0].age == 0
        and 0 <= found.drawn <= len(found.descriptors)
    )
    assert all(
        len(descriptor.slices) <= MAX_SLICES and 0 <= descriptor.age < OLDEST for descriptor in found.descriptors
    )


TWO = PeerDescriptor("a0", ("tcp://h:1",), ("x",), frozenset({"s", "t"})), PeerDescriptor("a1")
GOOD = write(GossipMessage(TWO, edges={"s": Edge(True, 3)}))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"more": 1},
        {"ids": ["a0"]},
        {"ids": ["a0", "a0"]},
        {"ids": ["a0", "a 1"]},
        {"ids": ["a0", ""]},
        {"ids": ["a0", "a" * (messages.MAX_NAME + 1)]},
        {"addresses": ["tcp://h:1,tcp://h:2,tcp://h:3", ""]},
        {"addresses": ["tcp://h:1,", ""]},
        {"slices": ["t", "s"]},
        {"slices": ["s", "s"]},
        {"slices": [f"{i:04}" for i in range(MAX_TABLE + 1)]},
        {"slices": ["s", "t" * (messages.MAX_LABEL + 1)]},
        {"held": ["4", "0"]},
        {"held": ["-1", "0"]},
        {"held": ["0x1", "0"]},
        {"held": ["03", "0"]},
        {"held": ["f" * 100, "0"]},
        {"ages": [1, 0]},
        {"ages": [0, OLDEST]},
        {"ages": [0, True]},
        {"ages": [0, 1.0]},
        {"drawn": 3},
        {"drawn": True},
        {"asks": 1},
        {"wants": "2"},
        {"degrees": []},
        {"degrees": [messages.MAX_DEGREE + 1]},
    ],
)
def test_refused(spoilt):
    assert read(GOOD)
    with pytest.raises(MalformedFrame):
        read({**GOOD, **spoilt})


def test_the_longest_message_fits_in_a_header():
    table = sorted(f"{i:04}" + "s" * (messages.MAX_LABEL - 4) for i in range(MAX_TABLE))
    address = "t" * messages.MAX_NAME
    full = tuple(
        PeerDescriptor(
            f"{i:02}" + "i" * (messages.MAX_NAME - 2), (address,) * messages.MAX_ADDRESSES, ("m" * messages.MAX_NAME,),
            frozenset(table[16 * i : 16 * i + MAX_SLICES]), 0 if i == 0 else OLDEST - 1,
        )
        for i in range(MAX_DESCRIPTORS)
    )  # fmt: skip
    message = GossipMessage(
        full, MAX_DESCRIPTORS, True, {name: Edge(True, messages.MAX_DEGREE) for name in table[:MAX_SLICES]}
    )
    assert read(over_the_wire(write(message))) == message


def test_cards_that_would_overfill_the_table_are_left_out():
    large = [PeerDescriptor(f"a{i}", slices=frozenset(f"{i}-{k}" for k in range(MAX_SLICES))) for i in range(6)]
    few = PeerDescriptor("few")
    assert messages.fitting([*large, few]) == [*large[: MAX_TABLE // MAX_SLICES], few]
    assert len(messages.fitting([PeerDescriptor(f"a{i}") for i in range(2 * MAX_DESCRIPTORS)])) == MAX_DESCRIPTORS


def test_another_layout_is_another_slice():
    key = SliceKey("trunk.audio", "audio")
    assert messages.label(key, "01") != messages.label(key, "02")

"""Faults as options, and the fates that are drawn from them."""

import re
from collections import Counter

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from pydantic import TypeAdapter

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.wire.faults.base import (
    Envelope,
    Fault,
    ProcessFault,
    draw_faults,
    refuse_unknown_agents,
    scheduled_rounds,
)
from parse_p2p.wire.faults.corrupt import corrupted

BASE = {"graph": {"generator": "ring"}, "agents": [{"id": f"a{i}", "modalities": ["audio"]} for i in range(4)]}
NAMES = [f"a{i}" for i in range(10)]
ENVELOPE = Envelope("a0", "a1", 5, "data", 0)


def fault(kind, **options):
    return TypeAdapter(Fault).validate_python({"kind": kind} | options)


def kinds(faults, envelope, seed=0):
    return [applied.kind for applied, _ in draw_faults(faults, seed, envelope)]


# as options


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    path = tmp_path_factory.mktemp("faults") / "four.yaml"

    def load(faults):
        path.write_text(yaml.safe_dump(BASE | {"faults": faults}), encoding="utf-8")
        return run_file.load(path)

    return load


BAD = [
    ({"kind": "drp"}, "faults.0: there is no fault 'drp': did you mean 'drop'? Known: corrupt, delay"),
    ({"seconds": 1}, "faults.0: the key 'kind' is missing"),
    ({"kind": "drop", "probabilty": 0.1}, "faults.0.probabilty: there is no such key here; did you mean"),
    ({"kind": "drop", "seconds": 1}, "faults.0.seconds: there is no such key here"),
    ({"kind": "drop", "probability": 1.5}, "faults.0.probability: input should be less than or equal to 1, not 1.5"),
    ({"kind": "drop", "rounds": [5, 5]}, "faults.0: rounds [5, 5] are none"),
    ({"kind": "delay"}, "faults.0.seconds: this key is missing"),
    ({"kind": "partition", "groups": [["a0"]]}, "faults.0.rounds: this key is missing"),
    ({"kind": "partition", "groups": [["a0"]], "rounds": [0, 3]}, "faults.0: a partition begins in round 1"),
    ({"kind": "partition", "groups": [["a0"], ["a0"]], "rounds": [1, 3]}, "faults.0: a0 can be in one group only"),
    ({"kind": "kill"}, "faults.0: give exactly one of agents and share"),
    ({"kind": "stop", "share": 0.5, "agents": ["a0"], "seconds": 1}, "faults.0: give exactly one of agents and share"),
]


@pytest.mark.parametrize(("entry", "said"), BAD, ids=str)
def test_a_fault_that_cannot_be_is_refused_by_key(load, entry, said):
    with pytest.raises(ConfigError) as caught:
        load([entry])
    assert said in str(caught.value) and "four.yaml:" in str(caught.value) and "\n" not in str(caught.value)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 30), st.floats(-1, 2), st.just(float("inf")), st.text(max_size=3),
    st.lists(st.sampled_from(NAMES), max_size=3), st.lists(st.lists(st.sampled_from(NAMES), max_size=2), max_size=3),
    st.lists(st.integers(-1, 9), max_size=3),
)  # fmt: skip
KEYS = ["probability", "senders", "receivers", "rounds", "plane", "seconds", "bytes", "groups", "agents", "share",
        "round", "restart", "x"]  # fmt: skip
KINDS = ["drop", "delay", "duplicate", "reorder", "corrupt", "partition", "kill", "stop"]
ENTRIES = st.one_of(
    VALUES,
    st.builds(
        lambda kind, rest: {"kind": kind} | rest,
        st.one_of(st.sampled_from(KINDS), VALUES),
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    ),
)


@settings(max_examples=300, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=3))
def test_whatever_stands_there_is_read_and_written_alike_or_refused_in_a_sentence(load, entries):
    try:
        run = load(entries)
    except ConfigError as error:
        assert "faults" in str(error) and "\n" not in str(error)
        return
    assert load(yaml.safe_load(run_file.dump(run))["faults"]) == run
    for i, entry in enumerate(run.faults):
        assert getattr(entry, "seconds", 0) < float("inf")
        for round in (0, 5):
            draw_faults([entry], 0, Envelope("a0", "a1", round, "data", i))


def test_the_page_on_faults_shows_every_kind(load):
    page = (ROOT / "docs" / "how-to" / "faults.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(faults:\n.*?)```", page, re.DOTALL)
    shown = load(yaml.safe_load(example)["faults"]).faults
    assert {entry.kind for entry in shown} >= {"drop", "delay", "corrupt", "partition", "kill", "stop"}


def test_agents_must_agree_on_the_faults(load):
    assert load([]).digest() != load([{"kind": "drop"}]).digest() != load([{"kind": "drop", "plane": "both"}]).digest()


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (fault("drop", senders=["a0", "b9"]), "senders"),
        (fault("corrupt", receivers=["b9"]), "receivers"),
        (fault("partition", groups=[["a0"], ["a1", "b9"]], rounds=[1, 2]), "groups"),
        (fault("stop", agents=["b9"], seconds=1), "agents"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_agents_that_are_not_there_are_refused_by_name(entry, key):
    with pytest.raises(ConfigError, match=rf"^faults\.1\.{key}: there is no agent 'b9': .*Known: a0, a1"):
        refuse_unknown_agents([fault("drop"), entry], NAMES)
    refuse_unknown_agents([entry], [*NAMES, "b9"])


# the fates of messages


def test_a_fault_applies_by_agents_round_and_plane():
    assert kinds([fault("drop")], ENVELOPE) == ["drop"]
    for changed, applies in (
        ({"senders": ["a0"]}, True), ({"senders": ["a1"]}, False), ({"receivers": ["a1", "a2"]}, True),
        ({"receivers": ["a0"]}, False), ({"rounds": [5, 6]}, True), ({"rounds": [4, 5]}, False),
        ({"rounds": [6, 9]}, False), ({"plane": "control"}, False), ({"plane": "both"}, True),
    ):  # fmt: skip
        assert bool(kinds([fault("drop", **changed)], ENVELOPE)) == applies, changed
    assert kinds([fault("drop", plane="control")], Envelope("a0", "a1", 5, "control", 0)) == ["drop"]
    assert kinds([fault("drop")], Envelope("a0", "a1", 5, "control", 0)) == []


def test_a_partition_cuts_both_planes_between_groups_and_nothing_within_them():
    cut = [fault("partition", groups=[["a0", "a1"], ["a2"]], rounds=[5, 7])]
    for sender, receiver, passes in (
        ("a0", "a1", True), ("a0", "a2", False), ("a2", "a1", False), ("a3", "a4", True), ("a3", "a0", False),
    ):  # fmt: skip
        for plane in ("data", "control"):
            for round, inside in ((4, False), (5, True), (6, True), (7, False)):
                assert bool(kinds(cut, Envelope(sender, receiver, round, plane, 0))) == (inside and not passes)


def test_faults_apply_in_the_order_of_the_file():
    assert kinds([fault("duplicate"), fault("corrupt"), fault("drop")], ENVELOPE) == ["duplicate", "corrupt", "drop"]


def test_chances_are_what_they_are_said_to_be_and_those_of_two_faults_independent():
    faults = [fault("drop", probability=0.2), fault("duplicate", probability=0.5)]
    count = 4000
    drawn = Counter(tuple(kinds(faults, Envelope("a0", "a1", i // 40, "data", i % 40))) for i in range(count))
    for hit, share in ((("drop", "duplicate"), 0.1), (("drop",), 0.1), (("duplicate",), 0.4), ((), 0.4)):
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(drawn[hit] / count - share) < 4 * deviation


def test_every_name_of_a_message_enters_its_fate_and_nothing_else_does():
    faults = [fault("drop", probability=0.5)]

    def fates(seed=0, **changed):
        fields = [vars(ENVELOPE) | {"number": n} | changed for n in range(64)]
        return [kinds(faults, Envelope(**f), seed) for f in fields]

    first = fates()
    assert fates() == first
    for changed in ({"sender": "a2"}, {"receiver": "a2"}, {"round": 6}):
        assert fates(**changed) != first, changed
    assert fates(seed=1) != first
    faults.insert(0, fault("drop", rounds=[0, 1]))
    assert fates() != first, "the fault's place"


def test_corruption_changes_a_copy_in_as_many_bytes_as_asked_for_at_most():
    frames = [b"header", memoryview(bytearray(1000)), b""]
    for seed in range(50):
        rng = torch.Generator().manual_seed(seed)
        changed = corrupted(frames, 3, rng)
        assert [len(frame) for frame in changed] == [6, 1000, 0]
        differing = sum(a != b for x, y in zip(frames, changed, strict=True) for a, b in zip(x, y, strict=True))
        assert 0 < differing <= 3
    assert frames == [b"header", bytes(1000), b""]
    assert corrupted([b""], 3, torch.Generator()) == [b""]


# the fates of agents


def test_a_share_of_the_agents_is_struck_each_in_a_round_of_its_own():
    kill = fault("kill", share=0.3)
    agents = [f"a{i}" for i in range(16)]
    victims = scheduled_rounds(kill, 0, 1, agents, 40)
    assert len(victims) == 5 and victims.keys() <= set(agents)
    assert all(1 <= round < 40 for round in victims.values()) and len(set(victims.values())) > 1
    assert victims == scheduled_rounds(kill, 0, 1, agents, 40)
    assert victims != scheduled_rounds(kill, 0, 2, agents, 40) and victims != scheduled_rounds(kill, 1, 1, agents, 40)
    assert len(scheduled_rounds(fault("kill", share=0.01), 0, 0, agents, 40)) == 1


def test_the_log_says_of_a_fault_what_it_does_and_of_one_that_ends_a_process_when_it_starts_again():
    class End(ProcessFault):
        ends = True

    assert fault("kill", agents=["a1"]).facts() == {"restart": None}
    assert fault("kill", agents=["a1"], restart=2).facts() == {"restart": 2.0}
    assert fault("stop", share=0.5, round=3, seconds=4).facts() == {"seconds": 4.0}
    assert End(kind="end", agents=["a1"]).facts() == {}


def test_named_agents_are_struck_in_the_round_that_is_named():
    assert scheduled_rounds(fault("stop", agents=["a3", "a1"], round=6, seconds=1), 0, 0, NAMES, 20) == {
        "a3": 6,
        "a1": 6,
    }

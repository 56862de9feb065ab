"""Which slices an agent offers under a table, and when two agents hold the same."""

from dataclasses import replace

import pytest

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.slices import (
    Component,
    Holder,
    Region,
    SliceKey,
    both,
    everyone,
    having,
    multimodal,
    nobody,
    offers,
    same_type,
    unimodal,
)

LAYOUT = (("weight", (3, 4)), ("bias", (3,)))
AUDIO, MOTION = Component("trunk", "audio"), Component("trunk", "motion")
HEAD = Component("head")


def region(component, start=0, layout=LAYOUT):
    return Region(component, start, start + 15, layout)


def holder(*modalities, components=(AUDIO, HEAD)):
    return Holder("a0", modalities, {c.name: region(c, 15 * i) for i, c in enumerate(components)})


ONE, TWO = holder("audio"), holder("audio", "motion")


def test_a_component_is_named_after_its_part_and_modality():
    assert (AUDIO.name, HEAD.name) == ("trunk.audio", "head")


@pytest.mark.parametrize(
    ("group", "component", "one", "two"),
    [
        (everyone, AUDIO, "all", "all"),
        (nobody, AUDIO, None, None),
        (same_type, AUDIO, "type:audio", "type:audio+motion"),
        (having, AUDIO, "audio", "audio"),
        (having, HEAD, None, None),
        (multimodal, HEAD, None, "multimodal"),
        (unimodal, HEAD, "unimodal", None),
        (both(having, multimodal), AUDIO, None, "audio&multimodal"),
        (both(same_type, multimodal), HEAD, None, "type:audio+motion&multimodal"),
        (both(everyone, nobody), HEAD, None, None),
        (both(multimodal, unimodal), HEAD, None, None),
        (both(both(everyone, having), same_type), AUDIO, "all&audio&type:audio", "all&audio&type:audio+motion"),
    ],
)
def test_groups(group, component, one, two):
    assert (group(ONE, component), group(TWO, component)) == (one, two)


def test_groups_of_different_meaning_never_share_a_name():
    names = [g(TWO, AUDIO) for g in (everyone, same_type, having, multimodal, both(having, multimodal))]
    assert len(set(names)) == len(names)


def test_offers_are_the_shared_components_with_their_regions():
    table = {"trunk": having, "head": multimodal}
    assert offers(table, ONE) == {SliceKey("trunk.audio", "audio"): ONE.regions["trunk.audio"]}
    assert offers(table, TWO) == {
        SliceKey("trunk.audio", "audio"): TWO.regions["trunk.audio"],
        SliceKey("head", "multimodal"): TWO.regions["head"],
    }
    assert offers({"trunk": nobody, "head": nobody}, TWO) == {}


def test_one_row_of_the_table_serves_the_part_in_every_modality():
    agent = holder("audio", "motion", components=(AUDIO, MOTION))
    assert {str(key) for key in offers({"trunk": having}, agent)} == {"trunk.audio@audio", "trunk.motion@motion"}


def test_another_architecture_is_shared_only_among_its_like():
    like, unlike = (holder("audio", components=(replace(AUDIO, architecture=a),)) for a in ("wide", ""))
    assert [str(key) for key in offers({"trunk": everyone}, like)] == ["trunk.audio@all~wide"]
    assert [str(key) for key in offers({"trunk": everyone}, unlike)] == ["trunk.audio@all"]
    assert offers({"trunk": nobody}, like) == {}


def test_a_part_without_a_row_is_refused_in_one_sentence():
    with pytest.raises(ConfigError) as refused:
        offers({"trunk": having, "heads": everyone}, ONE)
    text = str(refused.value)
    assert "'head'" in text and "agent a0" in text and "did you mean 'heads'?" in text and "\n" not in text


def test_a_digest_depends_on_the_layout_alone():
    assert region(AUDIO).digest == region(MOTION, start=60).digest


@pytest.mark.parametrize(
    "layout",
    [
        (("weight", (4, 3)), ("bias", (3,))),
        (("bias", (3,)), ("weight", (3, 4))),
        (("weight", (3, 4)), ("b", (3,))),
        (("weight", (15,)),),
        (("weight", (3, 4)), ("bias", (3, 1))),
        (*LAYOUT, ("none", (0,))),
        (),
    ],
)
def test_another_layout_has_another_digest(layout):
    assert region(AUDIO, layout=layout).digest != region(AUDIO).digest


def test_a_region_counts_elements():
    assert Region(AUDIO, 5, 20, LAYOUT).size == 15


def test_keys_read_and_sort_by_component_then_group():
    keys = [SliceKey("b", "a"), SliceKey("a", "b"), SliceKey("a", "a")]
    assert [str(key) for key in sorted(keys)] == ["a@a", "a@b", "b@a"]

"""Two that do not agree are told on what, where they can know it."""

from parse_p2p.core.run_keys import RunKeys

AGREED = {"graph": {"a": [1, 2]}, "rounds": 3, "seed": None}


def test_the_keys_that_differ_are_named_in_both_directions():
    mine, theirs = RunKeys.of(AGREED), RunKeys.of(AGREED | {"rounds": 4, "seed": 0})
    assert mine.differing(theirs.said) == theirs.differing(mine.said) == ["rounds", "seed"]
    assert mine.differing(mine.said) == [] and len(mine.said) == 4 * len(AGREED)


def test_the_order_of_keys_inside_a_value_says_nothing():
    one, other = ({"graph": {"a": 1, "b": 2}}, {"graph": {"b": 2, "a": 1}})
    assert RunKeys.of(one) == RunKeys.of(other)


def test_of_one_with_other_keys_nothing_is_known():
    mine = RunKeys.of(AGREED)
    for said in ("", mine.said[:-1], mine.said + "00", RunKeys.of(AGREED | {"more": 1}).said):
        assert mine.differing(said) == []

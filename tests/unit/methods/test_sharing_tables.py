"""Who shares which part under every method whose table says only what differs from a default."""

import pytest
import torch
from plans import finished, plan

from parse_p2p.core import plugins
from parse_p2p.core.slices import (
    Component,
    Holder,
    Region,
    both,
    everyone,
    having,
    multimodal,
    nobody,
    offers,
    row_of,
    same_shape,
    same_type,
)
from parse_p2p.methods import dsgd_full

PARTS = (
    "trunk", "rows.redundant", "rows.unique", "rows.synergistic", "rows.joint", "projector.self",
    "projector.infiltration", "head.redundant", "head.unique", "head.synergistic", "head.unimodal", "head.joint",
    "head.fusion", "gate", "discriminator",
)  # fmt: skip
ENCODER = PARTS[:7]
OWN = dict.fromkeys(("gate", "discriminator"), nobody)
EXPECTED = {
    "fedavg": dict.fromkeys(ENCODER, having) | OWN | {
        "head.redundant": everyone, "head.unique": having, "head.synergistic": same_type, "head.unimodal": having,
        "head.joint": same_type, "head.fusion": everyone,
    },
    "dsgd-task": dict.fromkeys(PARTS, same_type) | OWN,
    "dsgd-full": dict.fromkeys(PARTS, same_shape) | OWN,
    "dsgd-modality": dict.fromkeys(PARTS, nobody) | dict.fromkeys(ENCODER, having),
    "dsgd-hybrid": dict.fromkeys(PARTS, same_type) | dict.fromkeys(ENCODER, having) | OWN,
    "local": dict.fromkeys(PARTS, nobody),
    "fedafd": dict.fromkeys(PARTS, nobody),
    "creamfl": dict.fromkeys(PARTS, nobody),
}  # fmt: skip
EXPECTED |= dict.fromkeys(("fedprox", "fedopt", "scaffold"), EXPECTED["fedavg"])
OF_OPTIONS = {
    ("fedavg", "scope", "model"): EXPECTED["dsgd-task"],
    ("fedprox", "scope", "model"): EXPECTED["dsgd-task"],
    ("fedopt", "scope", "model"): EXPECTED["dsgd-task"],
    ("scaffold", "scope", "model"): EXPECTED["dsgd-task"],
    ("dsgd-task", "reading", "head"): {part: same_shape if part.startswith("head") else nobody for part in PARTS},
}


@pytest.mark.parametrize("method", EXPECTED)
def test_every_part_has_its_group(method):
    found = plugins.load(plugins.METHODS, method)
    table = found.sharing(found.options(), 0, 1)
    assert {part: row_of(table, part) for part in PARTS} == EXPECTED[method]


@pytest.mark.parametrize(("method", "option", "value"), OF_OPTIONS)
def test_an_option_chooses_another_table(method, option, value):
    found = plugins.load(plugins.METHODS, method)
    table = found.sharing(found.options(**{option: value}), 0, 1)
    assert {part: row_of(table, part) for part in PARTS} == OF_OPTIONS[method, option, value]


def crossing(mix, **changes):
    """The components that each pair of types exchanges in a round on a complete graph."""
    w, ledgers = plan(mix, graph="complete", **changes), []
    finished(w, rounds=1, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    kinds = {me: "+".join(spec.modalities) for me, spec in w.specs.items()}
    return {
        (kinds[a], kinds[b]): {name.split("@")[0] for name in sent}
        for a, links in ledgers[0].items() for b, sent in links.items() if a < b
    }  # fmt: skip


def test_in_full_all_that_fits_crosses():
    found = crossing({"audio": 2, "audio+motion": 2, "motion": 2}, method="dsgd-full")
    assert found["audio", "motion"] == {"head.redundant"}
    assert found["audio", "audio+motion"] == found["audio", "audio"] > {"trunk.audio", "head.unique.audio"}
    assert found["audio+motion", "audio+motion"] > {"head.synergistic", "rows.synergistic.audio"}


def test_in_full_it_is_parse_on_its_network_where_those_with_several_modalities_are_of_one_type():
    mix = {"audio": 2, "audio+motion": 2, "motion": 2}
    full, ours = (finished(plan(mix, method=method))[0] for method in ("dsgd-full", "parse"))
    assert all(torch.equal(full[me].learner.buffer.values, ours[me].learner.buffer.values) for me in ours)
    types = {"q00": 1, "q00+q01": 1, "q10+q11": 1}
    full, ours = (finished(plan(types, method=method, dataset="digits4"))[0] for method in ("dsgd-full", "parse"))
    assert any(not torch.equal(full[me].learner.buffer.values, ours[me].learner.buffer.values) for me in ours)


def test_shared_heads_alone_are_the_other_reading_of_a_task():
    found = crossing({"audio": 2, "audio+motion": 2, "motion": 2}, method="dsgd-task", options={"reading": "head"})
    assert all(name.startswith("head.") for names in found.values() for name in names)
    assert found["audio", "motion"] == {"head.redundant"}
    assert found["audio", "audio+motion"] == {"head.redundant", "head.unique.audio"}


def test_parts_of_one_name_are_shared_exactly_where_their_shapes_are_equal():
    """A head of two modalities fits that of two others, and not that of three."""

    def holder(modalities, width):
        component = Component("head.joint")
        region = Region(component, 0, 4 * width, (("weight", (4, width)),))
        return offers(dsgd_full.TABLE, Holder("a", modalities, {component.name: region}))

    [one], [other], [wider] = (holder(("x", "y"), 2), holder(("z", "w"), 2), holder(("x", "y", "z"), 3))
    assert one == other != wider


def test_the_table_of_parse():
    found = plugins.load(plugins.METHODS, "parse")
    table = found.sharing(found.options(), 0, 1)
    assert {part: row_of(table, part) for part in PARTS} == {
        "trunk": having, "rows.redundant": having, "rows.unique": having, "rows.synergistic": both(having, multimodal),
        "rows.joint": None, "head.joint": None,
        "projector.self": None, "projector.infiltration": None, "head.redundant": everyone, "head.unique": having,
        "head.synergistic": both(same_type, multimodal), "head.unimodal": None, "head.fusion": None, "gate": None,
        "discriminator": None,
    }  # fmt: skip


def test_the_narrowest_row_counts():
    table = {"*": nobody, "head": having, "head.unique": everyone}
    found = [row_of(table, part) for part in ("head.unique", "head.joint", "head", "heads", "trunk")]
    assert found == [everyone, having, having, nobody, nobody]
    assert row_of({"head.unique": everyone}, "head") is row_of({"head": having}, "trunk") is None

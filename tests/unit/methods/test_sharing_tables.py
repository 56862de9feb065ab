"""Who shares which part under every method whose table says only what differs from a default."""

import pytest

from parse_p2p.core import plugins
from parse_p2p.core.slices import both, everyone, having, multimodal, nobody, row_of, same_type

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
    "dsgd-modality": dict.fromkeys(PARTS, nobody) | dict.fromkeys(ENCODER, having),
    "dsgd-hybrid": dict.fromkeys(PARTS, same_type) | dict.fromkeys(ENCODER, having) | OWN,
    "local": dict.fromkeys(PARTS, nobody),
    "fedafd": dict.fromkeys(PARTS, nobody),
    "creamfl": dict.fromkeys(PARTS, nobody),
}  # fmt: skip
EXPECTED["fedprox"] = EXPECTED["fedavg"]


@pytest.mark.parametrize("method", EXPECTED)
def test_every_part_has_its_group(method):
    found = plugins.load(plugins.METHODS, method)
    table = found.sharing(found.options(), 0, 1)
    assert {part: row_of(table, part) for part in PARTS} == EXPECTED[method]


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

"""Every run file that is shipped can be run as it is, and shows something worth looking at."""

import networkx as nx
import pytest
from paths import ROOT
from plans import dealt

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan

FILES = sorted((ROOT / "topologies").glob("*.yaml"))


def test_there_are_some():
    assert "ring.yaml" in [file.name for file in FILES]


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def file(request):
    return request.param


@pytest.fixture(scope="module")
def plan(file):
    return RunPlan(run_file.load(file))


def test_it_is_short_and_begins_with_what_it_is(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 120
    assert lines[0] == "# yaml-language-server: $schema=run-file.schema.json"
    assert lines[1].startswith("# ")


def test_it_is_named_after_its_file_and_has_eight_to_sixteen_agents(file, plan):
    assert plan.run.name == file.stem
    assert 8 <= len(plan.specs) <= 16


def test_its_agents_differ_in_what_they_sense(plan):
    assert len({spec.modalities for spec in plan.specs.values()}) >= 2


def test_the_overlay_of_every_group_is_connected_over_time(plan):
    met: dict[str, nx.Graph] = {}
    for round in range(plan.run.rounds if plan.run.varying else 1):
        for name, overlay in plan.overlays(round).groups().items():
            met[name] = nx.compose(met.get(name, nx.Graph()), overlay.graph)
    assert met or plan.coordinator
    assert all(map(nx.is_connected, met.values()))


def test_every_agent_has_somebody_to_talk_to_and_something_to_learn_from(plan):
    assert all(plan.neighbours(me) for me in plan.specs)
    assert all(len(rows) for rows in dealt(plan).shares.values())

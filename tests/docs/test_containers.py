"""What docker-compose.yml starts is what its run files name; scripts/compose-test runs it on a real engine."""

import pytest
import yaml
from paths import ROOT

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
AGENTS = {name: entry for name, entry in SERVICES.items() if "--id" in entry.get("entrypoint", ())}
FILES = sorted((ROOT / "topologies").glob("compose-*.yaml"))


def variables(path):
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request):
    return request.param


def test_every_agent_of_a_file_has_a_service_of_its_name_which_others_dial(file):
    run = run_file.load(file)
    for entry in run.agents:
        assert AGENTS[entry.id]["hostname"] == entry.id and AGENTS[entry.id]["command"] == [entry.id]
        assert entry.address.startswith(f"tcp://{entry.id}:") and run.bind == "0.0.0.0"


def test_the_agents_are_those_of_the_file_without_containers(file):
    mine, bare = (RunPlan(run_file.load(path)) for path in (file, file.with_name(file.name.removeprefix("compose-"))))
    specs = [[(spec.id, spec.role, spec.modalities) for spec in plan.specs.values()] for plan in (mine, bare)]
    assert specs[0] == specs[1] and mine.topology.graph.edges == bare.topology.graph.edges


def test_an_agent_is_given_no_key_but_its_own():
    for me, entry in AGENTS.items():
        assert [volume for volume in entry["volumes"] if "key" in volume] == [f"keys-{me}:/keys:ro"]
        assert "secrets" not in entry and "user" not in entry
    assert {volume for volume in SERVICES["keys"]["volumes"] if ":/for/" in volume} == {
        f"keys-{me}:/for/{me}" for me in AGENTS
    }


def test_what_is_published_is_for_this_host_alone():
    assert [port for entry in SERVICES.values() for port in entry.get("ports", ()) if "127.0.0.1:" not in port] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docker").glob("*.env")), ids=lambda path: path.stem)
def test_a_setting_names_a_file_and_a_profile_that_there_are(path):
    values = variables(path)
    assert (ROOT / "topologies" / f"{values['TOPOLOGY']}.yaml").exists()
    profiles = {profile for entry in SERVICES.values() for profile in entry.get("profiles", ())}
    assert values["COMPOSE_PROFILES"] in profiles | {"gossip"}  # which needs no service more

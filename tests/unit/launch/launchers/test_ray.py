"""What can be said of a run on a cluster without one."""

import pytest
from plans import plan

from parse_p2p.config.run_file import RunFile
from parse_p2p.core.errors import ConfigError
from parse_p2p.discovery.mqtt import MqttOptions
from parse_p2p.discovery.shared_folder import SharedFolderOptions
from parse_p2p.launch.launchers.ray import adapt, check, share
from parse_p2p.launch.ray_actor import Host

MQTT = {"kind": "mqtt", "broker": "mqtt://broker.lan"}
PLACED = [{"id": f"a{i}", "modalities": ["audio"], "address": f"tcp://10.0.0.{i + 1}:7000"} for i in range(2)]


def test_agents_without_addresses_meet_in_the_runs_folder():
    assert adapt(plan().run).discovery == SharedFolderOptions(kind="shared-folder", bind="0.0.0.0")
    assert adapt(plan().run).digest() == plan().run.digest()


def test_agents_listen_everywhere_unless_the_file_says_where():
    for given, bound in (({}, "0.0.0.0"), ({"bind": "127.0.0.1"}, "127.0.0.1")):
        discovery = adapt(plan(discovery=MQTT | given).run).discovery
        assert isinstance(discovery, MqttOptions) and discovery.bind == bound
        assert adapt(plan(discovery={"kind": "shared-folder"} | given).run).discovery.model_dump()["bind"] == bound


def test_each_agent_asks_for_the_runs_share_or_its_own():
    given = plan(resources={"cpus": 2, "gpus": 0.25, "agents": {"a1": {"gpus": 1}}})
    assert (share(given, "a0").cpus, share(given, "a0").gpus) == (2, 0.25)
    assert (share(given, "a1").cpus, share(given, "a1").gpus) == (1, 1)
    assert given.run.digest() == plan().run.digest()
    with pytest.raises(ValueError, match=r"whole ones: 1.5 cannot be had"):
        RunFile.model_validate(given.run.model_dump() | {"resources": {"gpus": 1.5}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agents": PLACED}, "agent a0 has an address"),
        (
            {"discovery": {"kind": "gossip", "contacts": {"a0": "tcp://h:1"}}},
            "the contacts of discovery have addresses",
        ),
        ({"resources": {"agents": {"a9": {}}}}, "there is no agent 'a9' in this run: Known"),
    ],
)
def test_what_cannot_be_placed_anywhere_is_refused(changes, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        check(plan(**changes), tmp_path)


def test_a_node_that_does_not_see_the_runs_folder_says_so(tmp_path):
    job = {"run": plan().run.model_dump(mode="json"), "me": "a0", "folder": str(tmp_path / "run")}
    with pytest.raises(FileNotFoundError, match=r"does not see .*run: name a folder that all nodes share with --out"):
        Host(job, str(tmp_path)).run(0)
    assert list(tmp_path.iterdir()) == []

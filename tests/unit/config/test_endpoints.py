"""Where agents listen, where others are looked for, and when links are encrypted."""

import pytest
from plans import plan

from parse_p2p.config.endpoints import Endpoints
from parse_p2p.config.sections import AgentEntry
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.transports import curve

MQTT = {"kind": "mqtt", "broker": "mqtt://broker.lan"}
NAMED = {"kind": "gossip", "contacts": ["a0"]}
PLACED = {"kind": "gossip", "contacts": {"a0": "tcp://127.0.0.1:7000"}}
HERE = ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001")


def endpoints(address=None, **changes):
    """Of three agents, of which the first has this address in the file, or these keys."""
    keys = {"a0": address if isinstance(address, dict) else {"address": address}}
    run = plan(**changes).run
    return Endpoints(
        run, {me: AgentEntry(id=me, modalities=["audio"], **keys.get(me, {})) for me in map(PeerId, ("a0", "a1", "a2"))}
    )


def test_with_a_broker_only_ones_own_address_is_known(tmp_path):
    here = endpoints(discovery=MQTT).addresses("a0", {"a1", "a2"}, tmp_path)
    assert here == {"a0": ("tcp://127.0.0.1:*",) * 2, "a1": None, "a2": None}
    here = endpoints(discovery=MQTT | {"bind": "::1"}).addresses("a0", {"a1"}, tmp_path)
    assert here["a0"] == ("tcp://[::1]:*",) * 2


def test_an_address_in_the_file_is_bound_and_not_dialled(tmp_path):
    named = endpoints("tcp://127.0.0.1:7000", discovery=MQTT)
    assert named.addresses("a0", (), tmp_path) == {"a0": ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001")}
    assert named.addresses("a1", {"a0"}, tmp_path)["a0"] is None


@pytest.mark.parametrize(
    ("address", "changes"),
    [
        ("tcp://127.0.0.1:7000", {"discovery": NAMED}),
        (None, {"discovery": PLACED}),
        (None, {"discovery": NAMED, "base_port": 7000}),
    ],
)
def test_a_contact_listens_where_all_know_it(address, changes, tmp_path):
    here = endpoints(address, **changes)
    assert here.contacts == {"a0": HERE}
    assert here.addresses("a0", {"a1"}, tmp_path) == {"a0": HERE, "a1": None}
    assert here.addresses("a1", {"a0"}, tmp_path)["a0"] is None, "its finder tells where it is"


def test_a_contact_may_be_reached_under_another_name_than_the_address_it_binds(tmp_path):
    far = {"kind": "gossip", "contacts": {"a0": "tcp://host3:7000"}, "bind": "0.0.0.0"}
    assert endpoints(discovery=far).addresses("a0", (), tmp_path) == {
        "a0": ("tcp://0.0.0.0:7000", "tcp://0.0.0.0:7001")
    }
    assert endpoints("tcp://[::]:7000", discovery=far).listens("a0", tmp_path)[0] == "tcp://[::]:7000"
    assert endpoints(discovery=far).listens("a1", tmp_path) == ("tcp://0.0.0.0:*",) * 2


@pytest.mark.parametrize(
    ("address", "contacts", "said"),
    [
        (None, ["a0"], "does not say where a0 can be reached"),
        ("tcp://0.0.0.0:7000", ["a0"], "does not say where a0 can be reached"),
        ("tcp://[::]:7000", ["a0"], "name it as {a0: tcp://host:port}"),
        (None, {"a7": "tcp://host:7000"}, "no agent 'a7' in this run: Known: a0, a1, a2"),
    ],
)
def test_a_contact_that_nobody_could_reach_is_refused(address, contacts, said):
    with pytest.raises(ConfigError, match=r"^discovery\.contacts: ") as refused:
        endpoints(address, discovery={"kind": "gossip", "contacts": contacts})
    assert said in str(refused.value)


def test_with_gossip_everybodys_key_is_needed(tmp_path):
    curve.make(tmp_path, ["a0", "a1", "a2"])
    ring = {"keyring": str(tmp_path), "security": "curve"}
    assert endpoints(discovery=MQTT, **ring).curve_keys("a1", {"a0"}).peers.keys() == {"a0"}
    assert endpoints(discovery=PLACED, **ring).curve_keys("a1", {"a0"}).peers.keys() == {"a0", "a2"}


def test_without_a_broker_all_addresses_are_known(tmp_path):
    assert None not in endpoints().addresses("a0", {"a1", "a2"}, tmp_path).values()


@pytest.mark.parametrize(
    ("discovery", "encrypted"),
    [
        (None, False),
        (MQTT, False),
        (MQTT | {"bind": "::1", "advertise": "localhost"}, False),
        (MQTT | {"bind": "0.0.0.0"}, True),
        (MQTT | {"bind": "10.0.0.3"}, True),
        (MQTT | {"advertise": "host3"}, True),
        (PLACED, False),
        (PLACED | {"bind": "0.0.0.0"}, True),
        (PLACED | {"contacts": {"a0": "tcp://host3:7000"}}, True),
    ],
)
def test_who_can_be_reached_from_other_hosts_encrypts(discovery, encrypted):
    changes = {} if discovery is None else {"discovery": discovery}
    assert endpoints(**changes).encrypted == encrypted
    assert not endpoints(**changes, security="none").encrypted
    assert endpoints(**changes, security="curve").encrypted
    assert endpoints("tcp://10.0.0.3:7000", **changes).encrypted
    assert endpoints("tcp://127.0.0.1:7000", **changes).encrypted == encrypted


def test_it_listens_where_bind_says_and_at_the_port_of_its_address(tmp_path):
    own = {"address": "tcp://a0.lan:7000", "bind": "10.0.0.3"}
    for entry, run, listens in (  # run: keys of all agents
        (own, {}, "tcp://10.0.0.3:7000"),
        (own, {"bind": "0.0.0.0"}, "tcp://10.0.0.3:7000"),
        ("tcp://a0.lan:7000", {"bind": "::"}, "tcp://[::]:7000"),
        ("tcp://[fd00::1]:7000", {}, "tcp://[fd00::1]:7000"),
        ("tcp://[fd00::1]:7000", {"bind": "[fd00::2]"}, "tcp://[fd00::2]:7000"),
    ):
        here = endpoints(entry, **run)
        assert here.listens("a0", tmp_path)[0] == listens
        assert here.address("a0", tmp_path)[0] == (entry if isinstance(entry, str) else entry["address"])
    assert endpoints("tcp://localhost:7000").listens("a0", tmp_path)[0] in ("tcp://127.0.0.1:7000", "tcp://[::1]:7000")


def test_what_listens_beyond_loopback_encrypts():
    assert endpoints({"address": "tcp://127.0.0.1:7000", "bind": "0.0.0.0"}).encrypted
    assert endpoints("tcp://127.0.0.1:7000", bind="0.0.0.0").encrypted
    assert not endpoints("tcp://127.0.0.1:7000", bind="::1").encrypted
    assert not endpoints(bind="0.0.0.0", base_port=7000).encrypted, "it is for agents that have an address"


def test_a_dial_only_agent_is_found_nowhere_and_finds_the_others(tmp_path):
    dial_only = endpoints({"dial_only": True})
    assert dial_only.addresses("a0", {"a1"}, tmp_path)["a0"] is None
    assert dial_only.addresses("a1", {"a0"}, tmp_path)["a0"] is None
    assert endpoints({"dial_only": True}, base_port=7000).address("a1", tmp_path)[0] == "tcp://127.0.0.1:7002"
    for contacts in (["a0"], {"a0": "tcp://10.0.0.3:7000"}):
        with pytest.raises(ConfigError, match="does not say where a0 can be reached"):
            endpoints({"dial_only": True}, discovery={"kind": "gossip", "contacts": contacts})


def test_an_agent_advertises_its_address_unless_it_is_given_another_host():
    assert endpoints("tcp://a0.lan:7000", discovery=MQTT).advertised("a0") == "a0.lan"
    assert endpoints("tcp://[fd00::1]:7000", discovery=MQTT).advertised("a0") == "fd00::1"
    assert endpoints("tcp://a0.lan:7000", discovery=MQTT | {"advertise": "host3"}).advertised("a0") == "host3"
    assert endpoints("tcp://0.0.0.0:7000", discovery=MQTT).advertised("a0") is None


def test_a_port_may_be_chosen_only_where_it_can_be_found(tmp_path):
    assert endpoints("tcp://10.0.0.3:*", discovery=MQTT).listens("a0", tmp_path) == ("tcp://10.0.0.3:*",) * 2
    with pytest.raises(ConfigError, match=r"^agents: a0: nobody would know the port that is chosen"):
        endpoints("tcp://10.0.0.3:*")
    with pytest.raises(ConfigError, match="does not say where a0 can be reached"):
        endpoints("tcp://10.0.0.3:*", discovery=NAMED)


def test_hosts_may_know_an_agent_by_different_addresses_and_still_talk():
    def digest(**keys):
        agents = [{"id": f"a{i}", "modalities": ["audio"]} | (keys if i == 0 else {}) for i in range(3)]
        return plan(agents=agents).run.digest()

    same = digest()
    for keys in ({"address": "tcp://a0.lan:7000"}, {"address": "tcp://a0.lan:7000", "bind": "::"}, {"dial_only": True}):
        assert digest(**keys) == same
    assert plan(bind="::").run.digest() == plan().run.digest()


@pytest.mark.parametrize(
    ("entry", "changes", "said"),
    [
        ({"address": "tcp://0.0.0.0:7000"}, {}, "nobody can dial tcp://0.0.0.0:7000"),
        ({"bind": "10.0.0.4"}, {}, "a0 binds 10.0.0.4 and has no address"),
        ({}, {"base_port": 7000, "discovery": MQTT | {"bind": "0.0.0.0"}}, "base_port is for agents of one host"),
    ],
)
def test_where_nobody_could_come_is_refused(entry, changes, said):
    with pytest.raises(ConfigError, match=said):
        endpoints(entry, **changes)


def test_a_bind_of_ones_own_goes_before_that_of_the_discovery(tmp_path):
    assert endpoints({"bind": "10.0.0.4"}, discovery=MQTT).listens("a0", tmp_path) == ("tcp://10.0.0.4:*",) * 2
    assert endpoints(discovery=MQTT, bind="::1").listens("a1", tmp_path) == ("tcp://[::1]:*",) * 2
    assert endpoints({"bind": "10.0.0.4"}, discovery=MQTT).encrypted


@pytest.mark.parametrize("text", ["tcp://a..b:7000", f"tcp://{'a' * 64}:7000", "tcp://[:::::]:7000", "tcp://.a:7000"])
def test_what_no_resolver_takes_is_no_address(text):
    with pytest.raises(ValueError, match="write tcp://host:port"):
        AgentEntry(id="a0", modalities=["audio"], address=text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_of_all_hosts_is_never_advertised(host):
    with pytest.raises(ValueError, match="nobody can dial that"):
        endpoints(discovery=MQTT | {"advertise": host})

"""Where agents listen, where others are looked for, and when links are encrypted."""

import pytest
from worlds import world

from parse_p2p.config import AgentEntry
from parse_p2p.errors import ConfigError
from parse_p2p.places import Places
from parse_p2p.transports import curve

MQTT = {"kind": "mqtt", "broker": "mqtt://broker.lan"}
NAMED = {"kind": "gossip", "contacts": ["a0"]}
PLACED = {"kind": "gossip", "contacts": {"a0": "tcp://127.0.0.1:7000"}}
HERE = ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001")


def places(address=None, **changes):
    """Of three agents, of which the first has this address in the file, or these keys."""
    keys = {"a0": address if isinstance(address, dict) else {"address": address}}
    run = world(**changes).run
    return Places(run, {me: AgentEntry(id=me, modalities=["audio"], **keys.get(me, {})) for me in ("a0", "a1", "a2")})


def test_with_a_broker_only_ones_own_place_is_known(tmp_path):
    here = places(discovery=MQTT).addresses("a0", {"a1", "a2"}, tmp_path)
    assert here == {"a0": ("tcp://127.0.0.1:*",) * 2, "a1": None, "a2": None}
    here = places(discovery=MQTT | {"bind": "::1"}).addresses("a0", {"a1"}, tmp_path)
    assert here["a0"] == ("tcp://[::1]:*",) * 2


def test_an_address_in_the_file_is_bound_and_not_dialled(tmp_path):
    named = places("tcp://127.0.0.1:7000", discovery=MQTT)
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
    here = places(address, **changes)
    assert here.contacts == {"a0": HERE}
    assert here.addresses("a0", {"a1"}, tmp_path) == {"a0": HERE, "a1": None}
    assert here.addresses("a1", {"a0"}, tmp_path)["a0"] is None, "its finder tells where it is"


def test_a_contact_may_be_reached_under_another_name_than_the_address_it_binds(tmp_path):
    far = {"kind": "gossip", "contacts": {"a0": "tcp://host3:7000"}, "bind": "0.0.0.0"}
    assert places(discovery=far).addresses("a0", (), tmp_path) == {"a0": ("tcp://0.0.0.0:7000", "tcp://0.0.0.0:7001")}
    assert places("tcp://[::]:7000", discovery=far).listens("a0", tmp_path)[0] == "tcp://[::]:7000"
    assert places(discovery=far).listens("a1", tmp_path) == ("tcp://0.0.0.0:*",) * 2


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
        places(address, discovery={"kind": "gossip", "contacts": contacts})
    assert said in str(refused.value)


def test_with_gossip_everybodys_key_is_needed(tmp_path):
    curve.make(tmp_path, ["a0", "a1", "a2"])
    ring = {"keyring": str(tmp_path), "security": "curve"}
    assert places(discovery=MQTT, **ring).guard("a1", {"a0"}).peers.keys() == {"a0"}
    assert places(discovery=PLACED, **ring).guard("a1", {"a0"}).peers.keys() == {"a0", "a2"}


def test_without_a_broker_all_places_are_known(tmp_path):
    assert None not in places().addresses("a0", {"a1", "a2"}, tmp_path).values()


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
def test_who_can_be_reached_from_elsewhere_encrypts(discovery, encrypted):
    changes = {} if discovery is None else {"discovery": discovery}
    assert places(**changes).encrypted == encrypted
    assert not places(**changes, security="none").encrypted
    assert places(**changes, security="curve").encrypted
    assert places("tcp://10.0.0.3:7000", **changes).encrypted
    assert places("tcp://127.0.0.1:7000", **changes).encrypted == encrypted

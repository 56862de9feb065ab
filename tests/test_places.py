"""Where agents listen, where others are looked for, and when links are encrypted."""

import pytest
from worlds import world

from parse_p2p.places import Places

MQTT = {"kind": "mqtt", "broker": "mqtt://broker.lan"}


def places(address=None, **changes):
    """Of three agents, of which the first has this address in the file."""
    return Places(world(**changes).run, {"a0": address, "a1": None, "a2": None})


def test_with_a_broker_only_ones_own_place_is_known(tmp_path):
    here = places(discovery=MQTT).addresses("a0", {"a1", "a2"}, tmp_path)
    assert here == {"a0": ("tcp://127.0.0.1:*",) * 2, "a1": None, "a2": None}
    here = places(discovery=MQTT | {"bind": "::1"}).addresses("a0", {"a1"}, tmp_path)
    assert here["a0"] == ("tcp://[::1]:*",) * 2


def test_an_address_in_the_file_is_bound_and_not_dialled(tmp_path):
    named = places("tcp://127.0.0.1:7000", discovery=MQTT)
    assert named.addresses("a0", (), tmp_path) == {"a0": ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001")}
    assert named.addresses("a1", {"a0"}, tmp_path)["a0"] is None


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
    ],
)
def test_who_can_be_reached_from_elsewhere_encrypts(discovery, encrypted):
    changes = {} if discovery is None else {"discovery": discovery}
    assert places(**changes).encrypted == encrypted
    assert not places(**changes, security="none").encrypted
    assert places(**changes, security="curve").encrypted
    assert places("tcp://10.0.0.3:7000", **changes).encrypted
    assert places("tcp://127.0.0.1:7000", **changes).encrypted == encrypted

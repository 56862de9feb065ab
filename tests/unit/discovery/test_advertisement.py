"""What comes from a broker is a presence, or is refused and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.discovery.advertisement import LONGEST, Advertisement, Profile
from parse_p2p.discovery.mqtt_broker import PASSWORD, Broker

PROFILE = Profile(run="0123", id="a0", modalities=("audio",), slices={"trunk.audio@audio": "ab12"})
HERE = ("tcp://127.0.0.1:4001", "tcp://127.0.0.1:4002")
ADVERTISEMENT = PROFILE.at(HERE, None, 7)
SAID = json.loads(ADVERTISEMENT.model_dump_json())

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(said):
    return Advertisement.read(json.dumps(said).encode())


def test_it_reads_what_it_wrote():
    assert Advertisement.read(ADVERTISEMENT.model_dump_json().encode()) == ADVERTISEMENT
    assert ADVERTISEMENT.address == HERE and not ADVERTISEMENT.gone


@given(st.binary(max_size=200))
def test_bytes_are_refused(text):
    with pytest.raises(MalformedFrame):
        Advertisement.read(text)


@given(st.sampled_from([*SAID, "gone", "another"]), json_values)
def test_any_value_in_any_place_is_taken_whole_or_refused(key, value):
    said = SAID | {key: value}
    try:
        assert json.loads(read(said).model_dump_json()) == {"gone": False} | said
    except MalformedFrame as error:
        assert "\n" not in str(error) and len(str(error)) < 100


@pytest.mark.parametrize("key", sorted(SAID.keys() - {"gone"}))
def test_nothing_may_be_left_out(key):
    with pytest.raises(MalformedFrame):
        read({name: value for name, value in SAID.items() if name != key})


@pytest.mark.parametrize(
    "address",
    ["", "4001", "tcp://h", "tcp://h:0", "tcp://h:65536", "tcp://h:4001\n", "tcp://h:*", "tcp://*:4001", "ipc:///tmp/a",
     "inproc://a", "tcp://x;h:4001", "tcp://h h:1", "tcp://h:4001/", "tcp://:1", f"tcp://{'h' * 300}:1", "tcp://h:٤"],
)  # fmt: skip
@pytest.mark.parametrize("plane", ["data", "control"])
def test_what_is_no_address_is_refused(plane, address):
    with pytest.raises(MalformedFrame):
        read(SAID | {plane: address})


@pytest.mark.parametrize("address", ["tcp://10.0.0.7:1", "tcp://host-3.lan:65535", "tcp://[fe80::1]:4001"])
def test_what_is_an_address_is_taken(address):
    assert read(SAID | {"data": address, "control": address}).address == (address, address)


def test_a_presence_too_long_is_refused_unread():
    with pytest.raises(MalformedFrame, match=f"over {LONGEST} bytes"):
        Advertisement.read(b"[" * (LONGEST + 1))
    with pytest.raises(MalformedFrame):
        Advertisement.read(b"[" * LONGEST)


@pytest.mark.parametrize(
    ("bound", "advertised", "expected"),
    [
        ("tcp://127.0.0.1:9", None, "tcp://127.0.0.1:9"),
        ("tcp://127.0.0.1:9", "host3", "tcp://host3:9"),
        ("tcp://0.0.0.0:9", "10.0.0.3", "tcp://10.0.0.3:9"),
        ("tcp://[::]:9", "fe80::1", "tcp://[fe80::1]:9"),
    ],
)
def test_the_host_that_others_reach_is_advertised(bound, advertised, expected):
    assert PROFILE.at((bound, bound), advertised, 0).address == (expected, expected)


@pytest.mark.parametrize("bound", ["tcp://0.0.0.0:9", "tcp://[::]:9"])
def test_all_addresses_are_none_to_tell(bound):
    with pytest.raises(ConfigError, match=r"set discovery\.advertise"):
        PROFILE.at((bound, bound), None, 0)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://h", ("h", 1883, None, False)),
        ("mqtt://h:7/", ("h", 7, None, False)),
        ("mqtts://me@h", ("h", 8883, "me", True)),
        ("mqtt://[::1]:7", ("::1", 7, None, False)),
    ],
)
def test_a_brokers_url(url, parts):
    broker = Broker.parse(url)
    assert (broker.host, broker.port, broker.user, broker.tls) == parts


@pytest.mark.parametrize("url", ["", "h", "h:1883", "http://h", "mqtt://", "mqtt://h:99999", "mqtt://[h", "mqtt://h/x"])
def test_what_is_no_broker_is_refused(url):
    with pytest.raises(ConfigError, match="this is no broker: write mqtt://host:1883"):
        Broker.parse(url)


@pytest.mark.parametrize("url", ["mqtt://me:secret@h", "mqtt://me:secret@h:99999", "mqtt://me:secret@[h"])
def test_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match=f"set {PASSWORD} instead") as refused:
        Broker.parse(url)
    assert "secret" not in str(refused.value)

"""Finders on a real folder, with real sockets; agents in processes come in e2e/test_shared_folder.py."""

import asyncio
import os
import socket

import pytest
from discoveries import Finding, site

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.event_log import EventLog, Tail
from parse_p2p.core.peer_info import Clocks
from parse_p2p.discovery.advertisement import LONGEST, Advertisement, Profile
from parse_p2p.discovery.shared_folder import COMPLAINTS, SharedFolderDiscovery, _contents, towards_others
from parse_p2p.transports.base import Plane
from parse_p2p.transports.zmq import ZmqTransport

GUARD = 60  # seconds after which a test has failed
ANYWHERE = ("tcp://127.0.0.1:*",) * 2
NOWHERE = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
PROFILE = Profile(run="00c0ffee", id="a", modalities=("audio",), slices={"head@all": "00"})


def run(scenario):
    async def guarded():
        async with asyncio.timeout(GUARD):
            await scenario

    asyncio.run(guarded())


class Agent(Finding):
    """An agent's ends: sockets on free ports, the finder, and the log."""

    def __init__(self, me, folder, peers="ab", host=None, bind=ANYWHERE, logs=None):
        neighbours = set(peers) - {me}
        self.transport = ZmqTransport(me, {me: bind} | dict.fromkeys(neighbours), drain=0.5)
        path = (logs or folder.parent) / f"{me}.jsonl"
        self.log, self.tail = EventLog(me, path), Tail(path)
        profile = PROFILE.model_copy(update={"id": me})
        known = {"clocks": Clocks(heartbeat=0.2), "host": host, "profile": lambda: profile}
        self.discovery = SharedFolderDiscovery(site(me, neighbours, self.transport, self.log, **known), folder)


def said(folder, me, address, **changes):
    """What an agent left behind."""
    advertisement = PROFILE.model_copy(update={"id": me} | changes).at(address, None, 5)
    folder.mkdir(exist_ok=True)
    (folder / f"{me}.json").write_text(advertisement.model_dump_json())


def test_those_who_know_no_address_find_each_other_and_leave_nothing(tmp_path):
    folder = tmp_path / "made" / "when needed"

    async def scenario():
        async with Agent("a", folder).there(7) as a:
            early = asyncio.create_task(a.transport.send("b", [b"early"], Plane.DATA))
            async with Agent("b", folder).there() as b:
                assert await b.heard() == ("a", [b"early"])
                await early
                await b.transport.send("a", [b"back"], Plane.DATA)
                assert await a.heard() == ("b", [b"back"])
                advertisement = Advertisement.read((folder / "a.json").read_bytes())
                assert (advertisement.address, advertisement.incarnation) == (a.transport.endpoints, 7)

    run(scenario())
    assert list(folder.glob("*.json")) == []


async def reached(one, other, text):
    """What the other hears, said until it does: what is on its way to where it listened before is lost."""
    hearing = asyncio.create_task(other.heard())
    while not hearing.done():
        await one.transport.send(other.transport._me, [text], Plane.DATA)
        await asyncio.wait({hearing}, timeout=0.5)
    return hearing.result()


def test_one_that_comes_back_on_other_ports_is_found_again(tmp_path):
    """Though each of its lives but the last dies without taking its file away."""

    async def scenario():
        addresses = set()
        async with Agent("a", tmp_path / "f").there() as a:
            for life in range(3):
                async with Agent("b", tmp_path / "f").there(life) as b:
                    addresses.add(b.transport.endpoints)
                    assert await reached(a, b, b"%d" % life) == ("a", [b"%d" % life])
                    left = b.transport.endpoints
                said(tmp_path / "f", "b", left)
        assert len(addresses) == 3

    run(scenario())


def test_a_file_of_an_earlier_life_does_no_harm(tmp_path):
    said(tmp_path / "f", "a", NOWHERE)
    said(tmp_path / "f", "b", NOWHERE)

    async def scenario():
        async with Agent("a", tmp_path / "f").there() as a:
            await asyncio.sleep(0.3)  # it knocks where nobody is
            async with Agent("b", tmp_path / "f").there():
                await a.transport.send("b", [b"here"], Plane.DATA)

    run(scenario())


def test_an_agent_leaves_the_file_of_a_later_life_of_its_own(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path / "f").there(1):
            said(tmp_path / "f", "a", NOWHERE)
            async with Agent("b", tmp_path / "f").there():
                pass
        assert Advertisement.read((tmp_path / "f" / "a.json").read_bytes()).address == NOWHERE

    said(tmp_path / "f", "b", NOWHERE)  # nobody is missing
    run(scenario())


BROKEN = {
    "no notice": (b"{}", "a presence is of a wrong form"),
    "too long": (b" " * (LONGEST + 9), "a presence is over"),
    "of another agent": (PROFILE.at(NOWHERE, None, 1).model_dump_json().encode(), "the file of b speaks of another"),
    "of another run": (
        PROFILE.model_copy(update={"id": "b", "run": "other"}).at(NOWHERE, None, 1).model_dump_json().encode(),
        "the file of b is of another run",
    ),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_of_no_use_is_reported_once_and_passed_over(text, why, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "b.json").write_bytes(text)

    async def scenario():
        async with Agent("a", folder).there() as a:
            while not (logged := list(a.tail.read())):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert [*logged, *a.tail.read()] == logged and len(logged) == 1
            assert logged[0].name == "refused" and why in logged[0].why and "b.json" in logged[0].why
            async with Agent("b", folder).there() as b:
                await a.transport.send("b", [b"all the same"], Plane.DATA)
                assert await b.heard() == ("a", [b"all the same"])

    run(scenario())


def test_files_that_are_rewritten_without_end_do_not_fill_the_log(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()

    async def scenario():
        async with Agent("a", folder).there() as a:
            for i in range(3 * COMPLAINTS):
                a.discovery._take("b", b"%d" % i)
            assert len(list(a.tail.read())) == COMPLAINTS

    run(scenario())


def test_what_is_no_file_keeps_nobody_waiting(tmp_path):
    folder = tmp_path / "f"
    (folder / "b.json").mkdir(parents=True)
    os.mkfifo(folder / "c.json")

    async def scenario():
        async with Agent("a", folder, "abcd").there() as a, Agent("d", folder, "ad").there() as d:
            await a.transport.send("d", [b"on"], Plane.DATA)
            assert await d.heard() == ("a", [b"on"])

    run(scenario())


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "f").write_text("a file")

    async def scenario():
        with pytest.raises(ConfigError) as error:
            async with Agent("a", tmp_path / "f" / "in", logs=tmp_path).there():
                pass
        assert str(error.value) == (
            f"a cannot write where it listens into {tmp_path / 'f' / 'in'}: not a directory; name a folder that all "
            "hosts share as discovery.folder"
        )

    run(scenario())


def test_one_that_listens_everywhere_tells_its_hosts_address_or_the_one_it_is_given(tmp_path):
    outward = towards_others("tcp://0.0.0.0:1")
    if outward is None:
        pytest.skip("this host has no way to others")
    with socket.socket() as probe:
        probe.bind((outward, 0))  # it is mine

    async def logged(host):
        async with Agent("a", tmp_path / "f", host=host, bind=("tcp://0.0.0.0:*",) * 2).there():
            return Advertisement.read((tmp_path / "f" / "a.json").read_bytes()).data.rpartition(":")[0]

    async def scenario():
        assert await logged(None) == f"tcp://{outward}"
        assert await logged("host3") == "tcp://host3"
        assert towards_others("tcp://127.0.0.1:1") is None

    run(scenario())


def test_looking_leaves_no_file_open(tmp_path):
    (tmp_path / "b.json").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    assert all(_contents(tmp_path / "b.json") is None for _ in range(20))
    assert len(os.listdir("/proc/self/fd")) == before

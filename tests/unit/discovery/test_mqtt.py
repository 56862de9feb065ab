"""Finders and sockets on a real broker; agents in processes come in e2e/test_broker.py."""

import asyncio
import json

import brokers
import ports
import pytest
from discoveries import Finding, site

from parse_p2p.core import events
from parse_p2p.core.errors import JoinTimeout
from parse_p2p.core.event_log import EventLog, Tail
from parse_p2p.core.peer_info import Clocks
from parse_p2p.discovery.advertisement import LONGEST, Advertisement, Profile
from parse_p2p.discovery.mqtt import BACKLOG, COMPLAINTS, MqttDiscovery, MqttOptions
from parse_p2p.transports.base import Plane
from parse_p2p.transports.zmq import ZmqTransport

RUN = "00c0ffee"
GUARD = 60  # seconds after which a test has failed
ANYWHERE = ("tcp://127.0.0.1:*",) * 2
NOWHERE = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
AGENTS = f"parse-p2p/{RUN}/agents"


@pytest.fixture
def broker(tmp_path):
    with brokers.running(tmp_path, ports.free()) as running:
        yield running


def run(scenario):
    async def guarded():
        async with asyncio.timeout(GUARD):
            return await scenario

    return asyncio.run(guarded())


class Agent(Finding):
    """An agent's ends: sockets on free ports, the finder, and the log."""

    def __init__(self, me, broker, folder, peers="abc", clocks=None, host=None):
        neighbours = set(peers) - {me}
        self.transport = ZmqTransport(me, {me: ANYWHERE} | dict.fromkeys(neighbours), drain=0.5)
        self.log = EventLog(me, folder / f"{me}.jsonl")
        profile = Profile(run=RUN, id=me, modalities=("audio",), slices={"head@all": "00"})
        options = MqttOptions(kind="mqtt", broker=broker.url)
        known = {"clocks": clocks or Clocks(), "profile": lambda: profile, "host": host}
        self.discovery = MqttDiscovery(site(me, neighbours, self.transport, self.log, **known), options)
        self.log.listener = self.discovery.tell
        self._tail = Tail(folder / f"{me}.jsonl")
        self._tail.skip()
        self._events = []

    async def until(self, event, count=1):
        """Wait until so many of these events were logged; all of them."""
        while True:
            self._events += self._tail.read()
            if len(found := [e for e in self._events if e.name == event]) >= count:
                return found
            await asyncio.sleep(0.02)


def presence(of, address, **changes):
    said = {"run": RUN, "id": of, "modalities": ["audio"], "slices": {}, "incarnation": 5}
    return json.dumps(said | {"data": address[0], "control": address[1]} | changes)


def test_those_who_know_no_address_find_each_other(broker, tmp_path):
    async def scenario():
        async with Agent("a", broker, tmp_path).there() as a:
            early = asyncio.create_task(a.transport.send("b", [b"early"], Plane.DATA))
            await a.transport.send("b", [b"dropped"], Plane.CONTROL)
            async with Agent("b", broker, tmp_path).there() as b:
                assert await b.heard() == ("a", [b"early"])
                await early
                await b.transport.send("a", [b"back"], Plane.DATA)
                assert await a.heard() == ("b", [b"back"])

    run(scenario())


def test_one_that_comes_back_on_another_port_is_found_again(broker, tmp_path):
    async def scenario():
        addresses = set()
        async with Agent("a", broker, tmp_path).there() as a:
            for life in range(3):
                async with Agent("b", broker, tmp_path).there(life) as b:
                    addresses.add(b.transport.endpoints)
                    await a.transport.send("b", [b"%d" % life], Plane.DATA)
                    assert await b.heard() == ("a", [b"%d" % life])
        assert len(addresses) == 3

    run(scenario())


def test_a_presence_is_there_for_all_to_read_until_its_agent_leaves(broker, tmp_path):
    async def scenario(ear):
        async with Agent("a", broker, tmp_path).there(incarnation=7) as a:
            topic, payload, _ = await asyncio.to_thread(ear.next)
            read = Advertisement.read(payload)
            assert (topic, read.id, read.incarnation) == (f"{AGENTS}/a", "a", 7)
            assert read.address == a.transport.endpoints and read.modalities == ("audio",)
            assert read.slices == {"head@all": "00"}
            with brokers.Ear(broker.port, f"{AGENTS}/a") as later:
                assert await asyncio.to_thread(later.next) == (topic, payload, True)
        assert (await asyncio.to_thread(ear.next))[:2] == (f"{AGENTS}/a", b"")

    with brokers.Ear(broker.port, f"{AGENTS}/+") as ear:
        run(scenario(ear))


def test_others_read_the_host_that_an_agent_is_reached_by(broker, tmp_path):
    async def scenario(ear):
        async with Agent("a", broker, tmp_path, host="site-a.example").there() as a:
            read = Advertisement.read((await asyncio.to_thread(ear.next))[1])
            ports = [endpoint.rpartition(":")[2] for endpoint in a.transport.endpoints]
            assert read.address == tuple(f"tcp://site-a.example:{port}" for port in ports)

    with brokers.Ear(broker.port, f"{AGENTS}/a") as ear:
        run(scenario(ear))


def test_the_will_of_an_earlier_life_does_not_hide_a_later_one(broker, tmp_path):
    """Whose link is half open when it is back: the broker may notice that late."""
    topic = f"{AGENTS}/a"
    old = presence("a", NOWHERE)

    async def scenario(ear):
        later = Agent("a", broker, tmp_path)
        name = later.discovery._client(Advertisement.read(old.encode())).identifier
        with brokers.Ear(broker.port, name=name, will=(topic, presence("a", NOWHERE, gone=True))) as earlier:
            earlier.say(topic, old)
            async with later.there(incarnation=6):
                earlier.die()
                said = []
                while (5, True) not in said or said[-1] != (6, False):
                    read = Advertisement.read((await asyncio.to_thread(ear.next))[1])
                    said.append((read.incarnation, read.gone))
        assert said[0] == (5, False)

    with brokers.Ear(broker.port, topic) as ear:
        run(scenario(ear))


LIES = {
    "garbage": b"\x80\xff{",
    "no object": b"[[[[",
    "too long": b"x" * (LONGEST + 1),
    "far too long": b"x" * (4 << 20),
    "another run": presence("b", NOWHERE, run="00000000"),
    "another's": presence("c", NOWHERE),
    "no address": presence("b", ("tcp://;:1", "tcp://127.0.0.1:2")),
    "a number": b"7",
    "a word too much": presence("b", NOWHERE, more=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_counted_and_the_truth_that_follows_is_taken(lie, broker, tmp_path):
    async def scenario():
        with brokers.Ear(broker.port) as liar:
            liar.say(f"{AGENTS}/b", LIES[lie])
            liar.say(f"{AGENTS}/nobody", presence("nobody", NOWHERE))
            async with Agent("a", broker, tmp_path).there() as a:
                [event] = await a.until("refused")
                assert event.peer == "the broker" and len(event.why) < 100
                async with Agent("b", broker, tmp_path).there() as b:
                    await a.transport.send("b", [b"found"], Plane.DATA)
                    assert await b.heard() == ("a", [b"found"])
                assert sum(a.discovery.refusals.values()) == 1
                assert (a.discovery.refusals["wrong run"] == 1) == (lie == "another run")

    run(scenario())


@pytest.mark.parametrize("lie", [NOWHERE, ("tcp://[::::]:1",) * 2, ("tcp://no.such.host.invalid:1",) * 2])
def test_a_lie_about_an_address_is_undone_by_the_next_presence(lie, broker, tmp_path):
    async def scenario():
        async with Agent("a", broker, tmp_path).there() as a, Agent("b", broker, tmp_path).there() as b:
            await a.transport.send("b", [b"one"], Plane.DATA)
            assert await b.heard() == ("a", [b"one"])
            with brokers.Ear(broker.port) as liar:
                liar.say(f"{AGENTS}/b", presence("b", lie))
                while a.transport._addresses["b"] != lie:
                    await asyncio.sleep(0.02)
                liar.say(f"{AGENTS}/b", presence("b", b.transport.endpoints))

            async def repeat():  # the first may be lost: the sockets of b have not moved
                while True:
                    await a.transport.send("b", [b"two"], Plane.DATA)
                    await asyncio.sleep(0.05)

            repeating = asyncio.create_task(repeat())
            assert await b.heard() == ("a", [b"two"])
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)


def test_lies_without_end_fill_no_log(broker, tmp_path):
    async def scenario():
        async with Agent("a", broker, tmp_path).there() as a:
            with brokers.Ear(broker.port) as liar:
                for _ in range(5 * COMPLAINTS):
                    liar.say(f"{AGENTS}/b", b"x")
            while sum(a.discovery.refusals.values()) < 5 * COMPLAINTS:
                await asyncio.sleep(0.02)
            assert len(await a.until("refused", COMPLAINTS)) == COMPLAINTS

    run(scenario())


def test_a_broker_that_dies_is_missed_by_nobody_and_hears_all_again_when_it_is_back(broker, tmp_path):
    async def scenario():
        async with Agent("a", broker, tmp_path).there() as a, Agent("b", broker, tmp_path).there() as b:
            await a.transport.send("b", [b"before"], Plane.DATA)
            assert await b.heard() == ("a", [b"before"])
            broker.kill()
            await a.until("broker-lost")
            await a.transport.send("b", [b"without"], Plane.DATA)
            assert await b.heard() == ("a", [b"without"])
            await asyncio.to_thread(broker.start)
            assert [found.again for found in await a.until("broker-found", 2)] == [False, True]
            await b.until("broker-found", 2)
            async with Agent("c", broker, tmp_path).there() as c:
                await a.transport.send("c", [b"after"], Plane.DATA)
                assert await c.heard() == ("a", [b"after"])
                await c.transport.send("b", [b"after"], Plane.DATA)
                assert await b.heard() == ("c", [b"after"])

    run(scenario())


def test_a_broker_that_is_not_there_is_named_in_one_sentence(tmp_path):
    gone = brokers.Broker(tmp_path, ports.free())

    async def scenario():
        async with Agent("a", gone, tmp_path, clocks=Clocks(join=0.5)).there():
            raise AssertionError("it was taken in by nobody")

    with pytest.raises(JoinTimeout) as refused:
        run(scenario())
    said = str(refused.value)
    assert said.startswith(f"the broker {gone.url} did not take in a within 0.5 s") and "\n" not in said


def test_a_broker_that_hangs_holds_up_nobody_who_leaves(broker, tmp_path):
    async def scenario():
        async with Agent("a", broker, tmp_path, clocks=Clocks(drain=0.2)).there() as a:
            broker.stop()
            a.log.write(events.End(round=1))

    run(scenario())


def test_a_presence_that_somebody_else_took_away_is_there_again(broker, tmp_path):
    async def scenario(ear):
        async with Agent("a", broker, tmp_path).there() as a:
            said = (await asyncio.to_thread(ear.next))[1]
            for _ in range(3):
                await asyncio.to_thread(ear.say, f"{AGENTS}/a", b"")
                assert [(await asyncio.to_thread(ear.next))[1] for _ in range(2)] == [b"", said]
            async with Agent("b", broker, tmp_path).there() as b:
                await a.transport.send("b", [b"still there"], Plane.DATA)
                assert await b.heard() == ("a", [b"still there"])

    with brokers.Ear(broker.port, f"{AGENTS}/a") as ear:
        run(scenario(ear))


def test_telemetry_is_small_and_says_what_the_log_says(broker, tmp_path):
    async def scenario(ear):
        async with Agent("a", broker, tmp_path).there() as a:
            a.log.write(events.Start(modalities=["audio"]))
            sent = {"b": {f"slice {i}": i for i in range(1000)}}
            facts = {"loss": 0.5, "accuracy": 0.75, "seconds": 1.5, "alive": 2, "wire_out": 10, "wire_in": 20}
            a.log.write(events.Round(round=3, **facts, late=0, sent=sent))
            a.log.write(events.Lost(round=3, peer="b"))
            a.log.write(events.End(round=4))
        return [await asyncio.to_thread(ear.next) for _ in range(3)]

    with brokers.Ear(broker.port, f"parse-p2p/{RUN}/telemetry/+") as ear:
        heard = run(scenario(ear))
    assert {topic for topic, _, _ in heard} == {f"parse-p2p/{RUN}/telemetry/a"}
    assert all(len(payload) < 500 for _, payload, _ in heard)
    round, lost, end = (json.loads(payload) for _, payload, _ in heard)
    assert round.pop("time") > 0
    assert round == {"event": "round", "agent": "a", "round": 3, "loss": 0.5, "accuracy": 0.75, "seconds": 1.5,
                     "alive": 2, "wire_out": 10, "wire_in": 20}  # fmt: skip
    assert (lost["event"], lost["peer"], end["event"], end["round"]) == ("lost", "b", "end", 4)


def test_reports_that_nobody_takes_do_not_pile_up(tmp_path):
    async def scenario():
        a = Agent("a", brokers.Broker(tmp_path, ports.free()), tmp_path)
        for i in range(10 * BACKLOG):
            a.log.write(events.End(round=i))
        a.log.close()
        return [json.loads(a.discovery._reports.get_nowait())["round"] for _ in range(a.discovery._reports.qsize())]

    assert run(scenario()) == list(range(9 * BACKLOG, 10 * BACKLOG))

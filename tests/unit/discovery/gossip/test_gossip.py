"""Agents over real sockets that know one contact; what hostile ones among them can do, and what they cannot."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import torch
import zmq
import zmq.asyncio
from discoveries import site

from parse_p2p.core.errors import ConfigError, JoinTimeout, MalformedFrame
from parse_p2p.core.event_log import EventLog, Tail
from parse_p2p.core.events import Refused
from parse_p2p.core.message import Message
from parse_p2p.core.peer_info import Card, Clocks
from parse_p2p.discovery.gossip.gossip import GossipDiscovery
from parse_p2p.discovery.gossip.messages import Edge, GossipMessage, PeerDescriptor, write
from parse_p2p.discovery.static import Static
from parse_p2p.runtime.messenger import GOSSIP, Limits, Messenger
from parse_p2p.transports.base import Plane
from parse_p2p.transports.zmq import ZmqTransport
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.framing import MAX_HEADER, Header, pack

RUN = "run"
GUARD = 60  # seconds no test waits for
ANYWHERE = ("tcp://127.0.0.1:*",) * 2
NOWHERE = ("tcp://127.0.0.1:9", "tcp://127.0.0.1:10")
CLOCKS = Clocks(heartbeat=0.2)
DESCRIPTORS = {name: PeerDescriptor(name, (), ("audio",), frozenset({"head@all#00"})) for name in "abcdefgh"}


def run(scenario):
    async def guarded():
        async with asyncio.timeout(GUARD):
            await scenario

    asyncio.run(guarded())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


class Agent:
    """One that gossips, reads its messages and learns nothing."""

    def __init__(self, me, folder, neighbours, descriptors=DESCRIPTORS, clocks=CLOCKS, **known):
        self.me, self.neighbours, self.descriptors, self.clocks = me, set(neighbours), descriptors, clocks
        self.transport = ZmqTransport(me, {me: ANYWHERE} | dict.fromkeys(neighbours), drain=0.2)
        self.log = EventLog(me, folder / f"{me}.jsonl")
        self.tail = Tail(folder / f"{me}.jsonl")
        self.known, self.came = known, []

    @asynccontextmanager
    async def there(self, contact=None):
        """``contact`` is where ``a`` listens, None for ``a`` itself."""
        async with AsyncExitStack() as stack:
            stack.callback(self.log.close)
            await stack.enter_async_context(self.transport)
            self.addresses = self.transport.endpoints
            known = {"contacts": {"a": contact or self.addresses}, "clocks": self.clocks} | self.known
            mine = site(self.me, self.neighbours, self.transport, self.log, **known)
            self.discovery = GossipDiscovery(mine, self.descriptors)
            await stack.enter_async_context(self.discovery)
            self.messenger = Messenger(self.me, RUN, self.neighbours, self.transport, raw.CODEC, Limits(), self.log,
                                   self.discovery.members)  # fmt: skip
            listening = asyncio.create_task(self.messenger.listen(self.hear, self.discovery.hear, self.deliver))
            stack.callback(listening.cancel)
            await self.discovery.announce(Card(1, 0), self.messenger.gossip)
            yield self
            assert not listening.done(), listening

    async def hear(self, sender, descriptor):
        raise AssertionError("nobody greets here")

    def deliver(self, sender, round, topic, message, newest):
        self.came.append((sender, round))

    async def reach(self, other, round):
        """Send until it comes: what was on its way when the other moved is lost."""
        [frames] = pack(Header(RUN, self.me, round, "slices"), Message({"x": torch.ones(2)}), raw.CODEC)
        while (self.me, round) not in other.came:
            await self.transport.send(other.me, frames, Plane.DATA)
            await asyncio.sleep(0.02)

    def why(self):
        return [event.why for event in self.tail.read() if isinstance(event, Refused)]


class Liar:
    """Says what it likes under the name of a member."""

    def __init__(self, name):
        self.name = name

    @asynccontextmanager
    async def at(self, addresses):
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as self.socket:
            self.socket.set(zmq.ROUTING_ID, self.name.encode())
            self.socket.set(zmq.LINGER, 0)
            self.socket.connect(addresses[Plane.CONTROL])
            yield self

    async def say(self, *frames):
        await self.socket.send_multipart(frames)

    async def gossip(self, *descriptors, **said):
        [frames] = pack(
            Header(RUN, self.name, 0, GOSSIP), Message(meta=write(GossipMessage(descriptors)) | said), raw.CODEC
        )
        await self.say(*frames)


def placed(name, addresses=NOWHERE, **changes):
    return replace(DESCRIPTORS[name], addresses=addresses, **changes)


def test_neighbours_find_each_other_through_a_contact_that_is_none_of_theirs(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "").there() as a, Agent("b", tmp_path, "c").there(a.addresses) as b:
            assert a.transport.endpoints not in b.transport._addresses.values()
            async with Agent("c", tmp_path, "b").there(a.addresses) as c:
                await b.reach(c, 1)
                await c.reach(b, 1)
                while b.discovery._gossiper.wanted or c.discovery._gossiper.wanted:  # until each has spoken for itself
                    await asyncio.sleep(0.02)
            for life in (2, 3):  # each on ports of its own
                async with Agent("c", tmp_path, "b").there(a.addresses) as c:
                    await c.reach(b, life)
                    await b.reach(c, life)

    run(scenario())


def test_a_contact_that_comes_back_knowing_nobody_hears_from_those_who_know_it(tmp_path):
    async def scenario():
        async with AsyncExitStack() as stack:
            async with Agent("a", tmp_path, "b").there() as a:
                b = await stack.enter_async_context(Agent("b", tmp_path, "ac").there(a.addresses))
                c = await stack.enter_async_context(Agent("c", tmp_path, "b").there(a.addresses))
                await b.reach(c, 1)
                await a.reach(b, 1)
            again = Agent("a", tmp_path, "b")
            again.transport._mine = a.addresses
            async with again.there():
                await again.reach(b, 2)
                await b.reach(again, 2)

    run(scenario())


def test_one_whose_contact_is_not_there_says_so_in_one_sentence(tmp_path):
    async def scenario():
        with pytest.raises(JoinTimeout) as refused:
            async with Agent("b", tmp_path, "ac", clocks=Clocks(join=0.3)).there(NOWHERE):
                pass
        assert str(refused.value) == (
            "no contact of b answered within 0.3 s (a at tcp://127.0.0.1:9): start it, or correct discovery.contacts"
        )

    run(scenario())


def test_one_that_comes_back_goes_on_without_a_contact(tmp_path):
    """All the others may have ended while it was away."""

    async def scenario():
        async with Agent("b", tmp_path, "ac", clocks=Clocks(join=0.3), returning=True).there(NOWHERE) as b:
            assert b.came == []

    run(scenario())


def test_others_hear_of_the_host_that_an_agent_is_reached_by(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, AsyncExitStack() as stack:
            b = Agent("b", tmp_path, "a", host="site-b.example")
            await stack.enter_async_context(b.there(a.addresses))
            await until(lambda: a.discovery._gossiper.addresses("b"))
            ports = [endpoint.rpartition(":")[2] for endpoint in b.addresses]
            assert a.discovery._gossiper.addresses("b") == tuple(f"tcp://site-b.example:{port}" for port in ports)

    run(scenario())


def test_what_gossip_cannot_tell_is_refused_at_the_start(tmp_path):
    descriptors = DESCRIPTORS | {"a": placed("a", (), modalities=tuple(f"sensor-{i:03}" for i in range(40)))}

    async def scenario():
        with pytest.raises(ConfigError, match="gossip cannot tell of a"):
            async with Agent("a", tmp_path, "b", descriptors=descriptors).there():
                pass

    run(scenario())


RUBBISH = {
    "garbage": [b"\x80\xff{"],
    "huge": [b"x" * (MAX_HEADER + 1)],
    "frames without end": [b"x"] * 500,
}
LIES = {
    "another's card": ([placed("d")], {}, "shows the card of"),
    "one that is not in the run": ([placed("c"), placed("d", id="stranger")], {}, "no agent of this run"),
    "other slices": ([placed("c", slices=frozenset({"head@all#01"}))], {}, "run gives it"),
    "other senses of another": ([placed("c"), placed("d", modalities=("video",))], {}, "run gives it"),
    "half an address": ([placed("c", NOWHERE[:1])], {}, "endpoints"),
    "a file for an address": ([placed("c", ("ipc:///tmp/x",) * 2)], {}, "endpoints"),
    "any address": ([placed("c"), placed("d", ("tcp://*:7000", "tcp://*:7001"))], {}, "endpoints"),
    "ages from tomorrow": ([placed("c")], {"ages": [-1]}, "whole numbers"),
    "a fact too much": ([placed("c")], {"more": 1}, "eleven facts"),
}


@pytest.mark.parametrize("what", [*RUBBISH, *LIES])
def test_hostile_messages_are_counted_and_the_truth_that_follows_is_taken(what, tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, Liar("c").at(a.addresses) as liar:
            if what in RUBBISH:
                await liar.say(*RUBBISH[what])
            else:
                descriptors, said, _ = LIES[what]
                await liar.gossip(*descriptors, **said)
            await until(lambda: a.messenger.refusals)
            [((peer, kind), count)] = a.messenger.refusals.items()
            assert (peer, count) == ("c", 1) and kind == ("wrong run" if "other s" in what else "malformed")
            [why] = a.why()
            assert len(why) < 160 and (what in RUBBISH or LIES[what][2] in why)
            assert not a.discovery._gossiper.sample.entries
            async with Agent("b", tmp_path, "a").there(a.addresses) as b:
                await a.reach(b, 1)

    run(scenario())


def test_nobody_else_says_where_one_is_that_has_spoken_for_itself(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, Liar("c").at(a.addresses) as liar:
            await liar.gossip(placed("c"), placed("b"), placed("d"))
            await until(lambda: a.transport._addresses["b"] == NOWHERE)  # dialled, and undone by the truth
            async with (
                Agent("b", tmp_path, "a").there(a.addresses) as b,
                Agent("d", tmp_path, "a").there(a.addresses) as d,
            ):
                await a.reach(b, 1)
                await until(lambda: a.discovery._gossiper.addresses("d") == d.addresses)
                for _ in range(20):
                    await liar.gossip(placed("c"), placed("b"), placed("d"), placed("a"))
                await liar.say(b"the end")
                await until(lambda: a.messenger.refusals["c", "malformed"])
                assert a.transport._addresses["b"] == b.addresses
                assert a.discovery._gossiper.addresses("d") == d.addresses
                await a.reach(b, 2)

    run(scenario())


def test_one_that_lies_without_end_is_shut_out_and_no_other(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, Liar("c").at(a.addresses) as liar:
            for _ in range(Limits().refused + 10):
                await liar.gossip(placed("d"))
            await until(lambda: a.messenger.refusals["c", "blocked"] == 10)
            async with Agent("b", tmp_path, "a").there(a.addresses) as b:
                await a.reach(b, 1)

    run(scenario())


def test_an_unknown_peer_is_not_heard_and_models_come_from_neighbours_alone(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, Liar("x").at(a.addresses) as unknown:
            await unknown.gossip(placed("c", id="x"))
            await until(lambda: a.messenger.refusals["an unknown peer", "malformed"] == 1)
            async with Agent("c", tmp_path, "a").there(a.addresses) as c:  # which takes me for a neighbour
                sending = asyncio.create_task(c.reach(a, 1))
                await until(lambda: a.messenger.refusals["c", "malformed"])
                sending.cancel()
                assert a.came == []

    run(scenario())


def test_offers_of_slices_that_i_do_not_hold_are_no_harm(tmp_path):
    async def scenario():
        async with Agent("a", tmp_path, "b").there() as a, Liar("c").at(a.addresses) as liar:
            edges = {f"slice{i}#00": Edge(True, 64) for i in range(60)}
            await liar.gossip(placed("c"), **write(GossipMessage((placed("c"),), edges=edges)))
            async with Agent("b", tmp_path, "a").there(a.addresses) as b:
                await a.reach(b, 1)
                assert not a.messenger.refusals and a.discovery._gossiper.sample.entries["c"].edges == {}

    run(scenario())


def test_who_finds_nobody_by_gossip_refuses_it():
    with pytest.raises(MalformedFrame, match="b gossips, which in this run nobody does"):
        run(Static().hear("b", write(GossipMessage((placed("b"),)))))

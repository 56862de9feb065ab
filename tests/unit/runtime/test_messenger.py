"""What is refused, and who is not listened to for a while because of it."""

import asyncio
from types import SimpleNamespace

import pytest
import torch

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.message import Message
from parse_p2p.core.peer_info import Card
from parse_p2p.runtime.messenger import COMPLAINTS, GOSSIP, OUTBOX, UNKNOWN_PEER, Limits, Messenger
from parse_p2p.transports.base import Plane
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.framing import Header, pack

RUN = "run"
LIMITS = Limits(refused=3, window=10, shut=30)
GUARD = 30  # seconds no test waits for


def framed(sender, round, run=RUN):
    [frames] = pack(Header(run, sender, round, "slices"), Message({"x": torch.ones(2)}), raw.CODEC)
    return frames


class Scene:
    """One courier that listens, and the post it listens at."""

    def __init__(self, tmp_path, limits=LIMITS):
        self.post = MemoryNetwork()
        self.came = []
        self.log = EventLog("a", tmp_path / "events.jsonl")
        self.transport = MemoryTransport("a", self.post)
        self.messenger = Messenger("a", RUN, ["b", "c"], self.transport, raw.CODEC, limits, self.log, ["d"])

    async def hear(self, sender, card):
        self.came.append((sender, card))

    async def overhear(self, sender, facts):
        if "lie" in facts:
            raise MalformedFrame("a lie")
        self.came.append((sender, facts))

    def deliver(self, sender, round, topic, message, newest):
        self.came.append((sender, round))

    async def send(self, sender, *messages, plane=Plane.DATA):
        """Hand messages in, and wait until they have been looked at."""
        before = self.seen()
        for frames in messages:
            self.post.boxes["a"].put_nowait((sender, plane, frames))
        while self.seen() < before + len(messages) and not self.listening.done():
            await asyncio.sleep(0)

    def seen(self):
        return len(self.came) + sum(self.messenger.refusals.values())

    def play(self, scenario):
        async def guarded():
            async with asyncio.timeout(GUARD), self.transport:
                self.listening = asyncio.create_task(self.messenger.listen(self.hear, self.overhear, self.deliver))
                await scenario()
                assert not self.listening.done(), self.listening
                self.listening.cancel()
            self.log.close()

        asyncio.run(guarded())


@pytest.fixture
def clock(monkeypatch):
    """The courier's clock, to be set."""
    now = [0.0]
    monkeypatch.setattr("parse_p2p.runtime.messenger.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_who_sends_too_much_rubbish_is_not_listened_to_for_a_while(tmp_path, clock):
    scene = Scene(tmp_path)

    async def scenario():
        await scene.send("b", [b"rubbish"], [b"rubbish"], framed("b", 1))
        assert scene.came == [("b", 1)], "not yet"
        await scene.send("b", [b"rubbish"], framed("b", 2), framed("b", 3))
        assert scene.came == [("b", 1)] and scene.messenger.refusals["b", "blocked"] == 2
        await scene.send("c", framed("c", 1))
        assert scene.came[1:] == [("c", 1)], "another peer is heard"
        clock[0] = 29.9
        await scene.send("b", framed("b", 4))
        clock[0] = 30.0
        await scene.send("b", framed("b", 5))
        assert scene.came[2:] == [("b", 5)], "heard again"

    scene.play(scenario)
    assert '"event": "blocked"' in (tmp_path / "events.jsonl").read_text()


def test_rubbish_now_and_then_shuts_nobody_out(tmp_path, clock):
    scene = Scene(tmp_path)

    async def scenario():
        for _ in range(10):
            await scene.send("b", [b"rubbish"])
            clock[0] += 5.1
        await scene.send("b", framed("b", 1))
        assert scene.came == [("b", 1)]

    scene.play(scenario)


def test_messages_of_another_run_are_refused_but_are_no_rubbish(tmp_path):
    scene = Scene(tmp_path)

    async def scenario():
        await scene.send("b", *(framed("b", 1, run="other") for _ in range(10)), framed("b", 2))
        assert scene.came == [("b", 2)] and scene.messenger.refusals["b", "wrong run"] == 10

    scene.play(scenario)


def test_a_neighbour_is_not_shut_out_for_what_unknown_peers_send(tmp_path):
    scene = Scene(tmp_path)

    async def scenario():
        for name in ("x", "y", "z", "w"):
            await scene.send(name, framed(name, 1), framed("b", 1))
        await scene.send("b", framed("b", 2))
        assert scene.came == [("b", 2)] and scene.messenger.refusals == {(UNKNOWN_PEER, "malformed"): 8}

    scene.play(scenario)


def test_the_log_names_the_first_and_the_counter_all(tmp_path):
    scene = Scene(tmp_path, Limits(refused=1000))

    async def scenario():
        await scene.send("b", *([[b"rubbish"]] * (COMPLAINTS + 5)))

    scene.play(scenario)
    assert scene.messenger.refusals["b", "malformed"] == COMPLAINTS + 5
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == COMPLAINTS


@pytest.mark.parametrize("limit", [{"refused": 0}, {"window": 0}, {"shut": -1}, {"shuts": 1}])
def test_limits_that_cannot_be_are_refused(limit):
    with pytest.raises(ValueError):
        Limits(**limit)


def gossip(sender, **facts):
    [frames] = pack(Header(RUN, sender, 0, GOSSIP), Message(meta=facts), raw.CODEC)
    return frames


def test_members_may_gossip_and_do_nothing_else(tmp_path):
    scene = Scene(tmp_path)
    [greeting] = pack(Header(RUN, "d", 0, "card"), Message(meta=Card(1, 2).facts()), raw.CODEC)

    async def scenario():
        said = gossip("b", n=1), gossip("d", n=2), gossip("x", n=3), gossip("d", lie=True), greeting
        for sender, frames in zip("bdxdd", said, strict=True):
            await scene.send(sender, frames, plane=Plane.CONTROL)
        await scene.send("d", framed("d", 1))
        await scene.send("b", gossip("b", n=4))
        assert scene.came[:2] == [("b", {"n": 1}), ("d", {"n": 2})]
        assert scene.came[2:] == [("b", 0)], "on the data plane the topic is one like any other"
        assert scene.messenger.refusals == {(UNKNOWN_PEER, "malformed"): 1, ("d", "malformed"): 3}
        await scene.send("d", gossip("d", n=5), plane=Plane.CONTROL)
        assert scene.messenger.refusals["d", "blocked"] == 1

    scene.play(scenario)


def test_a_card_is_heard_on_the_control_plane_alone(tmp_path):
    scene = Scene(tmp_path)
    [frames] = pack(Header(RUN, "b", 0, "card"), Message(meta=Card(1, 2).facts()), raw.CODEC)

    async def scenario():
        await scene.send("b", frames, plane=Plane.CONTROL)
        assert scene.came == [("b", Card(1, 2))]

    scene.play(scenario)


def test_a_peer_that_does_not_read_is_named_and_fills_no_memory(tmp_path):
    scene = Scene(tmp_path)

    async def scenario():
        for round in range(3 * OUTBOX):
            scene.messenger.post("b", round, "slices", Message({"x": torch.ones(2)}))
        assert scene.messenger.refusals["b", "slow"] == 2
        scene.messenger.empty("b")
        await scene.messenger.drain(["b"])

    scene.play(scenario)

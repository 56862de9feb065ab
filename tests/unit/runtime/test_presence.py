"""What an agent says of itself before it goes on, and whose words it does not take in."""

import asyncio
from dataclasses import replace

import plans
import pytest

from parse_p2p.core.errors import MalformedFrame
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.peer_info import Card
from parse_p2p.launch.process import settings
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.agent import Agent
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport


@pytest.fixture
def presence(tmp_path):
    """That of a0, which has audio and has begun among agents that have too."""
    plan = plans.plan({"audio": 2, "audio+motion": 1}, events=[], rounds=20)
    transport, log = MemoryTransport("a0", MemoryNetwork()), EventLog("a0", tmp_path / "events.jsonl")
    given = settings(plan, "a0", RunFolder(tmp_path), 0)
    found = Agent(plan.agent_state("a0"), transport, plan.neighbours("a0"), given, log).presence
    found.begun = True
    yield found
    log.close()


def card(presence, **said):
    """What a neighbour says that knows me."""
    return replace(Card(1, 0, 0, welcome=0, known=presence.card.incarnation), **said)


def test_nobody_goes_on_before_all_have_heard_what_it_announced(presence):
    async def scenario():
        for peer in ("a1", "a2"):
            await presence.hear(peer, card(presence))
        presence.announcer.want(lambda now: ("audio", "motion"))
        announcing = asyncio.create_task(presence.announce(0))
        for heard in ({"a1": 0, "a2": 0}, {"a1": 1, "a2": 0}):
            for peer, count in heard.items():
                await presence.hear(peer, card(presence, heard=count))
            done, _ = await asyncio.wait([announcing], timeout=0.1)
            assert not done, "one of them has not heard yet"
        assert presence.card.changes == ("3:audio+motion",)
        await presence.hear("a2", card(presence, heard=1))
        await announcing

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [{"round": 10**9}, {"joins": 10**9}, {"until": 10**9}, {"welcome": 10**9}], ids=str)
def test_rounds_beyond_the_last_are_nobodys(presence, said):
    with pytest.raises(MalformedFrame, match="beyond the last"):
        asyncio.run(presence.hear("a1", card(presence, **said)))
    assert set(presence.peer_table.unheard()) == {"a1", "a2"}

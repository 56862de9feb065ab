"""Agents that meet nobody for many rounds may run far ahead of each other, and lose no messages by it."""

import threading

import running

from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.mailbox import AHEAD
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

MEET = 2 * AHEAD  # the round in which the two meet again
CARDS = 3


def test_who_is_far_ahead_waits_with_its_messages_until_they_would_be_taken(tmp_path):
    contacts = [[0, "a0", "a1"], [MEET, "a0", "a1"]]
    clocks = {"heartbeat": 0.05, "lost": 30.0}
    agents = {"agents": {"mix": {"audio": 2}}, "data": {"samples": 64}, "clocks": clocks}
    plan = running.plan(varying={"kind": "trace", "contacts": contacts}, rounds=MEET + 1, **agents)
    folder, post = RunFolder(tmp_path), MemoryNetwork()
    ahead, behind = (running.agent(plan, me, MemoryTransport(me, post), folder) for me in ("a0", "a1"))
    hold(behind, until=heard_of(behind, ahead.me))
    assert running.together([ahead, behind]) == [MEET + 1] * 2
    lost = [e for me in plan.specs for kind in ("refused", "missing") for e in running.events(tmp_path, me, kind)]
    assert lost == []
    found = running.states([ahead.agent_state, behind.agent_state])
    assert running.differing(found, running.simulated(plan)) == []


def heard_of(agent, other):
    """Set once an agent has heard several times that the other is in the round in which they meet."""
    heard, there, found = agent.presence.peer_table.heard, threading.Event(), []

    def hear(peer, card, *rest):
        found.extend([card] if peer == other and card.round == MEET else [])
        if len(found) >= CARDS:
            there.set()
        return heard(peer, card, *rest)

    agent.presence.peer_table.heard = hear
    return there


def hold(agent, until):
    """Let an agent train its second round only after an event."""
    train, rounds = agent.agent_state.learner.train, iter(range(MEET + 1))

    def held(*terms):
        if next(rounds) == 1:
            assert until.wait(running.GUARD)
        return train(*terms)

    agent.agent_state.learner.train = held

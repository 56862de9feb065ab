"""Real agents that wait for nobody: the slow hold up no one, and lost messages change no sum."""

import asyncio
import random
import threading

import pytest
import running
import torch
from exchanging import alike, frozen, scattered, total
from plans import under

from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.methods.gossip import gossip
from parse_p2p.transports.base import Plane
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

EXCHANGES = ["asynchronous", "push-sum", "acknowledged"]
ROUNDS = 30


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("backend", [running.over_memory, running.over_ipc])
def test_with_patience_and_all_messages_they_end_as_the_simulator_does(exchange, backend, tmp_path):
    plan = running.plan(options={"exchange": exchange, "patience": float(running.GUARD)})
    assert running.differing(backend(plan, tmp_path), running.simulated(plan)) == []


def agents_of(plan, folder, post):
    return {me: running.agent(plan, me, MemoryTransport(me, post), RunFolder(folder)) for me in plan.specs}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_one_that_is_stopped_holds_up_nobody(exchange, tmp_path):
    """The others end while it has not, many more rounds ahead than a mailbox keeps messages for; then it ends too."""
    gate = threading.Event()

    def gated(local, options):
        if local.me == "a1" and local.round == 2:
            gate.wait()
        return (yield from gossip(local, options))

    plan = under(running.plan(rounds=ROUNDS, options={"exchange": exchange}), script=gated)
    agents = agents_of(plan, tmp_path, MemoryNetwork())

    async def run():
        runs = {me: asyncio.create_task(agent.run(asyncio.Event())) for me, agent in agents.items()}
        slow = runs.pop("a1")
        try:
            async with asyncio.timeout(running.GUARD):
                ended = await asyncio.gather(*runs.values())
                assert not slow.done() and agents["a1"].presence.card.round == 2
                gate.set()
                return [*ended, await slow]
        finally:
            gate.set()

    assert asyncio.run(run()) == [ROUNDS] * len(agents)
    for me, agent in agents.items():
        assert agent.agent_state.learner.buffer.values.isfinite().all()
        assert [event["round"] for event in running.events(tmp_path, me, "round")] == list(range(ROUNDS))
        assert running.events(tmp_path, me, "refused") == [] == running.events(tmp_path, me, "missing")


@pytest.mark.parametrize("exchange", ["push-sum", "acknowledged"])
def test_whatever_messages_are_lost_and_however_they_drift_the_sums_stay(exchange, tmp_path):
    """Of each slice what is kept and what is on its way, exactly, at whatever moment the agents end."""
    plan = alike(exchange, 4, "ring", frozen)
    plan.run = plan.run.model_copy(update={"rounds": 60})
    draw = random.Random(0)
    post = MemoryNetwork(lambda sender, receiver, plane: plane == Plane.DATA and draw.random() < 0.2)
    agents = agents_of(plan, tmp_path, post)
    agent_states = scattered([agent.agent_state for agent in agents.values()])
    start, overlays = {p.me: p.learner.buffer.values.double() for p in agent_states}, plan.overlays(0)
    assert running.together(list(agents.values())) == [60] * 4
    for key in overlays.keys:
        regions = {me: overlays.offers[me][key] for me in start}
        before = sum(start[me][r.start : r.stop] for me, r in regions.items())
        after = total(agent_states, key)
        torch.testing.assert_close(after[: len(before)], before, rtol=0, atol=1e-12)
    late = [event["late"] for me in agents for event in running.events(tmp_path, me, "round")]
    assert max(late) == 0, "messages of a slower agent are not late here"

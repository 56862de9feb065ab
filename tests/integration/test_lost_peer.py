"""Every centralised method when one of its agents leaves in the middle of a run."""

import asyncio

import pytest
import running

from parse_p2p.core import plugins
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

METHODS = [name for name in plugins.known(plugins.METHODS) if plugins.load(plugins.METHODS, name).centralised]
ROUNDS = 12
CLOCKS = {"heartbeat": 0.1, "lost": 1, "coordinator": 0.3, "drain": 0.5}


def without(leaver, method, folder):
    """A run that one agent leaves in its third round: the world, its agents by id, and what each run returned."""
    plan = running.plan(method=method, rounds=ROUNDS, clocks=CLOCKS)
    post, stop = MemoryNetwork(), asyncio.Event()
    agents = {me: running.agent(plan, me, MemoryTransport(me, post), RunFolder(folder)) for me in plan.specs}

    async def leave():
        while agents[leaver].presence.card.round < 2:
            await asyncio.sleep(0.005)
        stop.set()

    async def run():
        async with asyncio.timeout(running.GUARD):
            runs = [a.run(stop if me == leaver else asyncio.Event()) for me, a in agents.items()]
            return await asyncio.gather(*runs, leave(), return_exceptions=True)

    *ended, _ = asyncio.run(run())
    return plan, agents, dict(zip(agents, ended, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("leaver", ["a1", "hub"])
def test_the_others_go_on_to_the_end(method, leaver, tmp_path):
    plan, agents, ended = without(leaver, method, tmp_path)
    assert ended.pop(leaver) < ROUNDS
    assert ended == dict.fromkeys(ended, ROUNDS)
    for me in ended:
        assert agents[me].agent_state.learner.buffer.values.isfinite().all()
        done = [event["round"] for event in running.events(tmp_path, me, "round")]
        assert done == list(range(ROUNDS)), f"{me} lost a round"
        assert running.events(tmp_path, me, "refused") == []
    waited = {me for me in ended if running.events(tmp_path, me, "waiting")}
    assert waited == (set(plan.peers) if leaver == "hub" else set()), "only a coordinator is hoped for when it is gone"
    if leaver == "hub":
        assert all(running.events(tmp_path, me, "alone") for me in plan.peers)
        losses = [event["loss"] for me in plan.peers for event in running.events(tmp_path, me, "round")]
        assert len(losses) == ROUNDS * len(plan.peers), "a round without training"

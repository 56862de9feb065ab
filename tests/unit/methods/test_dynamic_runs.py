"""Whole runs on graphs that change every round: the mean stays, only the round's links carry, resuming is exact."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from plans import VARYING, differing, finished, mixing_only, plan, under

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.methods import parse
from parse_p2p.models.base import key_of
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.simulator import Ledger, simulate

ROUNDS = 4
MET = [[t, f"a{i}", f"a{j}"] for t in range(3) for i in range(7) for j in range(i) if (i + j + t) % 3]
KINDS = VARYING | {
    "trace": {"kind": "trace", "repeat": True, "contacts": MET},
}
symmetric = pytest.mark.parametrize("varying", [v for k, v in KINDS.items() if k != "el-local"])
each = pytest.mark.parametrize("varying", KINDS.values(), ids=KINDS.keys())
METHODS = ["parse", "harmony"]  # one table, and two in turn
made = partial(plan, rounds=ROUNDS)


@dataclass
class Recorded:
    """A run from end to end, which tests only read."""

    again: Callable[[], RunPlan]
    agent_states: dict[PeerId, AgentState]
    ledgers: list[Ledger]
    states: list[dict[PeerId, dict[str, torch.Tensor]]]  # of all agents after each round


# of the module, so that tests go run by run, and one at a time is made and kept
@pytest.fixture(scope="module", params=product(METHODS, KINDS), ids="-".join)
def recorded(request):
    method, kind = request.param
    again = partial(made, method=method, varying=KINDS[kind])
    agent_states = again().agent_states()
    run = Recorded(again, {agent.me: agent for agent in agent_states}, [], [])

    def watch(round, metrics, ledger):
        run.ledgers.append(ledger)
        run.states.append({agent.me: agent.state() for agent in agent_states})

    simulate(agent_states, ROUNDS, codec=again().codec, watch=watch)
    return run


@symmetric
def test_1_mixing_keeps_the_sum_of_every_slice_in_every_round(varying):
    w = under(made(varying=varying, model={"init": "own"}), parse.sharing(parse.Options(), 0, 1), mixing_only)
    agent_states, moved = w.agent_states(), set()

    def sums():
        overlays = w.overlays(0)
        return {
            key: [a.learner.buffer.view(overlays.offers[a.me][key]).clone().double()
                  for a in agent_states if a.me in overlays.holders(key)]
            for key in overlays.keys
        }  # fmt: skip

    seen = [sums()]
    simulate(agent_states, 8, watch=lambda *_: seen.append(sums()))
    for before, after in pairwise(seen):
        for key, old in before.items():
            scale = torch.stack(old).abs().sum(0)
            assert ((sum(old) - sum(after[key])).abs() <= 1e-6 * scale).all(), key
            moved |= {key} if any(not torch.equal(a, b) for a, b in zip(old, after[key], strict=True)) else set()
    assert moved == seen[0].keys()


@each
def test_4_mixing_equal_models_changes_nothing_to_the_last_bit(varying):
    agent_states = under(made(varying=varying), script=mixing_only).agent_states()
    before = {p.me: p.learner.buffer.values.clone() for p in agent_states}
    simulate(agent_states, ROUNDS)
    assert all(torch.equal(p.learner.buffer.values, before[p.me]) for p in agent_states)


def test_A3_the_ledger_counts_the_links_of_the_round_and_no_others(recorded):
    w, carried = recorded.again(), []
    for round, ledger in enumerate(recorded.ledgers):
        overlays, links = w.overlays(round), set()
        for me in w.specs:
            for peer, keys in overlays.plan(me).links.items():
                sent = ledger[me][peer]
                assert sent == {str(key): 4 * overlays.offers[me][key].size for key in keys}
                assert all(peer in overlays.graph(key).audience(me) for key in keys)
                assert overlays.plan(peer).expected[me] == keys
                links.add((me, peer))
        assert links == {(me, peer) for me, row in ledger.items() for peer in row}
        assert all(peer in w.neighbours(me) for me, peer in links)
        carried.append(links)
    assert len(carried) == ROUNDS
    assert len({frozenset(links) for links in carried}) > 1, "the graph is the same in every round"


@pytest.mark.parametrize("middle", range(1, ROUNDS))
def test_A4_a_resumed_run_ends_as_one_that_was_not_interrupted(recorded, middle):
    second = recorded.again().agent_states()
    for agent in second:
        agent.restore(recorded.states[middle - 1][agent.me])
    simulate(second, ROUNDS, start=middle)
    assert differing(recorded.agent_states, {agent.me: agent for agent in second}) == []


def test_A5_a_graph_whose_edges_never_fail_is_the_fixed_one():
    fixed, _ = finished(made(rounds=2))
    assert differing(fixed, finished(made(rounds=2, varying={"kind": "failing", "probability": 0.0}))[0]) == []
    for varying in KINDS.values():
        assert differing(fixed, finished(made(rounds=2, varying=varying))[0]) != []


@pytest.mark.parametrize("kind", ["matching", "one-peer-exponential", "base", "regular", "el-local", "trace"])
def test_A6_neighbours_are_all_that_share_a_slice_whatever_the_graph(kind):
    w = made(method="dsgd-modality", graph="ring", varying=KINDS[kind])
    senses = {me: set(spec.modalities) for me, spec in w.specs.items()}
    for me in w.specs:
        assert w.neighbours(me) == {peer for peer in w.specs if peer != me and senses[peer] & senses[me]}


def test_A6_where_edges_fail_neighbours_are_those_of_the_graph():
    assert all(
        made(varying={"kind": "failing", "probability": 0.9}).neighbours(me) == made().neighbours(me)
        for me in made().specs
    )


def test_A7_the_graphs_of_the_last_rounds_alone_are_kept():
    w = made(varying=KINDS["matching"], rounds=5000)
    assert w.overlays(7) is w.overlays(7)
    for round in range(100):
        w.overlays(round)
    assert w._drawn.cache_info().currsize <= 4
    assert w.overlays(7).plan("a0") == made(varying=KINDS["matching"], rounds=5000).overlays(7).plan("a0")


@pytest.mark.parametrize("method", ["fedavg", "creamfl", "fedmosaic"])
def test_A8_a_centralised_method_has_no_graph_that_could_vary(method):
    with pytest.raises(ConfigError, match=f"varying: the method '{method}' has a coordinator"):
        made(method=method, varying=KINDS["matching"])


def test_A8_other_weights_are_refused_and_so_is_a_disconnected_graph():
    with pytest.raises(ConfigError, match="varying: its graphs have weights of their own, not uniform ones"):
        made(weights="uniform", varying=KINDS["matching"])
    agents = [{"id": f"a{i}", "modalities": ["audio"]} for i in range(4)]
    raw = {"graph": {"edges": [["a0", "a1"], ["a2", "a3"]]}, "agents": agents, "dataset": "bits"}
    with pytest.raises(ConfigError, match="2 connected components"):
        RunPlan(RunFile.model_validate(raw | {"varying": KINDS["failing"]}))


def test_A9_agents_on_a_varying_graph_do_not_talk_to_those_on_a_fixed_one():
    digests = {made(varying=varying).run.digest() for varying in [None, *KINDS.values()]}
    assert len(digests) == 1 + len(KINDS)


@pytest.mark.parametrize(("kind", "agents"), [("base", 9), ("base", 18), ("one-peer-exponential", 16)])
def test_quasi_global_momentum_does_not_resonate_with_the_rounds_of_a_cycle(kind, agents):
    """At rates at which nothing is learnt agents with first values of their own come together, and stay so."""
    run = {
        "model": {"init": "own"},
        "train": {"lr": 1e-9},
        "varying": {"kind": kind},
        "rounds": 60,
        "data": {"samples": 1600},
    }
    states = plan({"audio": agents}, **run).agent_states()

    def spread():
        heads = torch.stack([state.learner.model.heads[key_of("redundant")].weight for state in states])
        return (heads - heads.mean(0)).square().mean().sqrt().item()

    before = spread()
    simulate(states, 60)
    assert spread() < before / 5

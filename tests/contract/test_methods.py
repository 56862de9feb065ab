"""Every method that is found, on every network it is made for: it runs, repeats, resumes, counts and learns."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from plans import differing, finished, plan, under
from pydantic import ValidationError

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message
from parse_p2p.core.types import Metrics, PeerId, Role
from parse_p2p.launch.results import train_alone
from parse_p2p.methods.base import Exchange
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.simulator import Ledger, simulate

METHODS = {name: plugins.load(plugins.METHODS, name) for name in plugins.known(plugins.METHODS)}
CASES = [(name, network) for name, method in METHODS.items() for network in method.networks]
ROUNDS = 4


def made(method, network, **changes):
    return plan(method=method, model={"network": network}, rounds=ROUNDS, **changes)


@dataclass
class Recorded:
    """A run from end to end, which tests only read."""

    plan: RunPlan
    agent_states: dict[PeerId, AgentState] = field(default_factory=dict)
    metrics: dict[PeerId, Metrics] = field(default_factory=dict)
    states: list[dict[PeerId, dict[str, torch.Tensor]]] = field(default_factory=list)  # of all agents after each round
    ledgers: list[Ledger] = field(default_factory=list)


# of the module, so that tests go method by method, and one run at a time is made and kept
@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def recorded(case):
    run = Recorded(made(*case))
    agent_states = run.plan.agent_states()

    def watch(round, metrics, ledger):
        run.states.append({agent.me: agent.state() for agent in agent_states})
        run.ledgers.append(ledger)

    run.metrics = simulate(agent_states, ROUNDS, codec=run.plan.codec, watch=watch)
    run.agent_states = {agent.me: agent for agent in agent_states}
    return run


def total(ledgers):
    return sum(n for ledger in ledgers for links in ledger.values() for link in links.values() for n in link.values())


def test_a_run_ends_with_finite_parameters_and_a_loss(recorded):
    assert recorded.metrics.keys() == recorded.agent_states.keys()
    for me, agent in recorded.agent_states.items():
        assert agent.learner.buffer.values.isfinite().all()
        assert agent.role == Role.COORDINATOR or math.isfinite(recorded.metrics[me]["loss"])


def test_the_same_seed_gives_the_same_run_to_the_last_bit(case, recorded):
    torch.manual_seed(1)
    again, metrics = finished(made(*case))
    assert differing(recorded.agent_states, again) == []
    assert metrics == recorded.metrics


def test_another_seed_gives_another_run(case, recorded):
    other, _ = finished(made(*case, seed=1), rounds=1)
    for me, state in recorded.states[0].items():
        assert not torch.equal(state["parameters"], other[me].state()["parameters"])


@pytest.mark.parametrize("middle", range(1, ROUNDS))
def test_a_run_resumed_from_its_state_is_the_run_that_was_not_interrupted(case, recorded, middle):
    second = made(*case).agent_states()
    for agent in second:
        agent.restore(recorded.states[middle - 1][agent.me])
    simulate(second, ROUNDS, start=middle)
    assert differing(recorded.agent_states, {agent.me: agent for agent in second}) == []


def test_a_state_is_a_copy(case):
    agent = made(*case).agent_states()[0]
    kept = agent.state()
    before = {name: tensor.clone() for name, tensor in kept.items()}
    simulate([agent], 1)
    assert all(torch.equal(kept[name], before[name]) for name in kept)


@pytest.mark.parametrize("case", [case for case in CASES if not METHODS[case[0]].public], indirect=True, ids="-".join)
def test_the_ledger_holds_what_the_plan_foretold(recorded):
    w = recorded.plan
    assert len(recorded.ledgers) == ROUNDS
    for round, ledger in enumerate(recorded.ledgers):
        for me in w.specs:
            exchange_plan, sent = w.overlays(round).plan(me), ledger.get(me, {})
            assert {peer: {str(key) for key in keys} for peer, keys in exchange_plan.links.items()} == {
                peer: {name.rpartition("/")[2] for name in by_slice if "@" in name} for peer, by_slice in sent.items()
            }
            once = {str(key) for keys in exchange_plan.links.values() for key in keys}  # the rest has names of its own
            of_slices = [n for by_slice in sent.values() for name, n in by_slice.items() if name in once]
            assert sum(of_slices) == exchange_plan.payload()


def test_a_lossy_codec_halves_the_ledger_and_changes_the_run_a_little(case, recorded):
    ledgers = []
    agent_states, _ = finished(made(*case, codec="bf16"), watch=lambda round, metrics, ledger: ledgers.append(ledger))
    assert all(agent.learner.buffer.values.isfinite().all() for agent in agent_states.values())
    assert recorded.plan.run.codec == "raw"
    assert total(ledgers) * 2 == total(recorded.ledgers)


def test_agents_of_one_type_are_served_alike(recorded):
    w = recorded.plan
    kinds = {me: "+".join(w.specs[me].modalities) for me in w.peers}
    for kind in set(kinds.values()):
        payloads = {w.overlays(0).plan(me).payload() for me in w.peers if kinds[me] == kind}
        assert len(payloads) == 1, kind


def test_it_learns(case):
    method, network = case
    w = plan(
        {"audio": 1, "motion": 1, "audio+motion": 2},
        method=method,
        model={"network": network},
        data={"samples": 1000, "atoms": ["redundant", "unique"]},
        rounds=8,
    )
    agent_states, _ = finished(w)
    assert w.data.ceiling is not None
    for me in w.peers:
        agent = agent_states[me]
        found = agent.learner.evaluate()
        ceiling = w.data.ceiling(frozenset(w.specs[me].modalities))
        assert found["accuracy"] > 0.75 * ceiling > 2 / 8, me  # eight classes
        assert found["test_loss"] < 0.75 * math.log(8), me


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name
    assert method.summary
    assert method.scripts
    assert set(method.networks) <= set(plugins.known(plugins.NETWORKS))
    with pytest.raises(ValidationError, match=r"no such key|not permitted"):
        method.options.model_validate({"an option that there is not": 1})
    for option, info in method.options.model_fields.items():
        assert info.description, f"options.{option} has no description"


@pytest.mark.parametrize("name", METHODS)
def test_an_option_that_is_not_there_and_a_network_it_is_not_made_for_are_refused(name):
    with pytest.raises(ConfigError, match=r"options\.telepathy"):
        plan(method=name, options={"telepathy": 1})
    for network in set(plugins.known(plugins.NETWORKS)) - set(METHODS[name].networks):
        with pytest.raises(ConfigError, match=f"not made for model.network '{network}'"):
            plan(method=name, model={"network": network})


@pytest.mark.parametrize("name", METHODS)
def test_its_agents_can_be_trained_alone_to_compare_with(name):
    w = plan(method=name, rounds=2)
    assert train_alone(w, lambda done: None).keys() == set(w.peers)


@pytest.mark.parametrize("name", METHODS)
def test_rounds_under_one_table_share_one_set_of_overlays(name):
    w = plan(method=name, rounds=4)
    assert w.overlays(0) is w.overlays(1)
    assert w.overlays(2) is w.overlays(3)


def test_the_ledger_counts_every_exchange_of_a_round():
    def twice(local, options):
        for topic in ("one", "two"):
            yield Exchange(topic, {peer: Message({topic: torch.zeros(3)}) for peer in local.plan.links})
        return {"loss": 0.0}

    seen = []
    finished(under(plan(), script=twice), rounds=1, watch=lambda round, metrics, ledger: seen.append(ledger))
    assert all(link == {"one": 12, "two": 12} for links in seen[0].values() for link in links.values())


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.centralised])
def test_k_of_n_clients_may_take_part_and_the_run_resumes_as_ever(name):
    def chosen():
        return made(name, METHODS[name].networks[0], options={"clients": 2})

    whole, metrics = finished(chosen())
    w = chosen()
    assert sum("loss" in metrics[me] for me in w.peers) == 2
    assert all(agent.learner.buffer.values.isfinite().all() for agent in whole.values())
    first = finished(chosen(), rounds=2)[0]
    second = w.agent_states()
    for agent in second:
        agent.restore(first[agent.me].state())
    simulate(second, ROUNDS, start=2)
    assert differing(whole, {agent.me: agent for agent in second}) == []

"""FedAvg and FedProx against their algebra, computed apart from the runtime."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import dealt, differing, finished, plan

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import PeerId
from parse_p2p.learning.objective import SliceLossOptions, slice_terms
from parse_p2p.methods.base import Local
from parse_p2p.methods.federation import counted, selected, weighted_average

PLAIN = {"partition": {"kind": "dirichlet", "alpha": 1.0}}


def shared(w, me):
    """What an agent holds of each slice."""
    return w.overlays(0).plan(me).regions


def by_hand(w, rounds):
    """Clients trained by their learners alone, every slice averaged by sample count over those who hold it."""
    clients = {me: w.agent_state(me) for me in w.peers}
    for round in range(rounds):
        for agent in clients.values():
            agent.learner.begin(round, w.run.rounds)
            agent.learner.look_ahead()
            agent.learner.train(*slice_terms(SliceLossOptions()))
        for key in {key for me in clients for key in shared(w, me)}:
            owners = [me for me in sorted(clients) if key in shared(w, me)]
            copies = [clients[me].learner.buffer.view(shared(w, me)[key]) for me in owners]
            n = torch.tensor([clients[me].learner.samples for me in owners], dtype=torch.float64)
            mean = (torch.stack(copies).double() * (n / n.sum())[:, None]).sum(0)
            for copy in copies:
                copy.copy_(mean)
        for agent in clients.values():
            agent.learner.look_back()
    return clients


@pytest.mark.parametrize("network", ["fission", "monolithic"])
def test_a_run_is_local_training_and_the_average_by_sample_count(network):
    w = plan(method="fedavg", model={"network": network}, rounds=3, **PLAIN)
    assert len({len(rows) for rows in dealt(w).shares.values()}) > 1, "unequal shares are the point"
    ours, _ = finished(w)
    want = by_hand(w, 3)
    for me in w.peers:
        torch.testing.assert_close(ours[me].learner.buffer.values, want[me].learner.buffer.values, rtol=1e-5, atol=1e-6)


def alike(**changes):
    """A world whose agents all have as many samples."""
    w = plan(**changes)
    for me, rows in dealt(w).shares.items():
        dealt(w).shares[me] = rows[:30]
    return w


@pytest.mark.parametrize("weights", ["uniform", "metropolis"])
def test_slice_by_slice_it_is_parse_on_a_complete_graph_where_samples_are_equal(weights):
    theirs, _ = finished(alike(graph="complete", weights=weights))
    ours, _ = finished(alike(method="fedavg"))
    for me in theirs:
        assert (ours[me].learner.buffer.values - theirs[me].learner.buffer.values).abs().max() < 1e-6
    whole, _ = finished(alike(method="fedavg", options={"scope": "model"}))
    assert (ours["a0"].learner.buffer.values - whole["a0"].learner.buffer.values).abs().max() > 1e-3


@pytest.mark.parametrize("network", ["fission", "monolithic"])
def test_model_by_model_it_is_a_federation_of_each_type_by_itself(network):
    """As DSGD-Task is on a complete graph."""
    options = {"options": {"scope": "model"}, "model": {"network": network}}
    ours, _ = finished(alike(method="fedavg", **options))
    theirs, _ = finished(alike(method="dsgd-task", graph="complete", model={"network": network}))
    for me in theirs:
        assert (ours[me].learner.buffer.values - theirs[me].learner.buffer.values).abs().max() < 1e-6
    start = alike(method="fedavg", **options).agent_states()
    assert all(not torch.equal(ours[p.me].learner.buffer.values, p.learner.buffer.values) for p in start)


def test_every_client_ends_with_the_coordinators_model():
    w = plan(method="fedavg", **PLAIN)
    ours, _ = finished(w)
    hub = ours["hub"].learner.buffer
    for me in w.peers:
        for key, region in shared(w, me).items():
            assert torch.equal(ours[me].learner.buffer.view(region), hub.view(shared(w, "hub")[key])), (me, key)


def test_only_the_owners_of_a_modality_count_for_its_encoder():
    """Other data at those who do not hear changes nothing in what hearing ones share."""

    def trunk(samples_of_motion):
        w = plan({"audio": 2, "motion": 2}, method="fedavg", rounds=1)
        for me in w.peers:
            if w.specs[me].modalities == ("motion",):
                dealt(w).shares[me] = dealt(w).shares[me][:samples_of_motion]
        hub = finished(w)[0]["hub"].learner
        return hub.buffer.view(hub.buffer.regions["trunk.audio"]).clone()

    assert torch.equal(trunk(16), trunk(40))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6), st.integers(0, 2**31))
def test_an_average_lies_between_and_equal_copies_stay_to_the_last_bit(counts, seed):
    rng = torch.Generator().manual_seed(seed)
    weights = {PeerId(f"a{i}"): float(n) for i, n in enumerate(counts)}
    x = torch.randn(7, generator=rng)
    assert torch.equal(weighted_average({me: {"x": x.clone()} for me in weights}, weights)["x"], x)
    each = {me: {"x": torch.randn(7, generator=rng)} for me in weights}
    found, rows = weighted_average(each, weights)["x"], torch.stack([t["x"] for t in each.values()])
    assert (found <= rows.amax(0) + 1e-6).all() and (found >= rows.amin(0) - 1e-6).all()
    reordered = weighted_average(dict(reversed(each.items())), weights)["x"]
    assert torch.equal(found, reordered)


def test_an_average_is_summed_in_double_and_in_the_order_of_names():
    values = {"a": 0.0, "b": 1e8, "c": 1.0, "d": -1e8}  # of which single precision leaves nothing
    each = {PeerId(me): {"x": torch.tensor([x])} for me, x in values.items()}
    assert weighted_average(each, dict.fromkeys(each, 1.0))["x"].tolist() == [0.25]
    rng = torch.Generator().manual_seed(0)
    each = {PeerId(me): {"x": torch.randn(999, generator=rng, dtype=torch.float64)} for me in values}
    orders = [dict(zip(order, map(each.get, order), strict=True)) for order in permutations(each)]
    found = [weighted_average(some, {me: i + 1.0 for i, me in enumerate(each)})["x"] for some in orders]
    assert all(torch.equal(found[0], x) for x in found)


def test_k_of_n_clients_take_part_and_the_others_pay_nothing():
    w, seen = plan(method="fedavg", options={"clients": 3}, rounds=6), []
    finished(w, watch=lambda round, metrics, ledger: seen.append((metrics, ledger)))
    trained = [{me for me in w.peers if "loss" in metrics[me]} for metrics, _ in seen]
    assert all(len(who) == 3 for who in trained) and len(set(map(frozenset, trained))) > 1
    for round, (metrics, ledger) in enumerate(seen):
        assert metrics["hub"]["updates"] == 3
        uploaded = {me for me in w.peers if sum(ledger.get(me, {}).get("hub", {}).values())}
        assert uploaded == trained[round]
        served = {me for me, sent in ledger["hub"].items() if sum(sent.values())}
        assert served == (trained[round + 1] if round + 1 < 6 else set(w.peers))


def test_the_draw_of_clients_is_the_same_on_every_agent():
    w = plan(method="fedavg", options={"clients": 2})
    views = [
        Local(p.me, p.role, 3, 9, p.learner, p.plan(3)) for p in w.agent_states()
    ]  # what each agent knows in round 3
    assert len({selected(local, w.options, 3) for local in views}) == 1
    assert len({selected(views[0], w.options, round) for round in range(9)}) > 1
    assert selected(views[0], w.options, 9) == tuple(sorted(w.peers)), "after the last round all are served"


def test_too_few_updates_leave_the_global_model_as_it_is():
    w = plan(method="fedavg", options={"quorum": len(plan(method="fedavg").peers) + 1})
    before = {name: t.clone() for name, t in w.agent_state("hub").learner.model.named_parameters()}
    for name, tensor in finished(w)[0]["hub"].learner.model.named_parameters():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "7", None, 2**41])
def test_an_update_with_an_impossible_sample_count_is_refused(samples):
    w = plan(method="fedavg")
    hub, sender = w.agent_state("hub"), w.agent_state("a0")
    local = Local("hub", hub.role, 0, 4, hub.learner, hub.plan(0))
    tensors = sender.learner.cut(sender.plan(0).regions)
    counted(local)("a0", Message(tensors, {"samples": 12}))
    with pytest.raises(SpecMismatch, match="samples"):
        counted(local)("a0", Message(tensors, {"samples": samples}))
    with pytest.raises(SpecMismatch):
        counted(local)("a0", Message(dict(list(tensors.items())[1:]), {"samples": 12}))


def test_B9_fedprox_without_its_pull_is_fedavg():
    ours, _ = finished(plan(method="fedprox", options={"mu": 0.0}))
    theirs, _ = finished(plan(method="fedavg"))
    assert differing(ours, theirs) == []


def test_B9_the_stronger_the_pull_the_shorter_the_way():
    def way(mu):
        agent = plan(method="fedprox", train={"momentum": 0.0, "epochs": 3}).agent_state("a0")
        start = agent.learner.buffer.values.clone()
        agent.options = type(agent.options)(mu=mu)
        next(agent.begin(0))  # trains, then asks for the exchange
        return float((agent.learner.buffer.values - start).norm())

    ways = [way(mu) for mu in (0.0, 0.1, 1.0, 5.0, 15.0)]
    assert ways == sorted(ways, reverse=True) and ways[-1] < 0.5 * ways[0]


def test_B9_the_first_step_is_not_pulled():
    def after(mu):
        agent = plan(method="fedprox", data={"samples": 100}, train={"batch": 512}).agent_state("a0")
        agent.options = type(agent.options)(mu=mu)
        next(agent.begin(0))
        return agent.learner.buffer.values

    assert torch.equal(after(0.0), after(10.0))

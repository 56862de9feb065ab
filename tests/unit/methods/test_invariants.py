"""What mixing must keep and how fast it must agree: the numbered invariants of a runtime for PARSE."""

import math

import numpy as np
import pytest
import torch
from plans import MIX, differing, finished, mixing_only, plan, under
from torch.nn.functional import cross_entropy, linear, relu

from parse_p2p.core import plugins
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import nobody
from parse_p2p.core.types import Role
from parse_p2p.methods import dsgd_task, parse
from parse_p2p.models.base import key_of
from parse_p2p.runtime.simulator import simulate
from parse_p2p.topology.spectrum import slem

METHODS = [m for m in plugins.known(plugins.METHODS) if not plugins.load(plugins.METHODS, m).centralised]
TABLE = parse.sharing(parse.Options(), 0, 1)


def holdings(agent_states, round):
    """Every slice of a round as a matrix, one row for each of its holders, in double."""
    overlays = agent_states[0].overlays(round)
    values = {p.me: p.learner.buffer.view for p in agent_states}
    return {
        key: torch.stack([values[me](overlays.offers[me][key]) for me in overlays.graph(key).peers]).double()
        for key in overlays.keys
    }


def tapped(w, before, after):
    """The world with its script watched: each agent's slices just before the messages are mixed and just after."""
    whole = w.method.scripts[Role.PEER]

    def script(local, options):
        inner, step = whole(local, options), None
        while True:
            try:
                exchange = inner.send(step)
            except StopIteration as stop:
                after[local.round, local.me] = local.learner.cut(local.plan.regions)
                return stop.value
            before[local.round, local.me] = local.learner.cut(local.plan.regions)
            step = yield exchange

    return under(w, script=script)


@pytest.mark.parametrize("weights", ["metropolis", "uniform", "fastest-mixing"])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "local"])
def test_1_mixing_keeps_the_sum_of_every_slice_in_every_round(method, weights):
    options = {"sigma": 0.01} if method == "harmony" else {}
    before, after = {}, {}
    w = plan(method=method, weights=weights, rounds=3, options=options)
    finished(tapped(w, before, after))
    assert len(before) == 3 * len(w.specs)
    for round in range(3):
        overlays, moved = w.overlays(round), 0
        for key in overlays.keys:
            old, new = ([d[round, me][str(key)].double() for me in overlays.holders(key)] for d in (before, after))
            scale = torch.stack(old).abs().sum(0)
            assert ((sum(old) - sum(new)).abs() <= 1e-6 * scale).all(), (round, key)
            moved += any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        assert moved > 0


def realised(w, round=0):
    """Per slice the matrix a round mixes with, read off one exchange in which holder i holds the i-th unit vector."""
    agent_states = under(w, script=mixing_only).agent_states()
    overlays = w.overlays(round)
    matrices = {}
    for key in overlays.keys:
        holders = overlays.graph(key).peers
        for p in agent_states:
            p.learner.buffer.values.zero_()
            if p.me in holders:
                p.learner.buffer.view(overlays.offers[p.me][key])[holders.index(p.me)] = 1.0
        simulate(agent_states, round + 1, start=round)
        matrices[key] = holdings(agent_states, round)[key]
        outside = [p for p in agent_states if p.me not in holders]
        assert not any(p.learner.buffer.values.any() for p in outside), "a slice reached an agent that does not hold it"
    return {key: rows[:, : len(rows)].numpy() for key, rows in matrices.items()}


@pytest.mark.parametrize("overlay", ["per-slice", "induced"])
@pytest.mark.parametrize("weights", ["metropolis", "uniform", "fastest-mixing"])
def test_2_every_realised_matrix_is_doubly_stochastic(weights, overlay):
    w = plan(graph="wheel_graph", weights=weights, overlay=overlay)
    found = realised(under(w, sharing=TABLE))
    assert {len(matrix) for matrix in found.values()} == {3, 5, 7}
    for key, matrix in found.items():
        np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-6, err_msg=str(key))
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6, err_msg=str(key))
        assert (matrix >= -1e-7).all()
        np.testing.assert_allclose(matrix, w.overlays(0).graph(key).matrix(), atol=1e-6)


def test_2_what_two_agents_exchange_is_what_both_their_modalities_allow():
    w = under(plan(graph="complete"), sharing=TABLE)
    ledgers = []
    finished(w, rounds=1, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    size = {key.component: 4 * r.size for me in w.specs for key, r in w.overlays(0).offers[me].items()}
    kinds = {me: "+".join(spec.modalities) for me, spec in w.specs.items()}
    audio = ["trunk.audio", "rows.redundant.audio", "rows.unique.audio", "head.unique.audio"]
    allowed = {
        frozenset({"audio", "motion"}): ["head.redundant"],
        frozenset({"audio", "audio+motion"}): ["head.redundant", *audio],
        frozenset({"audio"}): ["head.redundant", *audio],
        frozenset({"audio+motion"}): list(size),
    }
    seen = set()
    for sender, links in ledgers[0].items():
        for receiver, sent in links.items():
            pair = frozenset({kinds[sender], kinds[receiver]})
            if pair in allowed:
                seen.add(pair)
                assert {name.split("@")[0]: n for name, n in sent.items()} == {c: size[c] for c in allowed[pair]}, pair
    assert seen == allowed.keys()
    assert size["head.redundant"] == 4 * (4 + 1) * 16


def spread(x):
    return float((x - x.mean(0)).norm())


def slope(spreads, low, high):
    """ln of the factor by which disagreement shrinks each round, where it is between these shares of the first."""
    shares = np.array(spreads) / spreads[0]
    window = np.flatnonzero((shares <= high) & (shares >= low))
    return np.polyfit(window, np.log(shares[window]), 1)[0]


@pytest.mark.parametrize(
    ("graph", "rounds"),
    [("ring", 110), ("chordal-ring", 30), ("torus", 30), ("star", 120), ("exponential", 20), ("complete", 3)],
)
def test_3_without_learning_every_slice_agrees_as_fast_as_its_graph_allows(graph, rounds):
    tiny = {"data": {"samples": 120}, "model": {"latent": 6, "hidden": 4, "init": "own"}, "encoder": {"width": 4}}
    w = plan({"audio": 4, "motion": 4, "audio+motion": 4}, graph=graph, **tiny)
    agent_states = under(w, sharing=TABLE, script=mixing_only).agent_states()
    seen = [holdings(agent_states, 0)]
    simulate(agent_states, rounds, watch=lambda round, *_: seen.append(holdings(agent_states, round)))
    assert {key.group for key in seen[0]} == {
        "all", "audio", "motion", "audio&multimodal", "motion&multimodal", "type:audio+motion&multimodal",
    }  # fmt: skip
    for key, matrix in realised(w).items():
        mixed = [x := seen[0][key]] + [x := torch.from_numpy(matrix).double() @ x for _ in range(rounds)]
        foretold, found = [spread(x) for x in mixed], [spread(at[key]) for at in seen]
        np.testing.assert_allclose(found, foretold, rtol=1e-2, atol=1e-6 * found[0], err_msg=str(key))
        rho = slem(w.overlays(0).graph(key).matrix())
        if rho < 1e-9:
            assert found[1] < 1e-5 * found[0], key
            continue
        assert slem(matrix) == pytest.approx(rho, rel=1e-5), key
        # float32 says nothing below 1e-5, and by then the slowest mode is not quite alone
        assert slope(found, 1e-5, 1e-2) == pytest.approx(math.log(rho), rel=0.05), key


@pytest.mark.parametrize("weights", ["metropolis", "uniform", "fastest-mixing"])
@pytest.mark.parametrize("method", METHODS)
def test_4_mixing_equal_models_changes_nothing_to_the_last_bit(method, weights):
    w = under(plan(method=method, weights=weights), script=mixing_only)
    agent_states = w.agent_states()
    before = {p.me: p.learner.buffer.values.clone() for p in agent_states}
    simulate(agent_states, 4)
    assert all(torch.equal(p.learner.buffer.values, before[p.me]) for p in agent_states)


def plainly(weights, x):
    """The three-slice network for two modalities, trunks of one layer, written out: logits by head."""
    latents = {}
    for m in ("audio", "motion"):
        t = relu(linear(x[m], *(weights[f"trunks.{key_of(m)}.0.{w}"] for w in ("weight", "bias"))))
        t = (t - t.mean(1, keepdim=True)) / (t.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        blocks = [f"rows.{key_of(m)}.{key_of(kind)}" for kind in ("redundant", "unique", "synergistic")]
        rows, offsets = (torch.cat([weights[f"{b}.{w}"] for b in blocks]) for w in ("weight", "bias"))
        latents[m] = torch.split(linear(t, rows, offsets), [len(weights[f"{b}.bias"]) for b in blocks], dim=1)

    def head(name, z, layer=""):
        return linear(z, *(weights[f"heads.{key_of(name)}{layer}.{w}"] for w in ("weight", "bias")))

    redundant = [head("redundant", latents[m][0]) for m in latents]
    unique = [head(f"unique.{m}", latents[m][1]) for m in latents]
    one, other = (head("synergistic", latents[m][2], f".factors.{i}") for i, m in enumerate(latents))
    return redundant, unique, linear(one * other, weights[f"heads.{key_of('synergistic')}.head.weight"])


def loss_of(weights, batch):
    redundant, unique, synergistic = plainly(weights, batch.inputs)
    y = batch.targets
    joint = cross_entropy(sum(redundant) / 2 + sum(unique) + synergistic, y)
    alone = sum(cross_entropy(r, y) for r in redundant) / 2 + sum(cross_entropy(u, y) for u in unique)
    return joint + alone + cross_entropy(synergistic, y)


def federated_averaging(w, rounds):
    """FedAvg with a server: clients begin a round with the average, train, and are averaged; momentum stays theirs."""
    clients = {}
    for spec in w.specs.values():
        own = {name: p.detach().clone().requires_grad_() for name, p in w.initialised(spec).named_parameters()}
        step = torch.optim.SGD(own.values(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        clients[spec.id] = (own, step, w.share(spec.id)[0])
    for round in range(rounds):
        for me, (own, step, data) in clients.items():
            order = torch.randperm(len(data), generator=seeded(w.run.seed, me, round))
            for rows in torch.tensor_split(order, -(-len(data) // 16)):
                step.zero_grad()
                loss_of(own, data.batch(rows)).backward()
                torch.nn.utils.clip_grad_norm_(own.values(), 5.0)
                step.step()
        with torch.no_grad():
            for name in own:
                average = torch.stack([client[name].double() for client, _, _ in clients.values()]).mean(0)
                for client, _, _ in clients.values():
                    client[name].copy_(average)
    return {name: values.detach() for name, values in own.items()}


def test_5_on_a_complete_graph_of_one_type_parse_is_federated_averaging():
    train = {"schedule": "constant", "quasi_global": 0}
    losses = {"orthogonal": 0.0, "synergy": "joint"}
    w = plan({"audio+motion": 5}, graph="complete", rounds=3, options=losses, train=train)
    want = federated_averaging(w, 3)
    agent_states, _ = finished(w)
    start = dict(w.initialised(w.specs["a0"]).named_parameters())
    for agent in agent_states.values():
        for name, values in agent.learner.model.named_parameters():
            torch.testing.assert_close(values.detach(), want[name], rtol=1e-4, atol=2e-6)
            assert not torch.allclose(values, start[name], atol=1e-3)


@pytest.mark.parametrize(
    ("sharing", "baseline"),
    [
        (dict.fromkeys(TABLE, dsgd_task.TABLE["*"]), "dsgd-task"),
        ({part: nobody if part.startswith("head.") else group for part, group in TABLE.items()}, "dsgd-modality"),
    ],
    ids=["task", "modality"],
)
def test_6_the_baselines_are_parse_with_another_table(sharing, baseline):
    losses = {"contrast": 0.5, "orthogonal": 1.0}
    ours, _ = finished(under(plan(options=losses), sharing=sharing))
    theirs, _ = finished(plan(method=baseline, options=losses))
    assert differing(ours, theirs) == []
    parse_itself, _ = finished(plan(options=losses))
    assert differing(ours, parse_itself) != []


def test_7_dropping_a_branch_changes_only_the_sum_of_the_logits():
    agent_states, _ = finished(plan(MIX))
    for agent in agent_states.values():
        learner, state = agent.learner, agent.learner.state()
        said = learner.outputs(learner.test)
        for dropped in said.branches:
            rest = [name for name in said.branches if name != dropped]
            again = learner.outputs(learner.test)
            torch.testing.assert_close(said.logits() - again.logits(rest), said.branches[dropped], atol=1e-4, rtol=1e-4)
            assert all(torch.equal(again.branches[name], said.branches[name]) for name in said.branches)
            learner.evaluate(rest)
        assert all(torch.equal(state[name], tensor) for name, tensor in learner.state().items())


def test_7_a_branch_does_not_hear_the_slices_of_the_others():
    w = plan({"audio+motion": 2})
    learner = w.agent_state("a0").learner
    before = learner.outputs(learner.test).branches
    for part, silent in (("redundant", {"redundant"}), ("unique", {"unique.audio", "unique.motion"}),
                         ("synergistic", {"synergistic"})):  # fmt: skip
        agent = w.agent_state("a0").learner
        for region in agent.buffer.regions.values():
            if region.component.part in (f"rows.{part}", f"head.{part}"):
                agent.buffer.view(region).add_(1.0)
        after = agent.outputs(agent.test).branches
        assert {name for name in before if not torch.equal(before[name], after[name])} == silent

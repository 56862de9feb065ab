"""Gradient tracking: what it keeps, where it ends, what a round does, and what it does not go with."""

import pytest
import torch
from exchanging import TINY, alike, lossy, parameters, scattered
from hypothesis import given
from hypothesis import strategies as st
from plans import differing, finished, plan, under

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.message import Message
from parse_p2p.core.slices import same_type
from parse_p2p.learning.corrections import Correction
from parse_p2p.methods.base import advance
from parse_p2p.runtime.simulator import simulate

TRACKING = {"exchange": "gradient-tracking"}
PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "clip": 1e9, "batch": 1000, "lr": 0.1, "schedule": "constant"}
STEPS = 3
CURVATURES, CENTRES = (0.5, 1.0, 2.0, 4.0), (-1.0, 2.0, 0.5, 1.0)
OPTIMUM = sum(a * b for a, b in zip(CURVATURES, CENTRES, strict=True)) / sum(CURVATURES)


def bowls(local, options):
    """Each agent's loss is a/2 ‖x − b‖² with an a and b of its own: the optimum of their sum is Σ a b / Σ a."""
    which = int(local.me[1:])

    def bowl(network, batch, outputs):
        ways = [(p - CENTRES[which]).square().sum() for p in network.parameters()]
        return 0.5 * CURVATURES[which] * torch.stack(ways).sum()

    mode = options.exchange_mode
    if options.order == "atc":
        metrics = mode.train(local, [bowl])
    yield from mode.run(local, options.mixing.mix)
    if options.order == "cta":
        metrics = mode.train(local, [bowl])
    return metrics


def quadratic(exchange, **options):
    tiny = TINY | {"train": PLAIN | {"epochs": STEPS}}
    made = plan({"audio": 4}, graph="ring", overlay="induced", method="dsgd-task", rounds=1000,
                options={"exchange": exchange, **options}, **tiny)  # fmt: skip
    return under(made, script=bowls)


def tracked(agent_states, what):
    """Of all agents one after another, (agents, size): the tensors of this name, in the order of their slices."""
    return torch.stack([
        torch.cat([t for name, t in sorted(p.memory.items()) if name.startswith(f"tracking/{what}/")]).double()
        for p in agent_states
    ])  # fmt: skip


@pytest.mark.parametrize("order", ["atc", "cta"])
def test_it_ends_at_the_optimum_of_the_sum_where_dsgd_with_local_steps_does_not(order):
    ends = {}
    for exchange in ("synchronous", "gradient-tracking"):
        agent_states = scattered(quadratic(exchange, order=order).agent_states())
        simulate(agent_states, 25)
        ends[exchange] = parameters(agent_states)
    assert (ends["gradient-tracking"] - OPTIMUM).abs().max() < 1e-4
    assert (ends["synchronous"] - OPTIMUM).abs().min() > 0.01


def test_a_round_by_hand():
    """Two agents of one slice each way, weights 1/2: x after two steps, y, c and the average, from the formulas."""
    w = plan({"audio": 2}, graph="complete", method="dsgd-task", options=TRACKING, rounds=9,
             **(TINY | {"train": PLAIN | {"epochs": 2}}))  # fmt: skip
    agent_states = under(w, script=bowls).agent_states()
    x, c = [1.5, 1.5], [0.0, 0.0]
    for p in agent_states:
        p.learner.buffer.values.fill_(1.5)
    for round in range(3):
        simulate(agent_states, round + 1, start=round)
        ys, ends = [], []
        for i in range(2):
            at, gradients = x[i], []
            for _ in range(2):
                gradients.append(CURVATURES[i] * (at - CENTRES[i]))
                at -= 0.1 * (gradients[-1] + c[i])
            ys.append(sum(gradients) / 2 + c[i])
            ends.append(at)
        c = [c[i] - ys[i] + sum(ys) / 2 for i in range(2)]
        x = [sum(ends) / 2] * 2
        for i, p in enumerate(agent_states):
            assert p.learner.buffer.values.tolist() == pytest.approx([x[i]] * p.learner.buffer.size, rel=1e-5)
            held = tracked([p], "correction")[0]
            assert held.tolist() == pytest.approx([c[i]] * len(held), rel=1e-4, abs=1e-6)
    assert abs(c[0]) > 0.5


def test_what_is_tracked_is_the_way_of_a_round_for_plain_steps():
    """(x − x after K steps) / (K η), which is how the paper has it."""
    agent = quadratic("gradient-tracking").agent_states()[2]
    agent.memory.clear()
    before = agent.learner.buffer.values.clone()
    advance(agent.begin(0), None)
    way = (before - agent.learner.buffer.values).double() / (STEPS * 0.1)
    # names of slices sort as their regions lie, or the two would differ
    keys = sorted(agent.plan(0).regions, key=str)
    regions = [agent.plan(0).regions[key] for key in keys]
    want = torch.cat([way[r.start : r.stop] for r in regions])
    torch.testing.assert_close(tracked([agent], "tracked")[0], want, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 2**31), steps=st.integers(0, 3))
def test_a_correction_adds_and_remembers_the_mean_of_what_was(seed, steps):
    rng = torch.Generator().manual_seed(seed)

    class Buffer:
        grads = torch.zeros(5)

    class Stretch:
        start, stop = 1, 4

    change, buffer = torch.randn(3, generator=rng), Buffer()
    correction = Correction(buffer, [(Stretch, change)])
    seen = torch.randn(steps, 5, generator=rng)
    for gradients in seen:
        buffer.grads = gradients.clone()
        correction(buffer)
        torch.testing.assert_close(buffer.grads, gradients + torch.tensor([0.0, *change.tolist(), 0.0]))
    want = seen.mean(0)[1:4] if steps else torch.zeros(3)
    torch.testing.assert_close(correction.means({"x": Stretch})["x"], want)


@pytest.mark.parametrize("method", ["parse", "dsgd-hybrid"])
def test_corrections_sum_to_nothing_over_the_holders_of_every_slice(method):
    w = plan(method=method, options=TRACKING, rounds=5, partition={"kind": "dirichlet", "alpha": 0.3})
    agent_states, _ = finished(w)
    found = w.overlays(4)
    moved = 0
    for key in found.keys:
        held = [agent_states[me].memory[f"tracking/correction/{key}"].double() for me in sorted(found.holders(key))]
        largest = torch.stack(held).abs().max()
        assert sum(held).abs().max() <= 1e-5 * max(1.0, float(largest)), key
        moved += bool(largest > 1e-4)
    assert moved > 5


def test_bytes_are_twice_those_of_the_slices():
    w, ledgers = plan(options=TRACKING, rounds=2), []
    finished(w, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    for ledger in ledgers:
        for me, links in ledger.items():
            assert sum(sum(link.values()) for link in links.values()) == 2 * w.overlays(0).plan(me).payload() > 0
            for link in links.values():
                own = {name for name in link if not name.startswith("tracking/")}
                assert {f"tracking/{name}" for name in own} == link.keys() - own
                assert all(link[f"tracking/{name}"] == link[name] for name in own)
    assert w.options.exchange_mode.copies == 2


@pytest.mark.parametrize("order", ["atc", "cta"])
def test_it_resumes_from_any_round(order):
    options = TRACKING | {"order": order}
    whole, _ = finished(plan(options=options))
    half, _ = finished(plan(options=options), rounds=2)
    second = plan(options=options).agent_states()
    for agent in second:
        agent.restore(half[agent.me].state())
    simulate(second, 4, start=2)
    assert differing(whole, {agent.me: agent for agent in second}) == []
    assert differing(whole, finished(plan(options={"order": order}))[0]) != []


def test_alone_it_is_training_alone():
    """The mean over one holder is one's own gradient."""
    one, _ = finished(plan({"audio": 1, "motion": 1}, options=TRACKING | {"redundant_scope": "same-type"}))
    other, _ = finished(plan({"audio": 1, "motion": 1}, options={"redundant_scope": "same-type"}))
    for me in one:
        assert torch.equal(one[me].learner.buffer.values, other[me].learner.buffer.values)


def test_with_other_agents_all_corrections_begin_anew():
    w = plan(options=TRACKING, rounds=4, events=[{"agent": "a6", "round": 2, "lose": ["motion"]}])
    agent_states = w.agent_states()
    simulate(agent_states, 2)
    before = {p.me: dict(p.memory) for p in agent_states}
    assert any(t.abs().max() > 1e-3 for n, t in before["a0"].items() if "/correction/" in n)
    simulate(agent_states, 3, start=2)
    by_name = {p.me: p for p in agent_states}
    found = w.overlays(2)
    for key in found.keys:
        held = [by_name[me].memory[f"tracking/correction/{key}"].double() for me in found.holders(key)]
        assert sum(held).abs().max() <= 1e-5, key
    left = {n for n in by_name["a6"].memory if "/correction/" in n and "motion" in n}
    assert left == set(), "what it holds no more is forgotten"


def test_a_message_without_what_is_tracked_is_refused():
    agent = plan({"audio": 2}, options=TRACKING).agent_states()[0]
    asked = agent.begin(0)
    exchange = next(asked)
    whole = agent.learner.cut(agent.plan(0).regions)
    good = whole | {f"tracking/{name}": tensor.clone() for name, tensor in whole.items()}
    exchange.check("a1", Message(good))
    for wrong in (whole, dict(list(good.items())[:-1]), good | {"tracking/x": torch.zeros(1)}):
        with pytest.raises(Exception, match="differ"):
            exchange.check("a1", Message(wrong))
    name = next(name for name in good if name.startswith("tracking/"))
    with pytest.raises(Exception, match="finite"):
        exchange.check("a1", Message(good | {name: torch.full_like(good[name], float("nan"))}))


def test_what_lies_is_no_mixer_of_it_and_edges_go_both_ways():
    with pytest.raises(ConfigError, match="'gradient-tracking', which keeps sums, it must be 'weighted'"):
        plan(options=TRACKING | {"mixer": "median"})
    with pytest.raises(ConfigError, match=r"needs an answer over each"):
        plan(graph={"edges": [["a0", "a1"], ["a1", "a2"], ["a2", "a0"]], "directed": True}, mix={"audio": 3},
             options=TRACKING)  # fmt: skip


def test_lost_messages_move_the_sum_and_nothing_breaks():
    """As the documentation says: it is for networks that lose nothing."""
    w = alike("gradient-tracking", 6, "ring", script=lossy(bowls_of_two, 0.3))
    agent_states = w.agent_states()
    simulate(agent_states, 6)
    assert parameters(agent_states).isfinite().all()
    assert tracked(agent_states, "correction").sum(0).abs().max() > 1e-3


def bowls_of_two(local, options):
    def bowl(network, batch, outputs):
        return torch.stack([(p - int(local.me[1:]) % 2).square().sum() for p in network.parameters()]).sum()

    metrics = options.exchange_mode.train(local, [bowl])
    yield from options.exchange_mode.run(local, options.mixing.mix)
    return metrics


def test_a_table_of_its_own_is_all_that_tells_methods_apart():
    one, _ = finished(under(plan(method="dsgd-hybrid", options=TRACKING), sharing={"*": same_type}))
    other, _ = finished(plan(method="dsgd-task", options=TRACKING))
    assert differing(one, other) == []

"""Exchanges that wait for nobody: what each keeps when messages are late or lost, and where all are the same."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from exchanging import alike, frozen, lossy, parameters, scattered, total
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import differing, finished, plan

from parse_p2p.core.errors import ConfigError, SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.mixers.weighted import Weighted
from parse_p2p.core.types import Role
from parse_p2p.learning import losses
from parse_p2p.methods.base import Done, Local, advance
from parse_p2p.methods.exchanges import acknowledged, push_sum
from parse_p2p.methods.gossip import gossip
from parse_p2p.runtime.simulator import simulate

BEARING = ["push-sum", "acknowledged"]
UNWAITING = ["asynchronous", *BEARING]
ROUNDS = 60
bearing = pytest.mark.parametrize("exchange", BEARING)


def moved(before, after):
    """How far the mean over the agents went, in standard deviations over the agents: root mean square."""
    return float(((after.mean(0) - before.mean(0)) / before.std(0)).square().mean().sqrt())


def spread(x):
    return float((x - x.mean(0)).norm())


def run(w, rounds, start=0, agent_states=None):
    agent_states = agent_states or scattered(w.agent_states())
    before = parameters(agent_states)
    simulate(agent_states, rounds, start=start, codec=w.codec)
    return before, parameters(agent_states), agent_states


# where no messages are late or lost


@pytest.mark.parametrize("order", ["atc", "cta"])
@pytest.mark.parametrize("mixer", ["weighted", "median"])
def test_asynchronous_without_late_messages_is_synchronous_to_the_last_bit(order, mixer):
    options = {"order": order, "mixer": mixer}
    one, _ = finished(plan(options=options | {"exchange": "asynchronous", "decay": 0.3}))
    other, _ = finished(plan(options=options))
    assert differing(one, other) == []


@pytest.mark.parametrize(("exchange", "rounds"), [("push-sum", 12), ("acknowledged", 24)])
@pytest.mark.parametrize("graph", ["star", "ring", "complete"])
def test_what_bears_loss_is_weighted_mixing_where_there_is_none(exchange, rounds, graph):
    """Round by round, or two for one where the answer comes in a round of its own."""
    _, plain, _ = run(alike("synchronous", 5, graph), 12)
    before, after, _ = run(alike(exchange, 5, graph), rounds)
    assert spread(after) < spread(before)
    torch.testing.assert_close(after, plain, rtol=0, atol=2e-6)


def test_with_learning_too():
    """Local steps enter the masses whole: the run is that of weighted mixing, less rounding."""
    one, _ = finished(plan(options={"exchange": "push-sum"}))
    other, _ = finished(plan())
    start = {p.me: p.learner.buffer.values for p in plan().agent_states()}
    for me, agent in one.items():
        torch.testing.assert_close(agent.learner.buffer.values, other[me].learner.buffer.values, rtol=0, atol=1e-4)
        assert (agent.learner.buffer.values - start[me]).abs().max() > 1e-2


@pytest.mark.parametrize("exchange", UNWAITING)
@pytest.mark.parametrize("kind", [{"kind": "matching"}, {"kind": "failing", "probability": 0.4}])
def test_on_graphs_that_change(exchange, kind):
    metrics = finished(plan(varying=kind, options={"exchange": exchange}))[1]
    assert all(math.isfinite(m["loss"]) for m in metrics.values())


@pytest.mark.parametrize("exchange", UNWAITING)
def test_where_modalities_come_and_go_a_run_ends_and_resumes_exactly(exchange):
    """A slice that is gained begins with what it was introduced with; one that comes back has its mass of then."""
    exchange_plan = [{"round": 2, "agent": "a0", "gain": ["motion"]}, {"round": 4, "agent": "a0", "lose": ["motion"]},
            {"round": 5, "agent": "a0", "gain": ["motion"]}]  # fmt: skip
    made = partial(
        plan,
        {"audio": 3, "motion": 2, "audio+motion": 3},
        rounds=7,
        events=exchange_plan,
        options={"exchange": exchange},
    )
    whole = finished(made())[0]
    assert all(p.learner.buffer.values.isfinite().all() for p in whole.values())
    first = finished(made(), rounds=3)[0]
    again = made().agent_states()
    for p in again:
        p.restore(first[p.me].state())
    simulate(again, 7, start=3)
    assert differing(whole, {p.me: p for p in again}) == []


# lost messages


def test_weighted_mixing_under_loss_moves_the_mean():
    for exchange in ("synchronous", "asynchronous"):
        before, after, _ = run(alike(exchange, script=lossy(frozen, 0.2)), ROUNDS)
        assert 0.03 < moved(before, after) < 0.09
        assert spread(after) < 1e-4 * spread(before), "the mean is another, the agreement as good"


def test_push_sum_under_loss_ends_at_the_mean():
    before, after, _ = run(alike("push-sum", script=lossy(frozen, 0.2)), 90)
    assert spread(after) < 1e-6 * spread(before)
    torch.testing.assert_close(after, before.mean(0).expand_as(after), rtol=0, atol=1e-6)


def test_acknowledged_mixing_under_loss_keeps_the_sum():
    """Once nothing is lost any more, what is on its way shrinks with the agents' distance."""
    w = alike("acknowledged", script=lossy(frozen, 0.2, rounds=range(ROUNDS)))
    before, _, agent_states = run(w, ROUNDS)
    _, after, _ = run(w, ROUNDS + 10, ROUNDS, agent_states)
    assert spread(after) < 1e-4 * spread(before)
    assert ((after.sum(0) - before.sum(0)).abs() <= 1e-6 * before.abs().sum(0)).all()


@bearing
@pytest.mark.parametrize("graph", ["ring", "star", "torus"])
def test_no_loss_changes_what_is_kept_and_what_is_on_its_way(exchange, graph):
    w = alike(exchange, 9 if graph == "torus" else 6, graph, lossy(frozen, 0.4))
    agent_states = scattered(w.agent_states())
    overlays, sums = w.overlays(0), []

    def look(*_):
        sums.append({key: total(agent_states, key) for key in overlays.keys})

    start = {key: sum(p.learner.buffer.view(overlays.offers[p.me][key]).double() for p in agent_states)
             for key in overlays.keys}  # fmt: skip
    simulate(agent_states, 30, watch=look)
    for key, first in start.items():
        torch.testing.assert_close(sums[0][key][: len(first)], first, rtol=0, atol=1e-12)
        for one, other in pairwise(sums):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-12)
        if exchange == "push-sum":
            assert sums[-1][key][-1] == pytest.approx(len(agent_states), abs=1e-12)


@bearing
def test_a_lossy_codec_parts_nobody(exchange):
    """Sums and differences cross whole: only proposals are rounded, and both ends take the same step for them."""
    w = alike(exchange, 4, "ring", codec="bf16")
    before, after, _ = run(w, 60)
    assert ((after.sum(0) - before.sum(0)).abs() <= 1e-6 * before.abs().sum(0)).all()
    assert spread(after) < 0.01 * spread(before)


@bearing
def test_an_agent_that_dies_in_its_round_and_comes_back_from_the_rounds_beginning_changes_no_sum(exchange):
    """What it sent in that round has arrived, what it was sent is lost."""
    w = alike(exchange, 6, "ring", lossy(frozen, 0.2))
    agent_states = scattered(w.agent_states())
    simulate(agent_states, 1)
    first = {key: total(agent_states, key) for key in w.overlays(0).keys}
    for round in range(1, 25):
        agent = agent_states[round % 4]
        state = agent.state()
        simulate(agent_states, round + 1, start=round)
        if round % 3:
            agent.restore(state)
        for key, sums in first.items():
            torch.testing.assert_close(total(agent_states, key), sums, rtol=0, atol=1e-12)


def test_nothing_but_learning_changes_the_sum_that_is_acknowledged():
    learnt = {}

    def watched(local, options):
        before = local.learner.buffer.values.clone()
        local.learner.train(losses.task)
        change = local.learner.buffer.values.double() - before.double()
        learnt[local.me] = learnt.get(local.me, 0) + change
        return (yield from frozen(local, options))

    w = alike("acknowledged", 4, "ring", lossy(watched, 0.3))
    agent_states = w.agent_states()
    first = {p.me: p.learner.buffer.values.double() for p in agent_states}
    simulate(agent_states, 6)
    for key in w.overlays(0).keys:
        region = w.overlays(0).offers["a0"][key]
        want = sum((first[me] + learnt[me])[region.start : region.stop] for me in first)
        torch.testing.assert_close(total(agent_states, key), want, rtol=0, atol=1e-12)


def test_a_change_by_learning_enters_the_mean_with_the_weight_of_its_agent():
    """Before anything was lost each weight is 1, so that Δ at one of n moves the mean by Δ/n; under loss by w·Δ/n."""
    w = alike("push-sum", 5, "ring", lossy(frozen, 0.3, rounds=range(1, 100)))
    before, _, agent_states = run(w, 5)
    agent, region = agent_states[2], w.overlays(0).offers["a2"]
    weights = torch.zeros(agent.learner.buffer.size, dtype=torch.float64)
    for key, where in region.items():
        weights[where.start : where.stop] = agent.memory[f"push-sum/{key}/mass"][-1]
    assert (weights - 1).abs().max() > 0.05
    agent.learner.buffer.values += 3.0
    _, after, _ = run(w, 150, 5, agent_states)
    foretold = before.mean(0) + 3.0 * weights / 5
    torch.testing.assert_close(after, foretold.expand_as(after), rtol=0, atol=1e-5)


@bearing
@pytest.mark.parametrize("one_way", [False, True])
def test_a_link_that_takes_and_does_not_give_drains_nobody(exchange, one_way):
    """One neighbour whose messages never comes: nobody's share of the mass, and no parameter, runs away."""

    def dead(sender, receiver):
        return sender == "a3" or (receiver == "a3" and not one_way)

    w = alike(exchange, 6, "ring", lossy(frozen, 1.0, link=dead))
    before, after, agent_states = run(w, 200)
    assert (after.abs() <= before.abs().max(0).values + 1e-6).all()
    weights = [t[-1] for p in agent_states for n, t in p.memory.items() if n.endswith("/mass")]
    assert all(0.2 < weight < 6 for weight in weights)
    rest = after[[0, 1, 2, 4, 5]]
    assert spread(rest) < 1e-3 * spread(before)


@pytest.mark.parametrize("exchange", ["asynchronous", "push-sum", "acknowledged"])
@pytest.mark.parametrize("patience", [0.0, 2.5])
def test_who_need_not_wait_waits_as_long_as_its_patience_for_messages_of_any_round(exchange, patience):
    w = plan({"audio": 3}, options={"exchange": exchange, "patience": patience})
    [agent_state, *_] = w.agent_states()
    script = agent_state.begin(0)
    step = next(script)
    while not step.send:
        step = script.send(None)
    assert (step.deadline, step.newest) == (patience, True)
    assert step.expect == step.send.keys() == set(w.neighbours(agent_state.me))


def test_who_may_give_everything_keeps_a_little():
    agent_state = scattered(alike("push-sum", 2, "complete").agent_states())[0]
    exchange_plan = agent_state.plan(0)
    exchange_plan = replace(exchange_plan, weights={key: {"a1": 1.0} for key in exchange_plan.weights})
    before = agent_state.learner.buffer.values.clone()
    local = Local("a0", Role.PEER, 0, 9, agent_state.learner, exchange_plan, agent_state.memory)
    script = push_sum.PushSum(patience=0.0).run(local, Weighted().mix)
    next(script)
    with pytest.raises(StopIteration):
        script.send({})
    assert {t[-1].item() for n, t in agent_state.memory.items() if n.endswith("/mass")} == {push_sum.KEEP}
    torch.testing.assert_close(agent_state.learner.buffer.values, before)


@pytest.mark.parametrize(("label", "weight"), [(0.0, 0.5), (50.0, 1.5)])
def test_a_newcomer_takes_no_mass_that_an_earlier_life_of_its_was_given(label, weight):
    """It begins in round 50 and is told a sum of weight 1, meant for one that began in round 0 or for itself."""
    agent_state = scattered(alike("push-sum", 2, "complete").agent_states())[0]
    script = agent_state.begin(50)
    advance(script, None)
    sums = {
        str(key): torch.tensor([3.0] * region.size + [1.0, 0.0, label], dtype=torch.float64)
        for key, region in agent_state.plan(50).regions.items()
    }
    advance(script, {"a1": Message(sums)})
    # half of its own was given away before
    assert {t[-1].item() for n, t in agent_state.memory.items() if n.endswith("/mass")} == {weight}


# going on, and going back


@bearing
@pytest.mark.parametrize("script", [lossy(frozen, 0.3), lossy(gossip, 0.3)], ids=["frozen", "learning"])
def test_a_run_resumed_is_the_run_that_was_not_interrupted(exchange, script):
    whole = finished(alike(exchange, 4, "ring", script), rounds=7)[0]
    first = finished(alike(exchange, 4, "ring", script), rounds=3)[0]
    again = alike(exchange, 4, "ring", script).agent_states()
    for p in again:
        p.restore(first[p.me].state())
    simulate(again, 7, start=3)
    assert differing(whole, {p.me: p for p in again}) == []
    assert any(name.startswith("memory/") for name in whole["a0"].state())


@bearing
@pytest.mark.parametrize("back", [1, 2, 10, None], ids=lambda back: "to nothing" if back is None else f"by {back}")
def test_an_agent_that_falls_back_moves_the_mean_a_little_and_breaks_nothing(exchange, back):
    """It returns as it was some rounds ago, or with nothing but new parameters."""
    w = alike(exchange, 5, "ring", lossy(frozen, 0.2))
    agent_states, kept = scattered(w.agent_states()), {}
    before, agent = parameters(agent_states), agent_states[3]
    simulate(agent_states, 14, watch=lambda round, *_: kept.update({round + 1: agent.state()}))
    if back is None:
        agent.memory.clear()
        agent.learner.buffer.values.neg_()
    else:
        agent.restore(kept[14 - back])
    largest = parameters(agent_states).abs().max(0).values.clamp(min=before.abs().max(0).values)
    for start in range(14, 154, 10):
        _, after, _ = run(w, start + 10, start, agent_states)
        assert (after.abs() <= 1.5 * largest).all()
    assert spread(after) < 1e-4 * spread(before)
    assert moved(before, after) < 0.5
    assert all(t[-1] > 0.05 for p in agent_states for n, t in p.memory.items() if n.endswith("/mass"))


# ages


def one_of_two(exchange, round, **options):
    """The script of a0 in a round, and its learner; its neighbour is a1 and the weight between them 1/2."""
    w = alike(exchange, 2, "complete", **options)
    agent_state = scattered(w.agent_states())[0]
    return agent_state.begin(round), agent_state


@pytest.mark.parametrize(("said", "age"), [(7, 0), (9, 0), (6, 1), (4, 3), (0, 7)])
def test_a_copy_counts_less_the_older_it_is(said, age):
    script, agent_state = one_of_two("asynchronous", 7, decay=0.8)
    mine = agent_state.learner.buffer.values.clone()
    exchange = advance(script, None)
    assert exchange.newest and exchange.deadline == 0
    assert exchange.send["a1"].meta["round"] == 7
    theirs = {name: torch.full_like(tensor, 2.0) for name, tensor in exchange.send["a1"].tensors.items()}
    message = Message(theirs, {"round": said})
    exchange.check("a1", message)
    assert isinstance(advance(script, {"a1": message}), Done)
    want = mine + 0.5 * 0.8**age * (2.0 - mine)
    torch.testing.assert_close(agent_state.learner.buffer.values, want)


def test_without_messages_nothing_is_mixed():
    script, agent_state = one_of_two("asynchronous", 7)
    mine = agent_state.learner.buffer.values.clone()
    advance(script, None)
    advance(script, {})
    assert torch.equal(agent_state.learner.buffer.values, mine)


@pytest.mark.parametrize("said", [None, -1, 1000, 2**70, 1.0, True, "3", [3]])
def test_an_age_that_cannot_be_is_refused(said):
    script, _ = one_of_two("asynchronous", 7)
    exchange = advance(script, None)
    with pytest.raises(SpecMismatch, match="must say its round"):
        exchange.check("a1", Message(exchange.send["a1"].tensors, {} if said is None else {"round": said}))


# what crosses


def ledger(exchange, codec="raw"):
    w = alike(exchange, 4, "ring", gossip, codec=codec)
    seen = []
    finished(w, rounds=2, watch=lambda round, metrics, ledger: seen.append(ledger))
    sizes = {str(key): region.size for key, region in w.overlays(0).offers["a0"].items()}
    return w, sizes, seen[-1]


@pytest.mark.parametrize("codec", ["raw", "bf16"])
def test_the_ledger_counts_the_bytes_of_each_exchange(codec):
    width = {"raw": 4, "bf16": 2}[codec]
    for exchange, more, up, down in [("asynchronous", 0, width, width), ("push-sum", 3, 8, 8),
                                     ("acknowledged", 0, width, 8)]:  # fmt: skip
        w, sizes, found = ledger(exchange, codec)
        for me in w.specs:
            for peer in w.overlays(0).plan(me).links:
                each = up if me < peer else down
                assert found[me][peer] == {name: each * (size + more) for name, size in sizes.items()}


# messages of liars


def after_rounds_of(exchange, packed, rounds=3):
    """What a0 and its memory are after it was told the same thing for some rounds."""
    w = alike(exchange, 2, "complete")
    agent_state = scattered(w.agent_states())[0]
    for round in range(rounds):
        script, answer = agent_state.begin(round), None
        while not isinstance(step := advance(script, answer), Done):
            answer = {}
            for peer in step.expect:
                message = packed(step, agent_state)
                try:
                    step.check(peer, message)
                    answer[peer] = message
                except SpecMismatch:
                    pass
    return agent_state


DOUBLES = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -1.0, 1e-300, 1e300, 2.0**-60, 1e6])


@settings(deadline=None, max_examples=60)
@given(st.lists(DOUBLES, min_size=4, max_size=4), st.booleans())
def test_no_sum_that_is_sent_leaves_a_mass_without_weight(numbers, to_me):
    def packed(step, agent_state):
        value, weight, theirs, mine = numbers
        sizes = {str(k): r.size for k, r in agent_state.plan(0).regions.items()}
        ends = [weight, theirs, 0.0 if to_me else mine]
        return Message({n: torch.tensor([value] * size + ends, dtype=torch.float64) for n, size in sizes.items()})

    agent = after_rounds_of("push-sum", packed, 5)
    assert agent.learner.buffer.values.isfinite().all()
    assert agent.learner.buffer.values.abs().max() <= 1.01e6
    for name, tensor in agent.memory.items():
        assert tensor.double().isfinite().all()
        assert not name.endswith("/mass") or tensor[-1] > 0


def test_a_link_is_not_drained_by_crumbs():
    """A neighbour that gives next to nothing each round is given a share of the mass in each, down to a floor."""
    given_ = iter(range(1, 10**6))

    def packed(step, agent_state):
        crumb = 1e-9 * next(given_)
        sizes = {str(k): r.size for k, r in agent_state.plan(0).regions.items()}
        return Message({n: torch.tensor([0.0] * s + [crumb, 0.0, 0.0], dtype=torch.float64) for n, s in sizes.items()})

    agent = after_rounds_of("push-sum", packed, 100)
    assert all(t[-1] >= push_sum.LEAST / 4 for n, t in agent.memory.items() if n.endswith("/mass"))
    assert agent.learner.buffer.values.isfinite().all()


@pytest.mark.parametrize("number", [None, 0, -1, 1.0, True, "1", [1], acknowledged.NUMBERS])
def test_a_number_that_is_none_is_refused(number):
    w = alike("acknowledged", 2, "complete")
    agent_state = w.agent_states()[0]
    answers = advance(agent_state.begin(0), None)
    some = {str(k): torch.zeros(r.size, dtype=torch.float64) for k, r in agent_state.plan(0).regions.items()}
    numbers = {} if number is None else dict.fromkeys(some, number)
    with pytest.raises(SpecMismatch, match="which must be whole and positive"):
        answers.check("a1", Message(some, numbers))
    answers.check("a1", Message(some, dict.fromkeys(some, 1)))
    answers.check("a1", Message())
    with pytest.raises(SpecMismatch, match="float32"):
        answers.check("a1", Message({n: t.float() for n, t in some.items()}, dict.fromkeys(some, 1)))


def test_an_answer_is_taken_once_and_only_to_what_was_asked():
    w = alike("acknowledged", 2, "complete")
    agent = scattered(w.agent_states())[0]
    began = agent.learner.buffer.values.clone()
    some = {str(k): torch.ones(r.size, dtype=torch.float64) for k, r in agent.plan(0).regions.items()}

    def answered(round, number):
        script = agent.begin(round)
        exchange = advance(script, None)
        advance(script, {"a1": Message(some, dict.fromkeys(some, number))})
        return set(exchange.send["a1"].meta.values())

    assert answered(0, 1) == {1}
    torch.testing.assert_close(agent.learner.buffer.values, began - 1)
    assert answered(1, 1) == {2}  # the answer once more
    torch.testing.assert_close(agent.learner.buffer.values, began - 1)
    assert answered(2, 7) == {2}  # it knows of exchanges that I have forgotten
    torch.testing.assert_close(agent.learner.buffer.values, began - 1)
    assert answered(3, 7) == {8}


# the run file


@bearing
def test_what_keeps_sums_has_no_other_mixer(exchange):
    with pytest.raises(ConfigError, match=f"options.mixer: with exchange '{exchange}', which keeps sums, it must be"):
        plan(options={"exchange": exchange, "mixer": "median"})


@pytest.mark.parametrize("wrong", [{"decay": 0}, {"decay": 1.1}, {"patience": -1}, {"exchange": "telepathy"}])
def test_options_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"options.{next(iter(wrong))}: "):
        plan(options=wrong)

"""What all agents' samples are scaled by, agreed on by agents none of whom sees another's: numpy knows the answer."""

import math
from dataclasses import replace
from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch

from parse_p2p.core.errors import ConfigError, PeerError, SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data import lazy
from parse_p2p.data.base import Dataset, Scale
from parse_p2p.data.lazy import LazyInput
from parse_p2p.methods.base import Done, advance
from parse_p2p.runtime.scale_agreement import (
    AGREED,
    MOST,
    PATIENCE,
    RANGE,
    SPARE,
    SUMS,
    TOLERANCE,
    Agreed,
    Agreement,
    agree,
    exchanges,
    hear,
    send,
)  # fmt: skip
from parse_p2p.topology.spectrum import exchanges_to

SHAPES = {Modality("audio"): (4,), Modality("motion"): (2, 5)}
GRAPHS = {
    "ring": nx.cycle_graph(8),
    "star": nx.star_graph(7),
    "drawn": nx.erdos_renyi_graph(8, 0.6, seed=3),
    "complete": nx.complete_graph(4),
    "two": nx.path_graph(2),
}


def samples(number, rows, offset=1e6, lacking=(), constant=7.0):
    """Samples that lie elsewhere at every agent; the last feature is constant, some have no motion."""
    rng = np.random.default_rng(number)
    audio = offset + rng.normal(size=(rows, 4)) * [1, 1, 3, 1] + number
    audio[:, 3] = constant
    inputs = {"audio": audio, "motion": 5 * rng.normal(size=(rows, 2, 5)) - number}
    present = {} if "motion" in lacking or rows < 2 else {"motion": torch.arange(rows) % 3 > 0}
    kept = {m: torch.tensor(x, dtype=torch.float32) for m, x in inputs.items() if m not in lacking}
    for m, there in present.items():
        kept[m][~there] = 0.0
    return Dataset("own", kept, torch.zeros(rows).long(), 2, present=present)


def agreements(graph, data, count=None):
    count = int(exchanges(graph)) if count is None else count
    return {
        f"a{i}": Agreement(PeerId(f"a{i}"), len(graph), frozenset(PeerId(f"a{j}") for j in graph[i]), count, SHAPES,
                           partial(data.__getitem__, i), lambda scales, learner: None)
        for i in graph
    }  # fmt: skip


def played(scripts, lost=lambda k, sender, receiver: False, changed=lambda sender, message: message):
    """What each script comes to, in step; some messages lost, some changed, and those that were refused."""
    agreed, refused, k = {}, [], 0
    steps = {me: advance(script, None) for me, script in scripts.items()}
    agreed |= {me: step.metrics for me, step in steps.items() if isinstance(step, Done)}
    while steps := {me: step for me, step in steps.items() if not isinstance(step, Done)}:
        inboxes = {me: {} for me in steps}
        for sender, step in steps.items():
            for peer, message in step.send.items():
                if peer in steps and sender in steps[peer].expect and not lost(k, sender, peer):
                    try:
                        steps[peer].check(sender, changed(sender, message))
                        inboxes[peer][sender] = changed(sender, message)
                    except SpecMismatch as error:
                        refused.append(str(error))
        k += 1
        steps = {me: advance(scripts[me], inboxes[me]) for me in steps}
        agreed |= {me: step.metrics for me, step in steps.items() if isinstance(step, Done)}
    return agreed, refused


def everybody(found, **faults):
    return played({me: agree(each) for me, each in found.items()}, **faults)


def union(data, m):
    """Mean and deviation of all samples that have a modality, in double precision."""
    x = torch.cat([d.having(m) for d in data if m in d.inputs]).double().numpy()
    axes = (0, *range(2, x.ndim))
    return x.mean(axes), x.std(axes), len(x)


def off(scale, data, m):
    """How far a scale is from that of the union, in deviations."""
    mean, deviation, _ = union(data, m)
    unit = np.where(deviation > 0, deviation, 1)
    errors = [
        abs(scale.mean.flatten().numpy() - mean) / unit,
        abs(scale.deviation.flatten().numpy() - deviation) / unit,
    ]
    return max(map(np.max, errors))


def unequal(count):
    return [samples(i, 5 + 7 * i, lacking=("motion",) if i == 2 else ()) for i in range(count)]


@pytest.mark.parametrize("kind", GRAPHS)
def test_all_agree_on_what_numpy_says_of_all_samples(kind):
    graph = GRAPHS[kind]
    data = unequal(len(graph))
    agreed, refused = everybody(agreements(graph, data))
    assert refused == []
    for each in agreed.values():
        assert each.samples == {m: union(data, m)[2] for m in SHAPES}
        assert all(off(each.scales[m], data, m) < 20 * TOLERANCE for m in SHAPES)
        assert each.scales["audio"].deviation.flatten()[3] == 0, "it is the same everywhere"


def test_what_is_constant_at_each_agent_alone_is_not_constant():
    data = [samples(i, 9, constant=i) for i in range(8)]
    agreed, _ = everybody(agreements(GRAPHS["ring"], data))
    assert all(off(each.scales["audio"], data, "audio") < 20 * TOLERANCE for each in agreed.values())


def test_of_what_nobody_has_there_is_no_scale_and_one_agent_alone_has_its_own():
    data = [samples(i, 9, lacking=("motion",)) for i in range(2)]
    for graph, had in ((GRAPHS["two"], data), (nx.empty_graph(1), data[:1])):
        agreed, _ = everybody(agreements(graph, had))
        assert agreed["a0"].scales["motion"].mean is None and agreed["a0"].samples["motion"] == 0
        assert off(agreed["a0"].scales["audio"], had, "audio") < 1e-9


def test_a_value_that_is_no_number_is_named_where_it_is():
    broken = samples(1, 9)
    broken.inputs["audio"][3, 1] = math.nan
    with pytest.raises(ConfigError, match="the data of a1: 'audio' holds a value that is no finite number"):
        everybody(agreements(GRAPHS["two"], [samples(0, 9), broken]))


@pytest.mark.parametrize("kind", GRAPHS)
def test_so_many_exchanges_bring_every_ratio_within_the_tolerance(kind):
    graph = GRAPHS[kind]
    steps = nx.to_numpy_array(graph) + np.eye(len(graph))
    steps /= steps.sum(0)
    settled = steps.sum(0) * 0 + np.array([1 + d for _, d in graph.degree])
    settled = settled / settled.sum()
    k = math.ceil(exchanges_to(graph, TOLERANCE))
    assert abs(np.linalg.matrix_power(steps, k) / settled[:, None] - 1).max() <= TOLERANCE
    if kind not in ("two", "complete"):
        assert abs(np.linalg.matrix_power(steps, k // 2) / settled[:, None] - 1).max() > TOLERANCE
    assert exchanges(graph) == k + SPARE


def test_graphs_that_mix_too_slowly_or_not_at_all():
    assert exchanges(nx.cycle_graph(24)) < MOST < exchanges(nx.cycle_graph(60))
    assert math.isinf(exchanges(nx.empty_graph(3))) and exchanges(nx.empty_graph(1)) == 0
    assert exchanges(nx.star_graph(50)) < 40, "a coordinator and its clients"


def test_what_it_costs_follows_from_the_features_and_the_exchanges():
    found = agreements(GRAPHS["ring"], unequal(8))
    script, sent = agree(found["a0"]), 0
    step = advance(script, None)
    while not isinstance(step, Done):
        sent += sum(message.nbytes for message in step.send.values())
        quiet = {peer: Message({n: torch.zeros_like(x) for n, x in m.tensors.items()}) for peer, m in step.send.items()}
        step = advance(script, quiet)
    features = sum(shape[0] for shape in SHAPES.values())
    assert sent == 2 * found["a0"].exchanges * 32 * (features + len(SHAPES)) == found["a0"].payload


# what goes wrong


def test_lost_messages_are_made_good_by_later_ones():
    data, draw = unequal(8), np.random.default_rng(0)
    agreed, _ = everybody(agreements(GRAPHS["drawn"], data), lost=lambda *_: draw.random() < 0.1)
    for each in agreed.values():
        assert all(off(each.scales[m], data, m) < 1e-3 for m in SHAPES)


def test_all_go_on_without_one_that_falls_silent():
    data = unequal(8)
    agreed, _ = everybody(agreements(GRAPHS["ring"], data), lost=lambda k, sender, _: sender == "a5" and k > 4)
    there = [data[i] for i in range(8) if i != 5]
    assert agreed.keys() == {f"a{i}" for i in range(8)}
    for me in agreed.keys() - {"a5"}:
        spread = union(data, "audio")[1].max()
        assert abs(agreed[me].scales["audio"].mean.flatten().numpy() - union(there, "audio")[0]).max() < spread
        assert all(off(agreed[me].scales[m], data, m) < 1 for m in SHAPES), "no feature is scaled beyond recognition"


def test_nobody_is_waited_for_again_and_again():
    found, waited = agreements(GRAPHS["ring"], unequal(8)), []
    script = agree(found["a0"])
    step = advance(script, None)
    while not isinstance(step, Done):
        waited.append(sorted(step.expect))
        message = step.send["a1"]
        step = advance(script, {"a1": Message({n: torch.zeros_like(x) for n, x in message.tensors.items()})})
    assert waited[: PATIENCE + 1] == PATIENCE * [["a1", "a7"]] + [["a1"]]


def test_one_that_heard_of_nobody_does_not_go_on_with_a_scale_of_its_own():
    with pytest.raises(PeerError, match="a0 heard of no neighbour while all agreed on what inputs are scaled by"):
        everybody(agreements(GRAPHS["two"], unequal(2)), lost=lambda *_: True)


def block(*numbers):
    """A message of the sums of audio and motion, the first block these numbers."""
    return {SUMS: torch.tensor([*numbers, 1.0, 0, 0, 0], dtype=torch.float64), RANGE: torch.zeros(12).double()}


HOSTILE = {
    "shape": {SUMS: torch.zeros(3).double(), RANGE: torch.zeros(12).double()},
    "type": {SUMS: torch.zeros(10), RANGE: torch.zeros(12).double()},
    "nothing": {},
    "no number": block(1, 1, math.nan, 0, 0, 0),
    "infinite": block(1, math.inf, 0, 0, 0, 0),
    "negative count": block(1, -5, 0, 0, 0, 0),
    "negative weight": block(-1, 0, 0, 0, 0, 0),
    "no weight": block(0, 5, 0, 0, 0, 0),
    "too much weight": block(100, 0, 0, 0, 0, 0),
    "too many": block(1, 1e300, 0, 0, 0, 0),
    "no samples": block(1, 0, 3, 0, 0, 0),
    "no such input": block(1, 1, 1e60, 0, 0, 0),
    "range": {SUMS: torch.zeros(10).double(), RANGE: torch.full((12,), math.nan).double()},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_sum_over_samples_is_refused_and_changes_nothing(kind):
    graph, data = GRAPHS["complete"], unequal(4)
    others = [i for i in graph if i != 3]
    changed = lambda sender, message: Message(HOSTILE[kind]) if sender == "a3" else message  # noqa: E731
    agreed, refused = everybody(agreements(graph, data), changed=changed)
    silent, _ = everybody(agreements(graph, data), lost=lambda k, sender, _: sender == "a3")
    assert len(refused) >= len(graph[3])
    for i in others:
        for m in SHAPES:
            mine, theirs = agreed[f"a{i}"].scales[m], silent[f"a{i}"].scales[m]
            assert torch.equal(mine.mean, theirs.mean) and torch.equal(mine.deviation, theirs.deviation)


def test_squares_below_0_are_refused_and_whatever_a_liar_says_the_scale_is_of_numbers():
    def changed(sender, message):
        if sender != "a3":
            return message
        lie = message.tensors[SUMS].clone()
        lie[2:6] = lie[2:6].abs() * (1 if RANGE in message.tensors else -1) + 1e-300
        return Message({**message.tensors, SUMS: lie})

    agreed, refused = everybody(agreements(GRAPHS["complete"], unequal(4)), changed=changed)
    assert any("could be no sums over samples" in each for each in refused)
    x = torch.full((2, 4), 1e30)
    for each in agreed.values():
        assert each.scales["audio"](x).isfinite().all() and each.scales["motion"](torch.ones(2, 2, 5)).isfinite().all()


def test_a_message_that_comes_twice_counts_once():
    found = agreements(GRAPHS["two"], unequal(2))
    phases = {me: agree(each) for me, each in found.items()}
    steps = {me: advance(script, None) for me, script in phases.items()}
    first = {"a1": steps["a1"].send["a0"]}
    step = advance(phases["a0"], first)
    step.check("a1", first["a1"])
    again = advance(phases["a0"], first)
    own = found["a0"].samples().inputs["audio"].double()
    theirs = found["a1"].samples().inputs["audio"].double()
    had = torch.cat([own, theirs])  # a half of either is now on its way back or mine
    assert torch.allclose(again.send["a1"].tensors[SUMS][1], torch.tensor(len(own) / 2 + len(had) / 4).double())


def test_a_message_that_is_older_than_one_that_came_is_not_read():
    found = agreements(GRAPHS["two"], unequal(2))
    first, second = (
        Message({SUMS: k * torch.tensor([0.1, 5, 1, 1, 1, 1, 0.1, 1, 1, 1]).double(), RANGE: torch.zeros(12).double()})
        for k in (1, 2)
    )

    def given(*messages):
        script = agree(found["a0"])
        step = advance(script, None)
        for message in messages:
            if message is not None:
                step.check("a1", message)
            step = advance(script, {} if message is None else {"a1": message})
        return step.send["a1"].tensors[SUMS]

    assert torch.equal(given(first, second, first, None), given(first, second, None, None))


# who comes later


def joined(messages, classes=0):
    agreement = replace(agreements(GRAPHS["two"], unequal(2))["a0"], classes=classes)
    script = hear(agreement, set(messages))
    step = advance(script, None)
    came = {}
    for peer, message in messages.items():
        try:
            step.check(peer, message)
            came[peer] = message
        except SpecMismatch:
            pass
    return advance(script, came).metrics


def test_one_that_comes_later_hears_it_from_all_and_believes_no_single_one():
    agreement = agreements(GRAPHS["two"], unequal(2))["a1"]
    scales = {"audio": Scale.given([1, 2, 3, 4], [1, 1, 0, 5], 1), "motion": Scale.none()}
    step = advance(send(agreement, Agreed(scales), {PeerId("a0")}), None)
    message = step.send["a0"]
    lie = {name: 1e9 + x for name, x in message.tensors.items()}
    bad = {name: -torch.ones_like(x) for name, x in message.tensors.items()}
    agreed = joined({"a1": message, "a2": Message(lie), "a3": message, "a4": Message(bad), "a5": Message()})
    assert torch.equal(agreed.scales["audio"].mean, scales["audio"].mean)
    assert torch.equal(agreed.scales["audio"].deviation, scales["audio"].deviation)
    assert agreed.scales["motion"].mean is None
    with pytest.raises(PeerError, match="nobody said what a0, which comes later, is to scale inputs by"):
        joined({"a4": Message(bad), "a5": Message({f"{AGREED}/audio": torch.zeros(3).double()})})


def test_one_that_comes_later_hears_how_frequent_classes_are():
    agreement = agreements(GRAPHS["two"], unequal(2))["a1"]
    agreed = Agreed(dict.fromkeys(SHAPES, Scale.none()), frequencies=torch.tensor([0.25, 0.75]).double())
    message = advance(send(agreement, agreed, {PeerId("a0")}), None).send["a0"]
    [name] = [each for each in message.tensors if "classes" in each]
    others = {
        "a2": Message({**message.tensors, name: torch.tensor([1e9, 1.0]).double()}),
        "a4": Message({**message.tensors, name: torch.tensor([-1.0, 2.0]).double()}),
        "a5": Message({n: x for n, x in message.tensors.items() if n != name}),
    }
    apart = [Message({**message.tensors, name: torch.tensor(x).double()}) for x in ([0.3, 0.7], [0.2, 0.8], [0.1, 0.9])]
    found = joined({"a1": message, "a3": message, **others}, classes=2)
    assert joined(dict(zip(("a1", "a2", "a3"), apart, strict=True)), classes=2).frequencies.tolist() == [0.2, 0.8]
    apart[0].tensors[name][1] = 1.6
    assert joined(dict(zip(("a1", "a2", "a3"), apart, strict=True)), classes=2).frequencies.sum() == 1
    assert torch.equal(found.frequencies, agreed.frequencies) and joined({"a5": others["a5"]}).frequencies is None
    with pytest.raises(PeerError, match="nobody said"):
        joined({"a4": others["a4"], "a5": others["a5"]}, classes=2)


class Counted:
    """Reads the rows of a tensor, and knows how many at most."""

    def __init__(self, x):
        self.x, self.shape, self.most = x, tuple(x.shape), 0

    def read(self, rows):
        self.most = max(self.most, len(rows))
        return self.x.numpy()[rows]


def test_rows_are_added_up_in_parts_no_larger_than_what_is_read_at_once(monkeypatch):
    data = unequal(2)
    whole, _ = everybody(agreements(GRAPHS["two"], data))
    monkeypatch.setattr(lazy, "PIECE", 4 * 2 * 5 * 4)  # four samples of motion
    parts, _ = everybody(agreements(GRAPHS["two"], data))
    readers = [{m: Counted(x) for m, x in each.inputs.items()} for each in data]
    held = [
        replace(each, inputs={m: LazyInput.of(reader) for m, reader in mine.items()})
        for each, mine in zip(data, readers, strict=True)
    ]
    lazily, _ = everybody(agreements(GRAPHS["two"], held))
    assert max(mine["motion"].most for mine in readers) == 4
    for m in SHAPES:
        assert torch.allclose(whole["a0"].scales[m].deviation, parts["a0"].scales[m].deviation, rtol=1e-9)
        assert torch.equal(lazily["a0"].scales[m].deviation, parts["a0"].scales[m].deviation)

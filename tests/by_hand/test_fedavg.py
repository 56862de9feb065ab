"""FedAvg and FedProx: rounds of three-slice networks, computed from formulas."""

import math
from itertools import combinations

import pytest
import torch
from by_hand import PLAIN, TRAIN, averaged, cross_entropy, hands, linear, log_softmax, same, trunk, unit
from plans import finished, plan

from parse_p2p.core.rng import seeded
from parse_p2p.methods.fedavg import Options

ROUNDS = 3
MIX = {"audio": 1, "audio+motion": 1}
SLICES = ("redundant", "unique", "synergistic")
DEFAULTS = {"branch": 1.0, "detach": False, "contrast": 0.0, "supervised": False, "temperature": 0.2, "align": 0.0,
            "orthogonal": 5.0, "synergy": "apart", "clients": 0, "quorum": 1, "mu": 0.0}  # fmt: skip
OFF = {"modality": 0.0, "teach": 0.0, "factor": 0.0, "scope": "slices"}
"""Options that other tests hold to their formulas, as they are by default."""


def run_of(method="fedavg", train=TRAIN, **options):
    model = {"latent": 9, "hidden": 5, "encoder": {"width": 6, "depth": 1}}
    return plan(
        MIX,
        method=method,
        data={"samples": 60},
        model=model,
        train=train | {"batch": 10, "lr": 0.05},  # slow enough that float32 and double meet the same rectifiers
        rounds=ROUNDS,
        options=options,
    )


def latents(values, m, x):
    features = trunk(values, m, x)
    there = [kind for kind in SLICES if f"rows.m·{m}.m·{kind}.weight" in values]
    return {kind: linear(values, f"rows.m·{m}.m·{kind}", features) for kind in there}


def heads(values, z):
    """The logits of every view, by branch."""
    said = {"redundant": [linear(values, "heads.m·redundant", z[m]["redundant"]) for m in z]}
    said |= {f"unique.{m}": [linear(values, f"heads.m·unique·{m}", z[m]["unique"])] for m in z}
    if len(z) > 1:
        one, other = (linear(values, f"heads.m·synergistic.factors.{i}", z[m]["synergistic"]) for i, m in enumerate(z))
        said["synergistic"] = [(one * other) @ values["heads.m·synergistic.head.weight"].T]
    return said


def correlation(a, b):
    a, b = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in (a, b))
    return (a.T @ b / len(a)).square().mean()


def contrasted(a, b, targets, o):
    """Each row's positives: itself in the other modality, or all of its class."""
    scores = unit(a) @ unit(b).T / o["temperature"]
    alike = targets[:, None] == targets[None, :] if o["supervised"] else torch.eye(len(a), dtype=torch.bool)
    ways = [-sum(log_softmax(s)[i][alike[i]].mean() for i in range(len(a))) / len(a) for s in (scores, scores.T)]
    return (ways[0] + ways[1]) / 2


def distance(a, b):
    spread = (a.var(0, unbiased=False).mean() + b.var(0, unbiased=False).mean()) / 2
    return (a - b).square().mean() / (spread + 1e-6)


def loss(hand, rows, o):
    def of(values):
        y = hand.targets[rows]
        z = {m: latents(values, m, hand.inputs[m][rows]) for m in hand.modalities}
        said = heads(values, z)
        joint = o["synergy"] == "joint" or len(z) == 1
        others = sum(sum(views) / len(views) for name, views in said.items() if joint or name != "synergistic")
        value = cross_entropy(others, y)
        if not joint:
            if o["synergy"] == "apart":
                each = zip(said["redundant"], (said[f"unique.{m}"][0] for m in z), strict=True)
                value = torch.stack([cross_entropy(redundant + unique, y) for redundant, unique in each]).sum()
            value = value + cross_entropy(others.detach() + said["synergistic"][0], y)
        own = z if not o["detach"] else {m: {k: x.detach() for k, x in each.items()} for m, each in z.items()}
        for views in (views for name, views in heads(values, own).items() if joint or name != "synergistic"):
            value = value + o["branch"] * sum(cross_entropy(v, y) for v in views) / len(views)
        if len(z) > 1:
            a, b = (z[m]["redundant"] for m in z)
            value = value + o["contrast"] * contrasted(a, b, y, o) + o["align"] * distance(a, b)
        pairs = [pair for each in z.values() for pair in combinations(each.values(), 2)]
        pairs += combinations([each["unique"] for each in z.values()], 2)
        return value + o["orthogonal"] * sum(correlation(a, b) for a, b in pairs) / len(pairs)

    return of


def by_hand(w, options, pace=lambda round: 1.0, share=0.0):
    o = DEFAULTS | options
    everyone = hands(w)
    hub = everyone.pop("hub")
    for round in range(ROUNDS):
        who = chosen(sorted(everyone), o["clients"], round)
        began = {me: dict(hand.values) for me, hand in everyone.items()}
        for me in who:
            hand = everyone[me]
            hand.round, hand.pace, start = round, pace(round), dict(hand.values)
            for rows in hand.batches():
                pull = {n: o["mu"] * (x - start[n]) for n, x in hand.values.items()} if o["mu"] else None
                hand.step(loss(hand, rows, o), pull=pull)
        if len(who) >= o["quorum"]:
            sent = [(everyone[me].count, everyone[me].values) for me in who]
            hub.values |= {name: averaged(sent, name) for name in set().union(*(v for _, v in sent))}
        for me in chosen(sorted(everyone), o["clients"], round + 1):
            mine = everyone[me].values
            mine |= {name: hub.values[name] for name in mine}
        for me in everyone if share else ():
            everyone[me].look_back(began[me], share)
    return everyone | {"hub": hub}


def chosen(peers, clients, round):
    """Drawn anew each round; all are served after the last one."""
    if not clients or round == ROUNDS:
        return peers
    draw = torch.randperm(len(peers), generator=seeded(0, "clients", round))
    return sorted(peers[i] for i in draw[:clients].tolist())


CASES = [{}, {"branch": 0.4}, {"branch": 0.7, "detach": True}, {"contrast": 0.5},
         {"contrast": 0.9, "temperature": 0.6}, {"contrast": 0.5, "supervised": True}, {"align": 0.3},
         {"orthogonal": 0.5}, {"synergy": "joint"}, {"synergy": "remainder"}, {"clients": 1},
         {"quorum": 3}]  # fmt: skip


def test_these_are_the_defaults():
    assert Options().model_dump() | {"deadline": 0.0, "mu": 0.0} == DEFAULTS | OFF | {"deadline": 0.0}


@pytest.fixture(scope="module")
def plain():
    return finished(run_of())[0]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_fedavg_is_what_the_formulas_say(options, plain):
    w = run_of(**options)
    ended, want = finished(w)[0], by_hand(w, options)
    assert len({want[me].count for me in w.peers}) > 1, "unequal shares are the point"
    assert [me for me in want if not same(ended[me], want[me])] == []
    if options:
        assert not all(same(plain[me], want[me]) for me in want), "the option must matter"


@pytest.mark.parametrize("options", [{}, {"clients": 1}], ids=str)
def test_by_default_its_rate_falls_along_a_cosine_and_momentum_is_quasi_global(options, plain):
    w = run_of(train={key: value for key, value in TRAIN.items() if key not in PLAIN}, **options)
    want = by_hand(w, options, lambda round: (1 + math.cos(math.pi * round / ROUNDS)) / 2, share=0.8)
    ended = finished(w)[0]
    assert [me for me in want if not same(ended[me], want[me])] == []
    assert not any(same(plain[me], want[me]) for me in want)


@pytest.mark.parametrize("mu", [0.01, 0.7])
def test_fedprox_pulls_towards_what_the_round_began_with(mu, plain):
    w = run_of("fedprox", mu=mu)
    ended, want = finished(w)[0], by_hand(w, {"mu": mu})
    assert [me for me in want if not same(ended[me], want[me])] == []
    assert not all(same(plain[me], want[me]) for me in want)


def test_fedprox_pulls_by_one_hundredth_by_default():
    w = run_of("fedprox")
    ended, want = finished(w)[0], by_hand(w, {"mu": 0.01})
    assert all(same(ended[me], want[me]) for me in want)

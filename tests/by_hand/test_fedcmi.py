"""FedCMI: rounds computed from its formulas (a frozen global teacher, temperatures by class, averages by modality)."""

import pytest
import torch
from by_hand import TRAIN, averaged, cross_entropy, hands, linear, log_softmax, same, trunk
from plans import finished, plan

from parse_p2p.methods.fedcmi import Options

ROUNDS = 3
MIX = {"audio": 1, "audio+motion": 2}
DEFAULTS = {"branch": 0.0, "lambda1": 2.0, "lambda2": 1.0, "warm_up": 1, "infiltration": "projector", "kappa": 2.0,
            "direction": "batch_local", "class_wise": "temperature", "cta_sign": -1, "personalised": False, "mu": 0.0,
            "clients": 0, "quorum": 1, "detach": False}  # fmt: skip


def run_of(mix=MIX, **options):
    model = {"latent": 4, "encoder": {"width": 6, "depth": 1}}
    data = {"samples": 80, "atoms": ["redundant", "unique"]}
    return plan(
        mix, method="fedcmi", data=data, model=model, train=TRAIN | {"batch": 12}, rounds=ROUNDS, options=options
    )


def projected(values, kind, m, x):
    return linear(values, f"{kind}.m·{m}", trunk(values, m, x))


def classified(values, m, feature):
    return linear(values, f"classifiers.m·{m}", feature)


def said(values, x):
    """s, i, the fused logits z, and z_m^s by modality."""
    selves = {m: projected(values, "selves", m, each) for m, each in x.items()}
    others = {m: projected(values, "infiltrations", m, each) for m, each in x.items()}
    filled = sum(others.values()) / len(others)
    slots = [selves.get(m, filled) for m in ("audio", "motion")]
    fused = linear(values, "fusion", torch.cat(slots, 1))
    return fused, {m: classified(values, m, s) for m, s in selves.items()}, others


def mass(logits, y):
    return log_softmax(logits).exp()[torch.arange(len(y)), y]


def steepness(hand, teacher, kappa):
    """1/τ of every class, by the frozen model on all samples of the client."""
    own, y = said(teacher, hand.inputs)[1], hand.targets
    present = [c for c in range(hand.classes) if (y == c).any()]
    ratio = {c: float(mass(own["audio"], y)[y == c].mean() / mass(own["motion"], y)[y == c].mean()) for c in present}
    mean = sum(ratio.values()) / len(ratio)
    steep = torch.ones(hand.classes, dtype=torch.float64)
    for c, r in ratio.items():
        q = r / mean if mean > 1 else (1 / r) / (1 / mean)
        steep[c] = 1 + kappa * torch.tensor(q).log() if q > 1 else 1.0
    return steep


def loss(hand, rows, o, teacher, steep):
    def of(values):
        y, x = hand.targets[rows], {m: each[rows] for m, each in hand.inputs.items()}
        fused, own, others = said(values, x)
        value = cross_entropy(fused, y) + o["branch"] * sum(cross_entropy(z, y) for z in own.values())
        if len(own) == 1:
            return value
        value = value + o["lambda1"] * sum(cross_entropy(z, y) for z in own.values())
        if hand.round < o["warm_up"] or o["infiltration"] == "none":
            return value
        if o["direction"] == "client_global":
            known = said(teacher, hand.inputs)[1]
            ahead = mass(known["audio"], hand.targets).sum() > mass(known["motion"], hand.targets).sum()
        else:
            ahead = mass(own["audio"], y).sum() > mass(own["motion"], y).sum()
        strong, weak = ("audio", "motion") if ahead else ("motion", "audio")
        student = classified(values, weak, others[weak]) if o["infiltration"] == "projector" else own[weak]
        tau = steep[y][:, None] ** o["cta_sign"] if o["class_wise"] == "temperature" else torch.ones(len(y), 1)
        weight = steep[y] if o["class_wise"] == "weight" else torch.ones(len(y))
        target = log_softmax(said(teacher, x)[1][strong] / tau).exp()
        return value - o["lambda2"] * (weight * (target * log_softmax(student / tau)).sum(1)).mean()

    return of


def resting(hand, o):
    """What no loss reaches, and decay does not either."""
    distils = len(hand.modalities) > 1 and hand.round >= o["warm_up"] and o["infiltration"] != "none" and o["lambda2"]
    names = []
    if not (o["branch"] or (len(hand.modalities) > 1 and o["lambda1"]) or distils):
        names.append("classifiers.")
    if len(hand.modalities) > 1 and not (distils and o["infiltration"] == "projector"):
        names.append("infiltrations.")
    return tuple(names)


def by_hand(w, options):
    o = DEFAULTS | options
    everyone = hands(w)
    hub = everyone.pop("hub")
    kept = ("infiltrations.", "classifiers.") if o["personalised"] else ()
    for round in range(ROUNDS):
        for hand in everyone.values():
            hand.round, teacher = round, dict(hand.values)
            steep = steepness(hand, teacher, o["kappa"]) if len(hand.modalities) > 1 else None
            for rows in hand.batches():
                moving = [name for name in hand.values if not name.startswith(resting(hand, o))]
                shared = [name for name in hand.values if not name.startswith(kept)]
                pull = {n: o["mu"] * (hand.values[n] - teacher[n]) for n in shared if n in moving} if o["mu"] else None
                hand.step(loss(hand, rows, o, teacher, steep), moving.__contains__, pull=pull)
        sent = [(hand.count, hand.values) for hand in everyone.values()]
        hub.values |= {name: averaged(sent, name) for name in hub.values if not name.startswith(kept)}
        for hand in everyone.values():
            hand.values |= {name: hub.values[name] for name in hand.values if not name.startswith(kept)}
    return everyone | {"hub": hub}


CASES = [{}, {"lambda1": 0.5}, {"lambda1": 0.0}, {"lambda2": 0.3}, {"branch": 0.6, "lambda1": 0.0, "warm_up": 9},
         {"kappa": 0.7}, {"warm_up": 0}, {"warm_up": 2}, {"infiltration": "none"}, {"infiltration": "self"},
         {"direction": "client_global"}, {"class_wise": "weight"}, {"class_wise": "none"}, {"cta_sign": 1},
         {"mu": 0.4}, {"personalised": True}]  # fmt: skip


def test_these_are_the_defaults():
    assert Options().model_dump() == DEFAULTS | {"deadline": 0.0}


@pytest.fixture(scope="module")
def plain():
    return finished(run_of())[0]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_fedcmi_is_what_the_formulas_say(options, plain):
    w = run_of(**options)
    ended, want = finished(w)[0], by_hand(w, options)
    assert [me for me in want if not same(ended[me], want[me])] == []
    if options:
        assert not all(same(plain[me], want[me]) for me in want), "the option must matter"


def test_another_modality_may_be_the_one_that_more_clients_have():
    w = run_of({"motion": 1, "audio+motion": 2}, kappa=3.0)
    ended, want = finished(w)[0], by_hand(w, {"kappa": 3.0})
    assert [me for me in want if not same(ended[me], want[me])] == []

"""FedAFD: rounds computed from its formulas (a game for alignment, gates with the coordinator's view, an ensemble)."""

import pytest
import torch
from by_hand import linear, public_rows, same
from by_hand_public import CASES, COMMON, OTHER, WIDTH, by_hand, encoders, opened, rows, run_of, task
from plans import finished

from parse_p2p.core.rng import seeded
from parse_p2p.methods.public_data.fedafd import Options

DEFAULTS = COMMON | {"gamma": 0.4, "variant": "paper", "baa": True, "gff": True, "sed": True, "beta": 0.5,
                     "saturating": False, "discriminator_rate": 10.0, "gate_rate": 1.0}  # fmt: skip


def judged(values, level, m, x):
    """The logit of a discriminator, which reads rows of variance one."""
    h = WIDTH**0.5 * x
    for layer in "13":
        h = linear(values, f"{level}.m·{m}.{layer}", h)
        h = torch.where(h > 0, h, 0.2 * h)
    return linear(values, f"{level}.m·{m}.5", h)


def likelihood(values, level, m, x, o):
    p = judged(values, level, m, x).sigmoid()
    return p.sigmoid() if o["variant"] == "code" else p


def serving(m, o):
    """Whose gates and discriminators serve a modality: the code has one set, that of the first."""
    return "audio" if o["variant"] == "code" else m


def align(hand, hub, g, o, epoch):
    for at in public_rows(hand, hub.count, o["public_batch"], "align", epoch):

        def tell_apart(values, at=at):
            value = torch.zeros(1)
            for m in hand.modalities:
                u = rows(values, m, hub.inputs[m][at]).detach()
                for level, real in (("intra", g[m]), ("cross", g[OTHER[m]])):
                    value = value - likelihood(values, level, serving(m, o), real[at], o).log()
                    value = value - (1 - likelihood(values, level, serving(m, o), u, o)).log()
            return value.mean()

        def deceive(values, at=at):
            value = torch.zeros(1)
            for m in hand.modalities:
                u = rows(values, m, hub.inputs[m][at])
                for level in ("intra", "cross"):
                    p = likelihood(values, level, serving(m, o), u, o)
                    value = value + ((1 - p).log() if o["saturating"] else -p.log())
            return value.mean()

        weight = o["beta"] if o["variant"] == "code" else 1.0
        hand.step(tell_apart, lambda name: name.startswith(("intra.", "cross.")), objective="telling", game=True,
                  weight=weight, rate=lambda name: o["discriminator_rate"])  # fmt: skip
        hand.step(deceive, encoders, objective="passing", game=True, weight=o["beta"])


def redraw(hand):
    """The gates that serve all modalities, as new: uniform in ±1/√fan_in, norms at 1 and 0, no momentum."""
    draw = seeded(0, hand.me, hand.round, "gate")
    for branch in ("first.0", "first.1", "second.0", "second.1"):
        for layer in "03":
            name = f"gates.m·audio.{branch}.{layer}"
            bound = hand.values[f"{name}.weight"].shape[1] ** -0.5
            for part in ("weight", "bias"):
                fresh = torch.empty(hand.values[f"{name}.{part}"].shape)
                hand.values[f"{name}.{part}"] = fresh.uniform_(-bound, bound, generator=draw).double()
        for layer in "14":
            for part, value in (("weight", 1.0), ("bias", 0.0)):
                name = f"gates.m·audio.{branch}.{layer}.{part}"
                hand.values[name] = torch.full_like(hand.values[name], value)
    task_velocity = hand.velocity.get("", {})
    for name in [name for name in task_velocity if name.startswith("gates.m·audio.")]:
        del task_velocity[name]


def learn(hand, hub, g, fixed, o):
    if o["variant"] == "code" and o["gff"]:
        redraw(hand)
    passes = list(hand.batches())
    each = len(passes) // hand.train["epochs"]

    def features(values, m, x):
        u = rows(values, m, x)
        if not o["gff"]:
            return u
        return opened(values, serving(m, o), u, rows(fixed, m, x), o["variant"] == "code")

    resting = ("intra.", "cross.") if o["gff"] else ("intra.", "cross.", "gates.")
    for epoch in range(hand.train["epochs"]):
        if o["baa"] and o["beta"]:
            align(hand, hub, g, o, epoch)
        for at in passes[epoch * each : (epoch + 1) * each]:

            def loss(values, at=at):
                mixed = {m: features(values, m, hand.inputs[m][at]) for m in hand.modalities}
                return task(values, mixed, hand.targets[at], o, o["branch"])

            hand.step(loss, lambda name: not name.startswith(resting),
                      rate=lambda name: o["gate_rate"] if name.startswith("gates.") else 1.0)  # fmt: skip


OWN = [{}, {"beta": 0.2}, {"beta": 0.0}, {"discriminator_rate": 2.0}, {"gate_rate": 0.3}, {"saturating": True},
       {"baa": False}, {"gff": False}, {"sed": False}, {"variant": "code"}, {"variant": "code", "beta": 0.9},
       {"variant": "code", "gff": False}]  # fmt: skip


def test_these_are_the_defaults():
    assert Options().model_dump() == DEFAULTS | {"deadline": 0.0}


@pytest.fixture(scope="module")
def plain():
    return finished(run_of("fedafd"))[0]


@pytest.mark.parametrize("options", [*OWN, *CASES], ids=str)
def test_fedafd_is_what_the_formulas_say(options, plain):
    w = run_of("fedafd", **options)
    o = DEFAULTS | options
    ended = finished(w)[0]
    want = by_hand(w, o, learn, lambda g, m: g[m] if o["sed"] else None, squared=o["variant"] == "code")
    assert [me for me in want if not same(ended[me], want[me])] == []
    if options:
        assert not all(same(plain[me], want[me]) for me in want), "the option must matter"

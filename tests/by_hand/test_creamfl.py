"""CreamFL: rounds computed from its formulas (contrasts with global rows, an ensemble scored across modalities)."""

import pytest
import torch
from by_hand import cross_entropy, public_rows, same
from by_hand_public import CASES, COMMON, OTHER, by_hand, encoders, rows, run_of, task
from plans import finished

from parse_p2p.methods.public_data.creamfl import Options

DEFAULTS = COMMON | {"gamma": 0.3, "beta": 0.5, "contrast_temperature": 0.5}


def learn(hand, hub, g, fixed, o):
    before = {m: rows(hand.values, m, hub.inputs[m]) for m in hand.modalities}
    passes = list(hand.batches())
    each = len(passes) // hand.train["epochs"]
    for epoch in range(hand.train["epochs"]):
        for at in passes[epoch * each : (epoch + 1) * each]:

            def loss(values, at=at):
                u = {m: rows(values, m, hand.inputs[m][at]) for m in hand.modalities}
                return task(values, u, hand.targets[at], o, o["branch"])

            hand.step(loss, lambda name: not name.startswith(("gates.", "intra.", "cross.")))
        for at in public_rows(hand, hub.count, o["public_batch"], "contrast", epoch) if o["beta"] else ():

            def contrast(values, at=at):
                value = torch.zeros(())
                for m in hand.modalities:
                    u = rows(values, m, hub.inputs[m][at])
                    two = torch.stack([(u * g[m][at]).sum(1), (u * before[m][at]).sum(1)], 1)
                    value = value + cross_entropy(
                        two / o["contrast_temperature"], torch.zeros(len(at), dtype=torch.long)
                    )
                    value = value + cross_entropy(u @ g[OTHER[m]].T / o["contrast_temperature"], at)
                return value

            hand.step(contrast, encoders, objective="contrast", weight=o["beta"])


def test_these_are_the_defaults():
    assert Options().model_dump() == DEFAULTS | {"deadline": 0.0}


@pytest.fixture(scope="module")
def plain():
    return finished(run_of("creamfl"))[0]


@pytest.mark.parametrize("options", [{}, {"beta": 0.2}, {"beta": 0.0}, {"contrast_temperature": 0.9}, *CASES], ids=str)
def test_creamfl_is_what_the_formulas_say(options, plain):
    w = run_of("creamfl", **options)
    ended = finished(w)[0]
    want = by_hand(w, DEFAULTS | options, learn, lambda g, m: g[OTHER[m]], squared=True)
    assert [me for me in want if not same(ended[me], want[me])] == []
    if options:
        assert not all(same(plain[me], want[me]) for me in want), "the option must matter"

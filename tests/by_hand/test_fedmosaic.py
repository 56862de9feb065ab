"""FedMosaic: rounds computed from its formulas; backbones and frames are taken as they were handed out.

How frames are aligned is held by tests/unit/models/lora.
"""

import pytest
import torch
from by_hand import SEED, TRAIN, cross_entropy, hands, linear, log_softmax, same, shuffled, standard, trunk
from mosaics import mosaic
from plans import finished

from parse_p2p.core.rng import seeded
from parse_p2p.methods.fedmosaic.fedmosaic import Options

ROUNDS = 3
SMALL, LARGE = {"width": 5, "depth": 2}, {"width": 6, "depth": 3}
KINDS = [("audio+motion", SMALL), ("audio", LARGE), ("motion", LARGE), ("audio+motion", LARGE)]
SLOTS = {5: {"0": "0", "1": "1"}, 6: {"0": "0", "1": "2"}}  # by width: the last layer of each block
DEFAULTS = {"branch": 0.0, "relevance": "rela", "similarity": "flat", "tau": 0.5, "rate": 0.1, "pq_rate": 2.5,
            "share_lora": True, "every": 5, "keep": 0.4, "mask": "random", "noise": 0.05, "ema": 0.5, "clients": 0,
            "quorum": 1, "forget": 5, "pretraining": 300, "b_align": "adapter_cca", "detach": False}  # fmt: skip
GIVEN = {"pretraining": 2, "every": 2, "rate": 1.0}
EPOCHS, BATCH = 2, 16
SLOWLY = TRAIN | {"lr": 0.05, "batch": BATCH, "epochs": EPOCHS}


def run_of(**options):
    model = {"encoder": SMALL, "rank": 2, "blocks": 2}
    return mosaic(KINDS, GIVEN | options, model=model, data={"samples": 120}, train=SLOWLY)


def layers(values):
    return sorted({name.split(".")[1] for name in values if name.startswith("layers.")})


def normal(x):
    return standard(x)


def logits(values, x, added=lambda layer, role, h: 0.0):
    x = sum(trunk(values, m, each) for m, each in x.items()) / len(x)
    for i in layers(values):
        h = normal(x)
        h = (linear(values, f"layers.{i}.up", h) + added(i, "in", h)).clamp(min=0)
        x = x + linear(values, f"layers.{i}.down", h) + added(i, "out", h)
    return linear(values, "head", normal(x))


def adapted(values, fixed, received):
    """What the adapters add: mine and the received ones, by a gate."""

    def added(layer, role, h):
        name = f"adapters.m·{layer}·{role}"

        def branch(own):
            if f"{name}.P" in values:
                return (h @ fixed[f"{name}.A"].T @ own[f"{name}.P"].T + own[f"{name}.Q"]) @ fixed[f"{name}.B"].T
            return h @ own[f"{name}.A"].T @ own[f"{name}.B"].T

        g = torch.sigmoid(values[f"{name}.gate.beta"])
        return 2 * ((1 - g) * branch(values) + g * branch(received))

    return added


def sketch(hand, probe, draw, o):
    """The gradient of the pivot's last map below the head on every so many minibatches: some rows of it, with noise."""
    [*_, last] = layers(probe)
    width, name = len(probe["head.weight"][0]), f"layers.{last}.down.weight"
    count = max(1, int(o["keep"] * width))
    rows = torch.arange(count)
    if o["mask"] == "random":
        rows = torch.randperm(width, generator=seeded(SEED, "mask"))[:count].sort().values
    noise, found = seeded(SEED, hand.me, "sketch", hand.round), []
    batches = [at for _ in range(EPOCHS) for at in shuffled(hand.count, BATCH, draw)]
    for at in batches[:: o["every"]]:
        weight = probe[name].clone().requires_grad_()
        said = logits(probe | {name: weight}, {m: x[at] for m, x in hand.inputs.items()})
        [g] = torch.autograd.grad(cross_entropy(said, hand.targets[at]), [weight])
        g = g[rows]
        found.append(g + o["noise"] * g.square().mean().sqrt() * torch.randn(g.shape, generator=noise))
    return sum(found) / len(found)


def alike(a, b, o):
    """Cosine of two sketches, or the mean over those of their columns."""
    a, b = (x.flatten()[:, None] if o["similarity"] == "flat" else x for x in (a, b))
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).mean()


def shared(hand, lora=True):
    return {n for n in hand.values if n.endswith((".P", ".Q")) or (lora and n.endswith((".A", ".B")))}


def slot(hand, name):
    """The name that an adapter has on the wire: that of its block, not of its layer."""
    _, where, tensor = name.split(".")
    layer, role = where.removeprefix("m·").split("·")
    block = {there: b for b, there in SLOTS[hand.width].items()}.get(layer)
    return f"{block}.{role}.{tensor}" if tensor in "PQ" else f"{layer}.{role}.{tensor}"


def mixed(me, everyone, latest, o):
    """What a client is sent: averages of the others' latest adapters, those that fit, by relevance."""
    given = {}
    for name in shared(everyone[me]):
        key = slot(everyone[me], name)
        width = None if name.endswith((".P", ".Q")) else everyone[me].width
        from_ = [p for p in sorted(latest) if p != me and key in latest[p][0] and width in (None, everyone[p].width)]
        if not from_:
            continue
        known = o["relevance"] == "rela" and me in latest
        scores = [alike(latest[me][1], latest[p][1], o) if known else torch.tensor(0.0) for p in from_]
        weights = log_softmax(torch.stack(scores)[None].double() / o["tau"])[0].exp()
        given[name] = sum(w * latest[p][0][key] for w, p in zip(weights, from_, strict=True))
    return given


def chosen(peers, clients, round):
    draw = torch.randperm(len(peers), generator=seeded(SEED, "clients", round)).tolist()
    return sorted(peers[i] for i in draw[: clients or None])


def by_hand(w, o, ended):
    everyone = hands(w)
    hub = everyone.pop("hub")
    fixed = {me: {n: b.double() for n, b in ended[me].learner.model.named_buffers()} for me in ended}
    received, heard, latest, sketches = {}, set(), {}, {}
    for me, hand in [*everyone.items(), ("hub", hub)]:
        hand.width = fixed[me]["head.weight"].shape[1]
    for round in range(ROUNDS):
        who = chosen(sorted(everyone), o["clients"], round)
        sent = {me: mixed(me, everyone, latest, o) for me in who}
        arrived, heard = {}, heard | {me for me in sent if sent[me]}
        for me, hand in everyone.items():
            if sent.get(me) or me not in heard:  # what came, and a copy of my own for what did not
                received[me] = {name: hand.values[name] for name in shared(hand)} | sent.get(me, {})
        for me in who:
            hand = everyone[me]
            hand.round, draw = round, seeded(SEED, me, round)
            for at in [at for _ in range(EPOCHS) for at in shuffled(hand.count, BATCH, draw)]:

                def loss(values, hand=hand, at=at, me=me):
                    added = adapted(values, fixed[me], received[me])
                    said = logits(fixed[me], {m: x[at] for m, x in hand.inputs.items()}, added)
                    return (1 + o["branch"]) * cross_entropy(said, hand.targets[at])

                hand.step(loss, rate=lambda name: o["rate"] * (o["pq_rate"] if name.endswith((".P", ".Q")) else 1.0))
            if o["relevance"] == "rela":
                new = sketch(hand, fixed["a0"], draw, o)
                sketches[me] = new if me not in sketches else o["ema"] * new + (1 - o["ema"]) * sketches[me]
            names = shared(hand, o["share_lora"])
            arrived[me] = ({slot(hand, name): hand.values[name] for name in names}, sketches.get(me))
        if len(arrived) >= o["quorum"]:
            latest |= arrived
            for name in shared(hub):
                there = [up[slot(hub, name)] for up, _ in latest.values()]
                hub.values[name] = sum(there) / len(there)
    return everyone | {"hub": hub}, sketches


CASES = [{}, {"branch": 0.5}, {"relevance": "uniform"}, {"similarity": "column"}, {"tau": 0.1}, {"pq_rate": 1.3},
         {"rate": 0.3}, {"share_lora": False}, {"every": 1}, {"keep": 0.9}, {"mask": "prefix"}, {"noise": 0.9},
         {"ema": 0.8}, {"clients": 2}, {"quorum": 5}]  # fmt: skip


def test_these_are_the_defaults():
    assert Options().model_dump() == DEFAULTS | {"deadline": 0.0}


@pytest.fixture(scope="module")
def plain():
    return finished(run_of())[0]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_fedmosaic_is_what_the_formulas_say(options, plain):
    w = run_of(**options)
    ended = finished(w)[0]
    want, sketches = by_hand(w, DEFAULTS | GIVEN | options, ended)
    assert [me for me in want if not same(ended[me], want[me])] == []
    for me, found in sketches.items():
        torch.testing.assert_close(ended[me].memory["sketch"].double(), found, rtol=1e-3, atol=1e-6)
    if options:
        assert not all(same(plain[me], want[me]) for me in want), "the option must matter"

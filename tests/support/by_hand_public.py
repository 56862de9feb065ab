"""Rounds of the methods with a public set, computed from formulas: what FedAFD and CreamFL have in common."""

import torch
from by_hand import (
    TRAIN,
    Hand,
    Values,
    cross_entropy,
    hands,
    linear,
    log_softmax,
    perceptron,
    public_rows,
    standard,
    trunk,
    unit,
)
from plans import plan
from torch import Tensor

from parse_p2p.core.rng import seeded

ROUNDS = 2
MIX = {"audio": 1, "audio+motion": 1}
OTHER = {"audio": "motion", "motion": "audio"}
WIDTH = 16  # a quarter of it passes a norm in the gates, which must not be two numbers
COMMON = {"branch": 1.0, "detach": False, "clients": 0, "quorum": 1, "server_task": "retrieval", "server_epochs": 1,
          "server_rate": 1.0, "server_temperature": 0.1, "public_batch": 32}  # fmt: skip
CASES = [{"branch": 0.3}, {"detach": True}, {"gamma": 0.9}, {"gamma": 0.0}, {"server_task": "both", "branch": 0.6},
         {"server_task": "classification"}, {"server_epochs": 2}, {"server_rate": 0.4}, {"server_temperature": 0.7},
         {"public_batch": 6}, {"clients": 1}, {"quorum": 3}]  # fmt: skip


def run_of(method, **options):
    model = {"latent": WIDTH, "hidden": 5, "encoder": {"width": 6, "depth": 1}}
    more = {"data": {"samples": 70}, "model": model, "train": TRAIN | {"batch": 16}, "public": {"share": 0.2}}
    return plan(MIX, method=method, rounds=ROUNDS, options=options, **more)


def rows(values: Values, m: str, x: Tensor) -> Tensor:
    """u: unit rows."""
    return unit(linear(values, f"rows.m·{m}", trunk(values, m, x)))


def bottleneck(values: Values, name: str, z: Tensor) -> Tensor:
    for layer, norm, act in (("0", "1", True), ("3", "4", False)):
        z = standard(linear(values, f"{name}.{layer}", z)) * values[f"{name}.{norm}.weight"]
        z = z + values[f"{name}.{norm}.bias"]
        z = z.clamp(min=0) if act else z
    return z


def opened(values: Values, m: str, a: Tensor, g: Tensor, reuse: bool) -> Tensor:
    """ã of the gates of a modality."""
    gates = [f"gates.m·{m}.{branch}" for branch in ("first.0", "first.1", "second.0", "second.1")]
    one = torch.sigmoid(bottleneck(values, gates[0], a + g) + bottleneck(values, gates[1], a + g))
    h = one * a + (1 - one) * g
    two = torch.sigmoid(bottleneck(values, gates[2], h) + bottleneck(values, gates[1 if reuse else 3], h))
    return two * a + (1 - two) * g


def task(values: Values, features: dict[str, Tensor], y: Tensor, o, branch: float) -> Tensor:
    """Cross-entropy of the joint prediction, and of every head by itself."""
    features = {m: WIDTH**0.5 * x for m, x in features.items()}
    views = {m: linear(values, f"heads.m·{m}", x) for m, x in features.items()}
    joint = perceptron(values, "fusion", torch.cat(list(features.values()), 1)) if len(features) > 1 else views["audio"]
    if o["detach"]:
        views = {m: linear(values, f"heads.m·{m}", x.detach()) for m, x in features.items()}
    return cross_entropy(joint, y) + branch * sum(cross_entropy(z, y) for z in views.values())


def encoders(name: str) -> bool:
    return name.startswith(("trunks.", "rows."))


def heads(name: str) -> bool:
    return name.startswith(("heads.", "fusion."))


def study(hub: Hand, o) -> None:
    """The coordinator learns from the public set."""
    classify, retrieve = o["server_task"] != "retrieval", o["server_task"] != "classification"

    def pace(name):
        return o["server_rate"]

    for epoch in range(o["server_epochs"]):
        for at in public_rows(hub, hub.count, o["public_batch"], "study", epoch):
            x, y = {m: each[at] for m, each in hub.inputs.items()}, hub.targets[at]

            def loss(values, x=x, y=y):
                u = {m: rows(values, m, each) for m, each in x.items()}
                value = task(values, u, y, o, o["branch"]) if classify else 0.0
                if retrieve:
                    scores, found = u["audio"] @ u["motion"].T / o["server_temperature"], torch.arange(len(y))
                    value = value + (cross_entropy(scores, found) + cross_entropy(scores.T, found)) / 2
                return value

            def probe(values, x=x, y=y):
                return task(values, {m: rows(values, m, each).detach() for m, each in x.items()}, y, o, 0.0)

            hub.step(loss, lambda name: encoders(name) or (classify and heads(name)), rate=pace)
            if not classify:
                hub.step(probe, heads, rate=pace)


def distil(hub: Hand, o, taught: dict[str, Tensor], squared: bool) -> None:
    """One pass towards the ensemble."""
    owned = tuple(f"{part}.m·{m}." for m in taught for part in ("trunks", "rows"))
    for at in public_rows(hub, hub.count, o["public_batch"], "distil") if o["gamma"] else ():

        def loss(values, at=at):
            apart = [rows(values, m, hub.inputs[m][at]) - a[at] for m, a in taught.items()]
            return sum(d.square().mean() if squared else d.square().sum(1).sqrt().mean() for d in apart)

        hub.step(loss, lambda name: name.startswith(owned), objective="distillation", weight=o["gamma"],
                 rate=lambda name: o["server_rate"])  # fmt: skip


def ensemble(uploads: list[dict[str, Tensor]], m: str, anchor: Tensor | None) -> Tensor:
    """The clients' rows, each weighed by how surely it finds its item among the rows of the anchor."""
    own = [u[m] for u in uploads if m in u]
    scores = [torch.zeros(len(u)) if anchor is None else log_softmax(u @ anchor.T).diagonal() for u in own]
    weights = log_softmax(torch.stack(scores).T.double()).exp()
    return torch.stack([weights[:, i, None] * u for i, u in enumerate(own)]).sum(0)


def by_hand(w, o, learn, anchor, squared):
    """All agents at the end. ``learn(hand, hub, G, encoders, o)`` is a client's round, ``anchor(G, m)`` scores rows."""
    everyone = hands(w)
    hub = everyone.pop("hub")
    for round in range(ROUNDS):
        hub.round = round
        study(hub, o)
        g = {m: rows(hub.values, m, x) for m, x in hub.inputs.items()}
        fixed, uploads = dict(hub.values), []
        for me in chosen(sorted(everyone), o["clients"], round):
            hand = everyone[me]
            hand.round = round
            learn(hand, hub, g, fixed, o)
            uploads.append({m: rows(hand.values, m, hub.inputs[m]) for m in hand.modalities})
        if len(uploads) >= o["quorum"]:
            owned = [m for m in hub.inputs if any(m in u for u in uploads)]
            distil(hub, o, {m: ensemble(uploads, m, anchor(g, m)) for m in owned}, squared)
    return everyone | {"hub": hub}


def chosen(peers, clients, round):
    draw = torch.randperm(len(peers), generator=seeded(0, "clients", round)).tolist()
    return sorted(peers[i] for i in draw[: clients or None])

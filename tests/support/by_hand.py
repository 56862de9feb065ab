"""Rounds computed from formulas, in double precision: plain tensors, and of the package its seeded draws alone."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from parse_p2p.core.rng import seeded

SEED = 0
PLAIN = {"schedule": "constant", "quasi_global": 0.0}
TRAIN = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.02, "clip": 0.9, "batch": 7, "epochs": 2, **PLAIN}
"""Settings that all act: gradients are clipped, batches are several and passes two."""

Values = dict[str, Tensor]
Loss = Callable[[Values], Tensor]


class Hand:
    """One agent: parameters by name, data, and gradient descent with momentum and weight decay for each objective."""

    def __init__(self, agent) -> None:
        self.me, self.round, self.width = agent.me, 0, 0
        data, model = agent.learner.data, agent.learner.model
        self.values = {name: p.detach().double().clone() for name, p in model.named_parameters()}
        self.inputs = {str(m): x.double() for m, x in data.inputs.items()}
        self.targets, self.count, self.classes = data.targets, len(data), data.classes
        self.modalities = [str(m) for m in model.modalities]
        self.train = {name: getattr(agent.learner.options, name) for name in ("lr", "clip", "batch", "epochs")}
        self.train |= {name: getattr(agent.learner.options.stepping, name) for name in ("momentum", "weight_decay")}
        self.velocity: dict[str, Values] = {}
        self.pace, self.steps = 1.0, 0
        self.path: tuple[Values, float] = {}, 0.0

    def batches(self) -> Iterator[Tensor]:
        """The rows of all minibatches of a round's passes over my own data."""
        draw = seeded(SEED, self.me, self.round)
        for _ in range(self.train["epochs"]):
            yield from shuffled(self.count, self.train["batch"], draw)

    def step(self, loss: Loss, moving: Callable[[str], bool] = lambda name: True, *, objective: str = "",
             weight: float = 1.0, rate: Callable[[str], float] = lambda name: 1.0, game: bool = False,
             pull: Values | None = None) -> Tensor:  # fmt: skip
        """One step of the parameters that move; the loss. ``pull`` is added to the gradients before they are clipped.

        The velocity of each objective is its own, decay is the task's alone, and a ``game`` has no momentum.
        """
        names = [name for name in self.values if moving(name)]
        leaves = {name: self.values[name].clone().requires_grad_() for name in names}
        value = loss(self.values | leaves)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        grads = {n: torch.zeros_like(self.values[n]) if g is None else g for n, g in zip(names, found, strict=True)}
        for name, extra in (pull or {}).items():
            grads[name] = grads[name] + extra
        norm = math.sqrt(sum(float(g.square().sum()) for g in grads.values()))
        factor = min(1.0, self.train["clip"] / (norm + 1e-6))
        decay = 0.0 if objective else self.train["weight_decay"]
        kept = self.velocity.setdefault(objective, {})
        for name in names:
            slope = factor * grads[name] + decay * self.values[name]
            kept[name] = slope if game or name not in kept else self.train["momentum"] * kept[name] + slope
            self.values[name] = self.values[name] - weight * rate(name) * self.pace * self.train["lr"] * kept[name]
        self.steps += 1
        return value.detach()

    def look_back(self, began: Values, share: float) -> None:
        """Quasi-global momentum: of a share of it, the mean of two rounds' movement over their learning rates."""
        moved, rates = {n: x - self.values[n] for n, x in began.items()}, self.steps * self.pace * self.train["lr"]
        for name, x in moved.items() if self.steps else ():
            path = (x + self.path[0].get(name, 0.0)) / (rates + self.path[1])
            self.velocity[""][name] = (1 - share) * self.velocity[""][name] + share * path
        self.path, self.steps = (moved, rates) if self.steps else ({}, 0.0), 0


def shuffled(count: int, size: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    """Nearly equal batches of no more than ``size`` rows, in random order."""
    return torch.tensor_split(torch.randperm(count, generator=draw), math.ceil(count / size))


def public_rows(hand: Hand, count: int, size: int, *names: object) -> tuple[Tensor, ...]:
    """The minibatches of one pass over the public set."""
    return shuffled(count, size, seeded(SEED, hand.me, hand.round, "public", *names))


def linear(values: Values, name: str, x: Tensor) -> Tensor:
    return x @ values[f"{name}.weight"].T + values[f"{name}.bias"]


def trunk(values: Values, m: str, x: Tensor) -> Tensor:
    """One hidden layer of rectifiers, normalised as by default."""
    return standard(linear(values, f"trunks.m·{m}.0", x).clamp(min=0))


def perceptron(values: Values, name: str, x: Tensor) -> Tensor:
    return linear(values, f"{name}.layers.2", linear(values, f"{name}.layers.0", x).clamp(min=0))


def log_softmax(scores: Tensor) -> Tensor:
    return scores - scores.logsumexp(1, keepdim=True)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -log_softmax(logits)[torch.arange(len(targets)), targets].mean()


def unit(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(1, keepdim=True).sqrt()


def standard(x: Tensor) -> Tensor:
    """Rows of mean 0 and variance 1, over the last axis."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def averaged(holders: list[tuple[float, Values]], name: str) -> Tensor:
    """Σ w x / Σ w over those who hold it."""
    there = [(weight, values[name]) for weight, values in holders if name in values]
    return torch.stack([weight * x for weight, x in there]).sum(0) / sum(weight for weight, _ in there)


def gap(agent, hand: Hand) -> float:
    """The largest difference between what an agent ended with and what was computed."""
    ended = dict(agent.learner.model.named_parameters())
    return max(float((ended[name].detach().double() - x).abs().max()) for name, x in hand.values.items())


def same(agent, hand: Hand) -> bool:
    return gap(agent, hand) < 2e-5


def hands(plan) -> dict[str, Hand]:
    """All agents of a run as they begin."""
    return {agent.me: Hand(agent) for agent in plan.agent_states()}

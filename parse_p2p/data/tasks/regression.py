"""Numbers for each sample: float32 (N, K), in their own units; squared error; the score is R².

What branches of a network say is averaged, for each of them estimates the same numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.data.tasks.base import Samples, Task, count, listed, refuse_other_keys
from parse_p2p.data.tasks.source import Origin, TargetOptions, numbers

FAR = 3.0
"""A mean of so many deviations, or a deviation so far from 1 by factor, is better scaled."""


@dataclass(frozen=True)
class Regression(Task):
    """How large each of some numbers is.

    ``mean`` and ``deviation``, of each output or none, are what the network learns them scaled by; scores, predictions
    and targets are in their own units.
    """

    name = "regression"
    score = "R²"
    key = "r2"
    loss_name = "squared error"
    loss_key = "squared_error"
    names = "outputs"
    one = "output"
    several = "outputs"
    output = "values"
    figure = "rmse"
    figures = "output, rmse"

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], scales: Mapping[str, Any]) -> Self:
        if not names:
            raise ValueError("outputs: name the numbers, in the order of the network's outputs")
        for name in scales:
            if name not in names:
                raise ValueError(f"targets: there is no output {name!r}; {nearest(name, names)}")
        if not scales:
            return cls()
        both = [(scales[n].mean, scales[n].deviation) if n in scales else (0.0, 1.0) for n in names]
        return cls(*map(tuple, zip(*both, strict=True)))

    @property
    def loss_shown(self) -> str:
        return f"{self.loss_name}, scaled" if self.mean else self.loss_name

    def read(
        self, origin: Origin, columns: Mapping[str, NDArray[Any]], options: TargetOptions
    ) -> tuple[Tensor, tuple[str, ...]]:
        refuse_other_keys(Regression, options)
        found, names = numbers(origin, columns, options.outputs, "outputs")
        return torch.from_numpy(found), names

    def joined(self, branches: Tensor) -> Tensor:
        return branches.mean(0)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of the scaled numbers, the mean over the outputs."""
        return (outputs - self._scaled(targets)).square().mean(1)

    def said(self, outputs: Tensor) -> Tensor:
        if not self.mean:
            return outputs
        return outputs * outputs.new_tensor(self.deviation) + outputs.new_tensor(self.mean)

    def scored(self, data: Samples, outputs: Tensor, rows: Tensor) -> float:
        """The mean of R² over the outputs that vary; where none does, whether all are exact."""
        # in double: beside a large offset float32 rounds by a noticeable part of the error
        said, targets = self.said(outputs[rows].double()), data.targets[rows].double()
        vary = targets.amax(0) > targets.amin(0)
        if not bool(vary.any()):
            return float(torch.equal(said.float(), data.targets[rows]))
        return float(_r2(said, targets)[vary].mean())

    def details(self, data: Samples, outputs: Tensor, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """R², root mean squared and mean absolute error of each output; no R² of one that does not vary."""
        said, targets = self.said(outputs.double()), data.targets.double()
        errors, r2 = said - targets, _r2(said, targets).tolist()
        rmse, mae = errors.square().mean(0).sqrt().tolist(), errors.abs().mean(0).tolist()
        found = zip(names, r2, rmse, mae, strict=True)
        return {
            name: {"rows": len(targets)} | ({"r2": r} if math.isfinite(r) else {}) | {"rmse": a, "mae": b}
            for name, r, a, b in found
        }

    def named(self, said: Tensor, names: Sequence[str]) -> list[Any]:
        raise ConfigError("a model of regression says numbers and no labels: ask it to predict")

    def answer(self, said: Tensor, names: Sequence[str]) -> dict[str, Any]:
        return {self.output: said.tolist(), self.names: list(names)}

    def heading(self) -> tuple[str, ...]:
        return "output", "smallest", "largest", "mean", "deviation"

    def rows(self, targets: Tensor, names: Sequence[str]) -> list[tuple[str, ...]]:
        return [(name, *(f"{number:.4g}" for number in each))
                for name, each in zip(names, _figures(targets).tolist(), strict=True)]  # fmt: skip

    def odd(self, targets: Tensor, names: Sequence[str]) -> Iterator[str]:
        figures = dict(zip(names, _figures(targets).tolist(), strict=True))
        if same := [name for name, (low, high, _, _) in figures.items() if low == high]:
            yield f"{count(len(same), 'output is', 'outputs are')} the same in all rows ({listed(same)})"
        far = {name: (mean, deviation) for name, (low, high, mean, deviation) in figures.items()
               if low < high and self._is_far(names.index(name), mean, deviation)}  # fmt: skip
        if far:
            scale = ", ".join(f"{name}: {{mean: {m:.4g}, deviation: {d:.4g}}}" for name, (m, d) in far.items())
            yield (
                f"{count(len(far), 'output is', 'outputs are')} far from mean 0 and deviation 1, which networks learn "
                f"best: scale for all agents alike by data_schema.targets: {{{scale}}}"
            )

    def _is_far(self, output: int, mean: float, deviation: float) -> bool:
        """Whether an output is learnt badly, as it is scaled."""
        if self.mean:
            mean, deviation = (mean - self.mean[output]) / self.deviation[output], deviation / self.deviation[output]
        return abs(mean) > FAR * max(deviation, 1) or not 1 / FAR < deviation < FAR

    def _scaled(self, targets: Tensor) -> Tensor:
        if not self.mean:
            return targets
        return (targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.deviation)


TASK = Regression


def _r2(said: Tensor, targets: Tensor) -> Tensor:
    """Of each output, (K,): 1 less the squared error over that of the mean; no number of one that does not vary."""
    return 1 - (said - targets).square().sum(0) / (targets - targets.mean(0)).square().sum(0)


def _figures(targets: Tensor) -> Tensor:
    """Smallest, largest, mean and deviation of each output, (K, 4)."""
    x = targets.double()
    return torch.stack([x.amin(0), x.amax(0), x.mean(0), x.std(0, correction=0)], 1)

"""Any number of labels for each sample: float32 (N, K) of 0 and 1; binary cross-entropy in nats; the score is macro-F1.

Their accuracy would be no score: where each label is rare, to say none ever is nearly always right.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from parse_p2p.data.tasks.base import Samples, Task, count, listed, refuse_other_keys
from parse_p2p.data.tasks.source import Origin, TargetOptions, numbers

FEW_OF_A_LABEL = 10


class MultiLabel(Task):
    """Which of several labels a sample has: each by itself, by a probability over one half."""

    name = "multi-label"
    score = "macro-F1"
    key = "macro-f1"
    loss_name = "binary cross-entropy"
    loss_key = "binary_cross_entropy"
    unit = " nats"
    figure = "f1"
    figures = "label, F1"
    one = "label"
    several = "labels"

    @classmethod
    def of(cls, names: Sequence[str], scales: Mapping[str, Any]) -> Self:
        if not names:
            raise ValueError("classes: name the labels, in the order of the network's outputs")
        return super().of(names, scales)

    def read(
        self, origin: Origin, columns: Mapping[str, NDArray[Any]], options: TargetOptions
    ) -> tuple[Tensor, tuple[str, ...]]:
        refuse_other_keys(MultiLabel, options)
        given = options.classes if isinstance(options.classes, tuple) else tuple(map(str, range(options.classes or 0)))
        found, names = numbers(origin, columns, given, "classes")
        holder = [name for name, values in columns.items() for _ in range(1 if values.ndim == 1 else values.shape[1])]
        for row, at in np.argwhere((found != 0) & (found != 1)).tolist():
            wrong = f"has the value {found[row, at]:g} for {names[at]!r} in row {row}, from 0"
            raise origin.fault(holder[at], wrong, "a label is 1 where a sample has it and else 0")
        return torch.from_numpy(found), names

    def wrong(self, targets: Tensor, outputs: int) -> str:
        return super().wrong(targets, outputs) or (
            "" if bool(((targets == 0) | (targets == 1)).all()) else "targets other than 0 and 1"
        )

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each label by itself, the mean over the labels."""
        return binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)

    def said(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def scored(self, data: Samples, outputs: Tensor, rows: Tensor) -> float:
        """The mean of F1 over the labels that a sample has; where none has any, whether none is said to."""
        there, found = data.targets[rows].double(), (outputs[rows] > 0).double()
        known = there.sum(0) > 0
        if not bool(known.any()):
            return float(not bool(found.any()))
        return float(_f1(there, found)[known].mean())

    def details(self, data: Samples, outputs: Tensor, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """The samples that have each label, F1, and the share of samples of which it is rightly said or not said."""
        there, found = data.targets.double(), (outputs > 0).double()
        figures = zip(names, there.sum(0).tolist(), _f1(there, found).tolist(),
                      (there == found).double().mean(0).tolist(), strict=True)  # fmt: skip
        return {name: {"rows": int(rows), "f1": f1, "accuracy": right} for name, rows, f1, right in figures}

    def named(self, said: Tensor, names: Sequence[str]) -> list[Any]:
        """The labels that are more likely than not."""
        return [[names[k] for k, likely in enumerate(row) if likely > 0.5] for row in said.tolist()]

    def heading(self) -> tuple[str, ...]:
        return "label", "rows", "share", "most often with"

    def rows(self, targets: Tensor, names: Sequence[str]) -> list[tuple[str, ...]]:
        together = (targets.double().T @ targets.double()).long()
        found: list[tuple[str, ...]] = []
        for k, name in enumerate(names):
            rows, others = int(together[k, k]), together[k].clone()
            others[k] = 0
            at = int(others.argmax())
            company = f"{names[at]} ({int(others[at])})" if int(others[at]) else ""
            found.append((name, str(rows), f"{rows / len(targets):.1%}", company))
        return found

    def odd(self, targets: Tensor, names: Sequence[str]) -> Iterator[str]:
        counts = dict(zip(names, targets.sum(0).long().tolist(), strict=True))
        if same := [each for each, rows in counts.items() if rows in (0, len(targets))]:
            yield f"{count(len(same), 'label is', 'labels are')} the same in all rows ({listed(same)})"
        if few := [each for each, rows in counts.items() if 0 < rows < FEW_OF_A_LABEL]:
            yield f"{count(len(few), 'label has', 'labels have')} fewer than {FEW_OF_A_LABEL} rows ({listed(few)})"
        if not bool(targets.sum(1).gt(1).any()) and bool(targets.sum(1).eq(1).all()):
            yield "each row has just one label: are they classes, of which task: classification makes more?"
        twins = [f"{names[a]} and {names[b]}" for a, b in combinations(range(len(names)), 2)
                 if torch.equal(targets[:, a], targets[:, b])] if len(names) <= 50 else []  # fmt: skip
        if twins:
            which = count(len(twins), "pair of labels is", "pairs of labels are")
            yield f"{which} the same in all rows ({listed(twins)})"


TASK = MultiLabel


def _f1(there: Tensor, found: Tensor) -> Tensor:
    """Of each label, (K,): the harmonic mean of precision and recall, 0 where there is neither."""
    right = (there * found).sum(0)
    return 2 * right / (there.sum(0) + found.sum(0)).clamp(min=1)

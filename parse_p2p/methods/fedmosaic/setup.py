"""What FedMosaic's coordinator makes of its public data before anything is learnt (arXiv 2506.11024, section 3).

One backbone per size, pre-trained, and for every size a *frame*, A and B of each slot. The smallest size is the
*pivot*: its frame is random and orthonormal, those of the others are aligned to it, and its backbone is the network
in which relevance is measured. All is kept in the coordinator's memory under ``backbone/SIZE/``, ``frame/SIZE/`` and
``pivot``.
"""

from collections.abc import Iterable, MutableMapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Modality, TensorMap
from parse_p2p.data.base import Batch, Dataset
from parse_p2p.learning.optimisers.adam import Adam
from parse_p2p.models.adapters import Adapters, slots
from parse_p2p.models.base import initialise, key_of, rectified
from parse_p2p.models.lora.alignment import Frame, aligned, merged, orthonormal
from parse_p2p.models.lora.backbone import Backbone, Tap, tapped

Size = tuple[int, int]
"""Width and depth of a backbone."""

Memory = MutableMapping[str, Tensor]
SAMPLES = 1024  # public samples that two sizes are aligned on
BATCH = 64  # of pre-training
RATE = 3e-3


def label(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def smallest(sizes: Iterable[Size]) -> Size:
    """The size with the fewest parameters."""
    return min(sizes, key=lambda size: (size[0] ** 2 * size[1], size))


def within(tensors: TensorMap, prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def sensed(backbone: TensorMap, modalities: Iterable[Modality]) -> dict[str, Tensor]:
    """A backbone without the stems of other modalities."""
    stems = tuple(f"trunks.{key_of(m)}." for m in modalities)
    return {name: t for name, t in backbone.items() if not name.startswith("trunks.") or name.startswith(stems)}


def pretrain(backbone: Backbone, data: Dataset, steps: int, generator: torch.Generator) -> None:
    """Train a backbone on public samples, so that it can read any of their modalities alone or together.

    It is initialised and takes Adam steps on the cross-entropy; every draw is the generator's. Each minibatch shows a
    random set of the modalities, one at least.
    """
    initialise(backbone, generator, backbone.options.initialisation, rectified(backbone))
    optimiser = Adam(backbone.parameters(), lr=RATE)
    for _ in range(steps if len(data) else 0):
        batch = data.batch(torch.randint(len(data), (BATCH,), generator=generator))
        kept = some(data, generator)
        loss = cross_entropy(backbone({m: batch.inputs[m] for m in kept}).logits(), batch.targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def some(data: Dataset, generator: torch.Generator) -> list[Modality]:
    """A set of modalities, every set but the empty one as likely as any other."""
    drawn = int(torch.randint(1, 2 ** len(data.modalities), (), generator=generator))
    return [m for i, m in enumerate(data.modalities) if drawn >> i & 1]


def views(batch: Batch) -> list[Batch]:
    """The batch as seen with all modalities, and with each alone."""
    names = sorted(batch.inputs)
    kept = [names, *([m] for m in names if len(names) > 1)]
    return [Batch({m: batch.inputs[m] for m in some}, batch.targets) for some in kept]


class Setup:
    """``model`` is any network of the run that has all modalities; ``align`` the B step, or ``random`` for none."""

    def __init__(self, model: Adapters, public: Dataset, memory: Memory, seed: int, steps: int, align: str) -> None:
        self.model, self.public, self.memory = model, public, memory
        self.seed, self.steps, self.align = seed, steps, align

    def add(self, sizes: Iterable[Size]) -> None:
        """Make what is not there yet; the smallest size of the first call is the pivot."""
        wanted = set(sizes)
        if "pivot" not in self.memory:
            self.memory["pivot"] = torch.tensor(smallest(wanted))
        for size in sorted(wanted, key=lambda size: (size != self.pivot, size)):
            if f"frame/{label(size)}/0.in/A" not in self.memory:
                self._make(size)

    @property
    def pivot(self) -> Size:
        width, depth = self.memory["pivot"].tolist()
        return int(width), int(depth)

    def backbone(self, size: Size) -> dict[str, Tensor]:
        """All tensors of the backbone of a size."""
        return within(self.memory, f"backbone/{label(size)}/")

    def frame(self, size: Size) -> dict[str, Tensor]:
        """A and B of all slots, ``0.in/A`` …"""
        return within(self.memory, f"frame/{label(size)}/")

    def tensors(self, size: Size, modalities: Iterable[Modality]) -> dict[str, Tensor]:
        """What a network of this size and these modalities begins with: ``backbone/``, ``frame/`` and ``probe/``."""
        kinds = {"backbone": sensed(self.backbone(size), modalities), "frame": self.frame(size)}
        if size != self.pivot:
            kinds["probe"] = sensed(self.backbone(self.pivot), modalities)
        return {f"{kind}/{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}

    def _make(self, size: Size) -> None:
        backbone = self.model.sibling(*size)
        pretrain(backbone, self.public, self.steps, seeded(self.seed, "backbone", *size))
        for name, tensor in backbone.state_dict().items():
            self.memory[f"backbone/{label(size)}/{name}"] = tensor.clone()
        for slot, (a, b) in self._frames(backbone, size).items():
            self.memory[f"frame/{label(size)}/{slot}/A"] = a
            self.memory[f"frame/{label(size)}/{slot}/B"] = b

    def _frames(self, backbone: Backbone, size: Size) -> dict[str, Frame]:
        start = self._start(backbone, size)
        if size == self.pivot or self.align == "random":
            return start
        pivot = self.model.sibling(*self.pivot)
        pivot.load_state_dict(self.backbone(self.pivot))
        small, large = self._taps(pivot), self._taps(backbone)
        fixed = self.frame(self.pivot)
        there = self._slots(self.pivot)
        return {
            slot: aligned(small[there[slot]], large[at], (fixed[f"{slot}/A"], fixed[f"{slot}/B"]), start[slot],
                          self.align)
            for slot, at in self._slots(size).items()
        }  # fmt: skip

    def _start(self, backbone: Backbone, size: Size) -> dict[str, Frame]:
        """Random A with orthonormal rows and B with orthonormal columns."""
        rank, generator = self.model.own.rank, seeded(self.seed, "frame", *size)
        shapes = {slot: backbone.weight(*at).shape for slot, at in self._slots(size).items()}
        return {
            slot: (orthonormal(inputs, rank, generator).T.contiguous(), orthonormal(outputs, rank, generator))
            for slot, (outputs, inputs) in shapes.items()
        }

    def _slots(self, size: Size) -> dict[str, tuple[int, str]]:
        return slots(size[1], self.model.own.blocks)

    def _taps(self, backbone: Backbone) -> dict[tuple[int, str], Tap]:
        """What every size is aligned on: the same public samples, with all modalities and with each alone.

        The labels are drawn at random: those it was trained on leave a network little to be corrected.
        """
        generator = seeded(self.seed, "alignment")
        drawn = self.public.batch(torch.randperm(len(self.public), generator=generator)[:SAMPLES])
        labels = torch.randint(self.public.classes, drawn.targets.shape, generator=generator)
        return merged([tapped(backbone, view) for view in views(Batch(drawn.inputs, labels))])

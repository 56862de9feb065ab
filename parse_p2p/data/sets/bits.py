"""Made data whose truth is known: each kind of information is a bit that was put there, to be looked for.

Fair independent bits: ``r`` goes to every modality, ``u_k`` to modality k alone, and each modality k holds a
coin ``s_k`` that says nothing alone, the parity of the coins being the synergy. The class is any subset of
(r, u_1, u_2, ..., parity), packed with r lowest. For two modalities and one target bit of each kind the
partial information decomposition is 1 bit redundant, 1 unique to each, 1 synergistic (in the measure of
Bertschinger et al., "Quantifying unique information", Entropy 2014, arXiv 1311.2839). With three modalities
parity ``all`` is third-order: every pair of modalities has 0 bits of it.

An embedding maps the eight symbols of a modality to code points in R^width, the nearest two of them 2 apart,
and adds Gaussian noise of standard deviation s in every direction. ``linear`` puts each bit as +1 or -1 on
its own orthonormal direction, so a bit is read wrongly with probability Phi(-1/s): 4e-4 at s = 0.3, and
``ceiling``, which is the closed form without noise, is off by about that per bit. ``tanh`` bends this map:
no bit has a direction of its own.
"""

from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset

Atom = Literal["redundant", "unique", "synergistic"]
Bits = NDArray[np.int64]
Points = NDArray[np.float64]


class Options(BaseModel, extra="forbid", frozen=True):
    """Which kinds of information the class carries, and how the bits are hidden in vectors."""

    modalities: tuple[str, ...] = Field(
        ("audio", "motion"), min_length=2, max_length=3, description="two or three names"
    )
    atoms: tuple[Atom, ...] = Field(
        ("redundant", "unique", "synergistic"), min_length=1, description="the kinds the class carries"
    )
    synergy: Literal["all", "pair"] = Field(
        "all", description="parity of the coins of all modalities, or of the first two only"
    )
    samples: int = Field(2400, ge=1, description="number of samples")
    width: int = Field(16, ge=3, description="numbers in the vector of each modality")
    noise: float = Field(0.3, ge=0, allow_inf_nan=False, description="standard deviation; bits are 2 apart")
    embedding: Literal["linear", "tanh"] = Field("linear", description="the map from bits to vectors")

    @field_validator("modalities", "atoms")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names must differ")
        return names


def open(options: Options, seed: int) -> Dataset:
    """One modality per name, each (samples, width). Seed fixes bits, embedding and noise.

    Two modalities and all atoms make 16 classes, three make 32.
    """
    rng = np.random.default_rng(seed)
    count = len(options.modalities)
    shared = rng.integers(0, 2, (options.samples, 1))
    unique = rng.integers(0, 2, (options.samples, count))
    coins = rng.integers(0, 2, (options.samples, count))
    inputs = {}
    for k, modality in enumerate(options.modalities):
        symbols = _pack(np.column_stack([shared, unique[:, k], coins[:, k]]))
        vectors = _codebook(options, rng)[symbols]
        noise = options.noise * rng.standard_normal(vectors.shape)
        inputs[Modality(modality)] = torch.from_numpy((vectors + noise).astype(np.float32))
    parity = coins[:, : _mixed(options)].sum(1, keepdims=True) % 2
    carried = {"redundant": shared, "unique": unique, "synergistic": parity}
    bits = np.column_stack([block for atom, block in carried.items() if atom in options.atoms])
    targets = torch.from_numpy(_pack(bits))
    known = partial(ceiling, options), partial(shows, options)
    return Dataset("bits", inputs, targets, 2 ** bits.shape[1], None, *known)


def ceiling(options: Options, modalities: frozenset[Modality]) -> float:
    """The best accuracy without noise: 2 ** -(bits of the class that these modalities do not show)."""
    return float(2.0 ** -_shown(options, modalities).count(False))


def shows(options: Options, modalities: frozenset[Modality], classes: torch.Tensor) -> torch.Tensor:
    """The classes with every bit that these modalities do not show set to 0; any shape."""
    return classes & sum(1 << place for place, shown in enumerate(_shown(options, modalities)) if shown)


def _shown(options: Options, modalities: frozenset[Modality]) -> list[bool]:
    """Whether each bit of the class, lowest first, can be known from these modalities."""
    seen = [m in modalities for m in options.modalities]
    bits = {"redundant": [any(seen)], "unique": seen, "synergistic": [all(seen[: _mixed(options)])]}
    return [shown for atom, group in bits.items() if atom in options.atoms for shown in group]


def _mixed(options: Options) -> int:
    """How many modalities, from the first, the parity is taken over."""
    return 2 if options.synergy == "pair" else len(options.modalities)


def _pack(bits: Bits) -> Bits:
    """(N, B) bits to (N,) numbers, first bit lowest."""
    packed: Bits = bits @ (1 << np.arange(bits.shape[1]))
    return packed


def _codebook(options: Options, rng: np.random.Generator) -> Points:
    """(8, width): the code point of each symbol, the nearest two of them 2 apart."""
    signs = np.array([[2 * ((symbol >> bit) & 1) - 1 for bit in range(3)] for symbol in range(8)])
    directions, _ = np.linalg.qr(rng.standard_normal((options.width, 3)))
    points: Points = signs @ directions.T
    if options.embedding == "linear":
        return points
    bent: Points = np.tanh(points * np.sqrt(options.width))  # entries of order 1, where tanh is far from a line
    nearest = min(np.linalg.norm(one - other) for one, other in combinations(bent, 2))
    bent *= 2 / nearest
    return bent

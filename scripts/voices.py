"""What a frozen trunk that a package ships is worth, and what it costs to send: Silero's detector of voices.

Prints a table of docs/how-to/own-model.md. Six agents with few samples each hear a vowel, see lips that speak it, or
both. Voices are synthesised: pulses and breath through three resonances (formants) that differ by vowel and by speaker,
in noise. The trunk is kept frozen, with or without adapters, or trained on; or the same layers begin at random, as wide
or twice as wide, and learn whole; or there is none, and what is learnt reads the spectrum.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pretrained import HEADING, compared
from safetensors.torch import load_file
from scipy.signal import lfilter
from torch import Tensor, nn
from torch.nn.functional import pad

import parse_p2p
from parse_p2p.data import Dataset
from parse_p2p.lab.experiments.statistics import markdown

RATE = 16000
VOWELS = {
    "i": (280, 2250, 2900),
    "e": (400, 2000, 2550),
    "a": (700, 1220, 2600),
    "o": (450, 800, 2830),
    "u": (310, 870, 2250),
    "y": (280, 1900, 2200),
}
"""The first three formants of each, in Hz."""

ROUND = ("o", "u", "y")
WEIGHTS = "silero_vad:data/silero_vad_16k.safetensors"
MIX = {"sound": 2, "lips": 2, "lips+sound": 2}
RATES = (0.03, 0.1, 0.2, 0.4, 0.8)
ROUNDS = 20
LAYERS = ["conv1", "conv2", "conv3", "conv4"]


class Voice(nn.Module):
    """Sound (B, 1, T) at 16 kHz → (B, 128): Silero's detector of voices but for its last layer."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        wide, narrow = 128 * scale, 64 * scale
        self.conv1 = nn.Conv1d(129, wide, 3, padding=1)
        self.conv2 = nn.Conv1d(wide, narrow, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(narrow, narrow, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(narrow, wide, 3, padding=1)
        self.lstm = nn.LSTM(wide, wide, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        frames = pad(x[:, 0], (64, 0)).unfold(1, 576, 512)  # 32 ms each, and the 4 ms before
        signal, window = pad(frames.flatten(0, 1), (0, 64), "reflect"), torch.hann_window(256, device=x.device)
        z = torch.stft(signal, 256, 128, window=window, center=False, return_complex=True).abs()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            z = layer(z).relu()
        states: Tensor = self.lstm(z.view(*frames.shape[:2], -1))[0]
        return states.mean(1)

    def read_weights(self, path: Path) -> Mapping[str, Tensor]:
        given = load_file(path)
        lstm = {n.replace("_cell", "") + "_l0": tensor for n, tensor in given.items() if n.startswith("lstm")}
        return lstm | {n: tensor for n, tensor in given.items() if n.startswith("conv")}


class Spectrum(nn.Module):
    """Sound (B, 1, T) → (B, 129): its spectrum in logarithms, averaged over the time, with nothing to be learnt."""

    def forward(self, x: Tensor) -> Tensor:
        window = torch.hann_window(256, device=x.device)
        return torch.stft(x[:, 0], 256, 128, window=window, return_complex=True).abs().log1p().mean(2)


def vowel(name: str, rng: np.random.Generator, seconds: float = 0.25) -> NDArray[np.float32]:
    """(T,) at 16 kHz, spoken by somebody whose pitch is from 80 to 300 Hz, in noise of 10 dB or less."""
    n = round(seconds * RATE)
    vibrato = 1 + 0.03 * np.sin(2 * np.pi * 5 * np.arange(n) / RATE + rng.uniform(0, 2 * np.pi))
    phase = np.cumsum(rng.uniform(80, 300) * vibrato) / RATE
    x = np.diff(np.floor(phase), prepend=0) + rng.normal(0, 0.01, n)
    throat = rng.uniform(0.85, 1.2)
    for formant, bandwidth in zip(VOWELS[name], (80, 100, 140), strict=True):
        r = np.exp(-np.pi * bandwidth / RATE)
        a = [1, -2 * r * np.cos(2 * np.pi * formant * throat / RATE), r * r]
        x = lfilter([sum(a)], a, x)
    spoken = 0.3 * x / np.abs(x).max()
    noisy: NDArray[np.float32] = (spoken + rng.normal(0, 0.03 * rng.uniform(), n)).astype(np.float32)
    return noisy


def lips(name: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """(1, 8, 8): an ellipse as high as the jaw is open and as wide as the lips are spread, in noise."""
    high = VOWELS[name][0] / 250 * rng.uniform(0.8, 1.25)
    wide = (2.0 if name in ROUND else 3.2) * rng.uniform(0.8, 1.25)
    down, across = np.mgrid[-3.5:4, -3.5:4]
    open_ = ((down / high) ** 2 + (across / wide) ** 2 < 1).astype(np.float32)
    seen: NDArray[np.float32] = (open_ + rng.normal(0, 0.4, open_.shape)).astype(np.float32)[None]
    return seen


def spoken(count: int, seed: int) -> Dataset:
    """That many samples of all vowels in turn."""
    rng = np.random.default_rng(seed)
    names = [list(VOWELS)[i % len(VOWELS)] for i in range(count)]
    sound = np.stack([vowel(name, rng) for name in names])[:, None]
    seen = np.stack([lips(name, rng) for name in names])
    inputs = {parse_p2p.Modality("lips"): seen, parse_p2p.Modality("sound"): sound}
    targets = torch.arange(count) % len(VOWELS)
    return Dataset("vowels", {m: torch.from_numpy(x) for m, x in inputs.items()}, targets, len(VOWELS))


ARMS: dict[str, dict[str, Any]] = {
    "packaged, frozen": {"weights": WEIGHTS, "frozen": True},
    "packaged, frozen, adapters": {"weights": WEIGHTS, "frozen": True, "lora": {"rank": 4, "targets": LAYERS}},
    "packaged, trained on": {"weights": WEIGHTS},
    "from scratch": {},
    "from scratch, twice as wide": {"args": {"scale": 2}},
    "none: the spectrum": {"kind": "voices:Spectrum"},
}


def score(arm: str, lr: float, seed: int) -> tuple[float, float]:
    """Mean accuracy of the agents, and bytes that one sends in a round."""
    model = {"encoders": {"sound": {"kind": "voices:Voice", **ARMS[arm]}}}
    found = parse_p2p.run(
        "ring:6", MIX, data=spoken(360, seed), test=2 / 3, seed=seed, rounds=ROUNDS, model=model, train={"lr": lr},
        device="cpu",
    )  # fmt: skip
    return found.accuracy, found.bytes / 6 / ROUNDS


def main() -> None:
    torch.set_num_threads(1)
    print("\n".join(markdown(["trunk of sounds", *HEADING], compared(ARMS, score, RATES, "from scratch"))))


if __name__ == "__main__":
    main()

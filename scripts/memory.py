"""How much memory and time does a run take that leaves its inputs in their files, beside one that reads them whole?

Both train two agents on the same folder of ``.npy`` files, made in a temporary folder, each in a process of its own.
What is measured is the most memory beyond what the program has before it opens the data: of its own, and with the files
that it maps, which the system takes back where others need memory. The parameters have to be equal, bit for bit.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.runtime.simulator import simulate

ROWS_PER_MB = 64
"""Samples of which the two modalities are a megabyte of float32: a vector of 1024 numbers and 3 × 32 × 32 pixels."""

CLASSES = 10
STEP = 0.002  # seconds between two looks at the memory
MIB = 2**20
FIGURES = (("memory of its own, MiB", "own", MIB), ("with mapped files, MiB", "every", MIB), ("seconds", "seconds", 1))


def made(folder: Path, rows: int) -> None:
    """Vectors float32 and pictures uint8, channels last, written row by row."""
    rng, y = np.random.default_rng(0), np.arange(rows) % CLASSES
    vector = np.lib.format.open_memmap(folder / "vector.npy", "w+", np.float32, (rows, 1024))
    photo = np.lib.format.open_memmap(folder / "photo.npy", "w+", np.uint8, (rows, 32, 32, 3))
    for start in range(0, rows, 1000):
        classes = y[start : start + 1000]
        vector[start : start + 1000] = rng.normal(size=(len(classes), 1024)) + classes[:, None] / 4
        photo[start : start + 1000] = rng.integers(0, 200, (len(classes), 32, 32, 3)) + 5 * classes[:, None, None, None]
    np.save(folder / "y.npy", y)


def plan(folder: Path, lazy: bool, scale: str) -> RunPlan:
    kinds = {"vector": ("vector", [1024]), "photo": ("image", [3, 32, 32])}
    modalities = {m: {"kind": kind, "shape": shape, "scale": scale} for m, (kind, shape) in kinds.items()}
    run = {
        "graph": {"generator": "ring"}, "agents": {"mix": {"vector": 1, "photo": 1}}, "dataset": "npy",
        "data": {"path": str(folder), "lazy": lazy}, "rounds": 1, "device": "cpu", "train": {"batch": 64},
        "data_schema": {"modalities": modalities, "classes": [str(k) for k in range(CLASSES)]},
    }  # fmt: skip
    return RunPlan(RunFile.model_validate(run))


class Memory:
    """The most resident memory of this process from here on, in bytes: of its own, and with files."""

    def __init__(self) -> None:
        self.first = self.most = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _now(self) -> tuple[int, int]:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        own, every = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS"))
        return own, every

    def _watch(self) -> None:
        while not self._ended.wait(STEP):
            own, every = self._now()
            self.most = max(self.most[0], own), max(self.most[1], every)

    def end(self) -> tuple[int, int]:
        self._ended.set()
        self._thread.join()
        return self.most[0] - self.first[0], self.most[1] - self.first[1]


def run(folder: Path, lazy: bool, scale: str) -> None:
    """One run; its figures as JSON."""
    torch.set_num_threads(1)
    memory, began = Memory(), time.monotonic()
    try:
        agents = plan(folder, lazy, scale).agent_states()
        simulate(agents, 1)
        accuracies = [p.learner.evaluate() for p in agents]
        digest = hashlib.blake2b(b"".join(p.learner.buffer.values.detach().numpy().tobytes() for p in agents))
    finally:
        seconds, (own, every) = time.monotonic() - began, memory.end()
    digest.update(repr(accuracies).encode())
    print(json.dumps({"own": own, "every": every, "seconds": seconds, "digest": digest.hexdigest()}))


def measured(folder: Path, lazy: bool, scale: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", str(folder), "--scale", scale, *(["--lazy"] if lazy else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400, help="of float32, about, that the set is (default: 400)")
    parser.add_argument("--scale", choices=["all", "own", "none"], help="only so (default: all, then none)")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--lazy", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        run(arguments.run, arguments.lazy, arguments.scale)
        return 0
    equal = True
    with tempfile.TemporaryDirectory() as path:
        made(Path(path), arguments.megabytes * ROWS_PER_MB)
        for scale in [arguments.scale] if arguments.scale else ["all", "none"]:
            whole, lazy = (measured(Path(path), lazy, scale) for lazy in (False, True))
            same = whole["digest"] == lazy["digest"]
            equal &= same
            print(f"scale: {scale}; parameters and scores are {'equal' if same else 'NOT equal'}")
            for name, key, unit in FIGURES:
                one, other = whole[key] / unit, lazy[key] / unit
                print(f"  {name:24} whole {one:8.1f}  lazy {other:8.1f}  ratio {other / one:.3f}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())

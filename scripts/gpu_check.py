"""Does all of it work on this GPU, how fast is it, and does it end where the CPU does? Exit code 1 where it does not.

The ring is run as anyone runs it, a process for each agent, on the GPU, there under bf16 autocast, and on the CPU.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parse_p2p import checkpoint, config
from parse_p2p.assembly import World
from parse_p2p.launch.folder import RunFolder
from parse_p2p.methods.base import Done, advance
from parse_p2p.runlog import Tail
from parse_p2p.staging import to_host

END = time.monotonic() + 460  # what is not done by then has failed
RELATIVE, ABSOLUTE = 1e-2, 2e-3  # how far parameters may end from the CPU's
BATCH = 32
MIX = ("audio", "motion", "audio+motion")

Events = Mapping[str, list[Mapping[str, Any]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/gpu-check", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="the GPU that all agents of the ring share")
    parser.add_argument("--cpu", action="store_true", help="all of it on the CPU, to try the check itself")
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--width", type=int, default=512, help="of encoders, latents and heads")
    parser.add_argument("--samples", type=int, default=8192, help="of all agents and the test set together")
    given = parser.parse_args()
    device = "cpu" if given.cpu else given.device
    print(f"python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    if not given.cpu:
        if not torch.cuda.is_available():
            print("FAILED: this torch sees no GPU; --cpu tries the check itself without one")
            return 1
        print(f"{torch.cuda.get_device_name(device)}, {torch.cuda.get_device_properties(device).total_memory >> 20} MiB")
    good = passed_tests(must_run=not given.cpu)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ring.yaml"
        file.write_text(json.dumps(ring(given)), encoding="utf-8")
        runs = {
            device: run(file, Path(folder) / "there", "--device", device),
            f"{device} bf16": run(file, Path(folder) / "bf16", "--device", device, "--set", "train.autocast=bf16"),
            "the CPU": run(file, Path(folder) / "here", "--device", "cpu"),
        }
        if any(out is None for out in runs.values()):
            return 1
        table({name: told(out, given) for name, out in runs.items() if out is not None})
        world = World(config.load(file, [("device", device)]))
        good &= equal(world, Path(folder) / "there", Path(folder) / "here", given.rounds)
        copying(world, device)
    print("all is well" if good else "FAILED, see above")
    return 0 if good else 1


def passed_tests(must_run: bool) -> bool:
    print("\ntests/test_cuda.py")
    options = ["-W", "default", "-p", "no:cacheprovider", "-rs"]
    command = [sys.executable, "-m", "pytest", "tests/test_cuda.py", *options]
    code, said = output(command)
    print(said)
    if code == 0 and must_run and " skipped" in said:
        print("FAILED: tests were skipped though there is a GPU")
        return False
    return code == 0


def ring(given: argparse.Namespace) -> dict[str, Any]:
    """The run file, for data that are made on the spot and a model that gives a GPU something to do."""
    counts = {kind: len(range(i, given.agents, len(MIX))) for i, kind in enumerate(MIX)}
    return {
        "graph": {"generator": "ring"},
        "agents": {"mix": {kind: count for kind, count in counts.items() if count}},
        "dataset": "bits",
        "data": {"samples": given.samples, "width": 64},
        "model": {"latent": given.width // 4 * 3, "hidden": given.width, "encoder": {"width": given.width, "depth": 3}},
        "train": {"batch": BATCH, "lr": 0.01},
        "rounds": given.rounds,
    }


def run(file: Path, out: Path, *arguments: str) -> Path | None:
    """A ring that ran to its end; None, and what it said, where it did not."""
    program = [sys.executable, "-c", "from parse_p2p.cli import main; main()"]
    code, said = output([*program, "--topology", str(file), "--out", str(out), "--quiet", "--no-alone", *arguments])
    if code:
        print(f"FAILED: the ring with {' '.join(arguments)} ended with exit code {code}:\n{said}")
    return None if code else out


def output(command: list[str]) -> tuple[int, str]:
    """Exit code and what was printed; 1 for what takes too long."""
    try:
        left = max(1.0, END - time.monotonic())
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=left)
    except subprocess.TimeoutExpired as error:
        so_far = error.stdout or b""
        return 1, f"{so_far.decode() if isinstance(so_far, bytes) else so_far}\nit took too long and was ended"
    return done.returncode, done.stdout.strip()


def told(out: Path, given: argparse.Namespace) -> list[str]:
    """A row of the table, without the first round, in which a GPU's kernels are loaded."""
    logs = {path.parent.name: list(Tail(path).read()) for path in sorted(out.glob("agents/*/events.jsonl"))}
    starts = [event for log in logs.values() for event in log if event["event"] == "start"]
    rounds = [event for log in logs.values() for event in log if event["event"] == "round" and event["round"] > 0]
    steps = sum(-(-start["samples"] // BATCH) for start in starts)  # of all agents in a round
    seconds = statistics.mean(event["seconds"] for event in rounds)
    share = sum(event["exchange"] for event in rounds) / sum(event["seconds"] for event in rounds)
    most = {key: max(event["memory"].get(key, 0) for event in rounds) for key in ("host", "allocated", "reserved")}
    accuracy = statistics.mean(event["accuracy"] for event in rounds if event["round"] == given.rounds - 1)
    memory = [f"{most[key] / 2**20:.0f}" if most[key] else "" for key in most]
    return [f"{steps / seconds:.0f}", f"{seconds:.3f}", f"{100 * share:.0f} %", f"{accuracy:.3f}", *memory]


def table(rows: Mapping[str, list[str]]) -> None:
    heads = ["steps/s of all", "seconds a round", "exchange", "accuracy", "MiB host", "allocated", "reserved"]
    print(f"\na ring of processes; exchange: share of a round, the wait for neighbours included; {'MiB'} of an agent")
    print(" " * 14 + "".join(f"{head:>17}" for head in heads))
    for name, row in rows.items():
        print(f"{name:14}" + "".join(f"{entry:>17}" for entry in row))


def equal(world: World, there: Path, here: Path, rounds: int) -> bool:
    """Whether both runs ended with the same parameters, within tolerance."""
    pairs = [tuple(parameters(out, me, rounds) for out in (there, here)) for me in world.seats]
    furthest = max(float((one - other).abs().max()) for one, other in pairs)
    beyond = sum(int((~torch.isclose(one, other, RELATIVE, ABSOLUTE)).sum()) for one, other in pairs)
    print(f"\nafter {rounds} rounds the parameters differ from the CPU's by at most {furthest:.2g}; "
          f"{beyond} of {sum(len(one) for one, _ in pairs)} by more than {ABSOLUTE:g} + {RELATIVE:g} |x|")  # fmt: skip
    return not beyond


def parameters(out: Path, me: Any, rounds: int) -> Tensor:
    return checkpoint.load(RunFolder(out).checkpoints(me), rounds)["parameters"]


def copying(world: World, device: str) -> None:
    """What the exchange takes of an agent's own time: the copy to the host, and mixing with what came, as read there."""
    agents = [world.participant(me) for me in world.seats]
    for agent in agents:
        agent.learner.model.requires_grad_(True)
    scripts = {agent.me: agent.begin(0) for agent in agents}
    asked = {me: advance(script, None) for me, script in scripts.items()}
    last = agents[-1]
    inbox = {peer: step.send[last.me] for peer, step in asked.items()
             if not isinstance(step, Done) and last.me in step.send}  # fmt: skip
    values = last.learner.arena.values
    copied = min(timed(lambda: to_host({"": values}), device) for _ in range(5))
    pageable = min(timed(lambda: values.to("cpu", copy=True), device) for _ in range(5))
    mixed = timed(lambda: advance(scripts[last.me], inbox), device)
    print(f"{last.me} alone: {values.nbytes / 2**20:.1f} MiB of parameters to the host in {1e3 * copied:.2f} ms "
          f"({1e3 * pageable:.2f} ms unpinned), mixed with {len(inbox)} neighbours in {1e3 * mixed:.2f} ms")  # fmt: skip


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds until it is done, on the GPU too."""
    began = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())

"""Does all of it work on this GPU, how fast is it, and does it end where the CPU does? Exit code 1 where it does not.

The ring is run as anyone runs it, a process for each agent, on the GPU, there under bf16 autocast, and on the CPU.
"""

import argparse
import io
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

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import Tail
from parse_p2p.core.events import Round, Start
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.transfer import to_host
from parse_p2p.methods.base import Done, advance
from parse_p2p.runtime import checkpoint

END = time.monotonic() + 460  # what is not done by then has failed
FIRST, LAST = 0.02, 0.1
"""How far from the CPU's parameters a run may be after its first and its last round, as a share of the way they went.

Rounding grows wherever a ReLU turns. On a CPU alone, first parameters that differ by 1e-7 to 1e-5 of themselves make
0.001 to 0.009 after one round of this ring and 0.02 to 0.04 after four (L2, the agent with most).
"""
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
    if given.rounds < 2:
        parser.error("--rounds: at least 2, for the first is not timed")
    device = "cpu" if given.cpu else given.device
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # what was found is said even if the rest hangs
    print(f"python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    if not given.cpu:
        if not torch.cuda.is_available():
            print("FAILED: this torch sees no GPU; --cpu tries the check itself without one")
            return 1
        room = torch.cuda.get_device_properties(device).total_memory
        print(f"{torch.cuda.get_device_name(device)}, {room / 2**20:.0f} MiB")
    good = given.cpu or passed_tests()
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
        table({name: columns(out, given) for name, out in runs.items() if out is not None})
        plan = RunPlan(run_file.load(file, [("device", device)]))
        good &= equal(plan, Path(folder) / "there", Path(folder) / "here", given.rounds)
        copying(plan, device)
    print("all is well" if good else "FAILED, see above")
    return 0 if good else 1


def passed_tests() -> bool:
    print("\ntests/integration/test_cuda.py")
    # a warning of a torch or a driver that is newer than these tests says nothing against the GPU
    code, said = output([sys.executable, "-m", "pytest", "tests/integration/test_cuda.py", "-W", "default", "-rs"])
    print(said)
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
    program = [sys.executable, "-c", "from parse_p2p.cli.agent import main; main()"]
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


def columns(out: Path, given: argparse.Namespace) -> list[str]:
    """A row of the table, without the first round, in which a GPU's kernels are loaded."""
    logs = {path.parent.name: list(Tail(path).read()) for path in sorted(out.glob("agents/*/events.jsonl"))}
    starts = [event for log in logs.values() for event in log if isinstance(event, Start)]
    rounds = [event for log in logs.values() for event in log if isinstance(event, Round) and event.round > 0]
    steps = sum(-(-(start.samples or 0) // BATCH) for start in starts)  # of all agents in a round
    seconds = statistics.mean(event.seconds for event in rounds)
    share = sum(event.exchange or 0.0 for event in rounds) / sum(event.seconds for event in rounds)
    most = {key: max((event.memory or {}).get(key, 0) for event in rounds) for key in ("host", "allocated", "reserved")}
    accuracy = statistics.mean(event.accuracy or 0.0 for event in rounds if event.round == given.rounds - 1)
    memory = [f"{most[key] / 2**20:.0f}" if most[key] else "" for key in most]
    return [f"{steps / seconds:.0f}", f"{seconds:.3f}", f"{100 * share:.0f} %", f"{accuracy:.3f}", *memory]


def table(rows: Mapping[str, list[str]]) -> None:
    heads = ["steps/s of all", "seconds a round", "exchange", "accuracy", "MiB host", "allocated", "reserved"]
    print("\na ring of processes; exchange: share of a round, the wait for neighbours included; MiB: most of an agent")
    print(" " * 14 + "".join(f"{head:>17}" for head in heads))
    for name, row in rows.items():
        print(f"{name:14}" + "".join(f"{entry:>17}" for entry in row))


def equal(plan: RunPlan, there: Path, here: Path, rounds: int) -> bool:
    """Whether both runs have the same parameters after the first and the last round, within tolerance."""
    print()
    good = True
    for round, tolerance in ((1, FIRST), (rounds, LAST)):
        pairs = {me: (parameters(there, me, round), parameters(here, me, round)) for me in plan.specs}
        furthest = max(float((one - other).abs().max()) for one, other in pairs.values())
        way = {me: other - parameters(here, me, 0) for me, (_, other) in pairs.items()}
        share = max(float((one - other).norm() / way[me].norm()) for me, (one, other) in pairs.items())
        good &= share <= tolerance
        print(f"after round {round} parameters differ from the CPU's by at most {furthest:.2g}, {share:.2g} of the way "
              f"they went: {'within' if share <= tolerance else 'FAILED, beyond'} {tolerance:g}")  # fmt: skip
    return good


def parameters(out: Path, me: Any, rounds: int) -> Tensor:
    return checkpoint.load(RunFolder(out).checkpoints(me), rounds)["parameters"]


def copying(plan: RunPlan, device: str) -> None:
    """What the exchange takes of an agent's own time, all agents in this process: the copy to the host, and mixing."""
    agents = [plan.agent_state(me) for me in plan.specs]
    scripts = {agent.me: agent.begin(0) for agent in agents}
    asked = {me: advance(script, None) for me, script in scripts.items()}
    last = agents[-1]
    inbox = {peer: step.send[last.me] for peer, step in asked.items()
             if not isinstance(step, Done) and last.me in step.send}  # fmt: skip
    values = last.learner.buffer.values
    copied = min(timed(lambda: to_host({"": values}), device) for _ in range(5))
    pageable = min(timed(lambda: values.to("cpu", copy=True), device) for _ in range(5))
    mixed = timed(lambda: advance(scripts[last.me], inbox), device)
    print(f"{last.me} alone: {values.nbytes / 2**20:.1f} MiB of parameters to the host in {1e3 * copied:.2f} ms, "
          f"{1e3 * pageable:.2f} ms unpinned; mixed with {len(inbox)} neighbours in {1e3 * mixed:.2f} ms")  # fmt: skip


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds until it is done, on the GPU too."""
    began = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())

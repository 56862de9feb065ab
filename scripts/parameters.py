"""Are the final parameters of every method those of before, bit for bit? Compares with digests recorded earlier.

Every method runs with two seeds, in the simulator and as real processes. What is compared is a digest of each agent's
final parameters, so a change that should not touch the arithmetic can show that it does not. Floating point differs
between processors and builds of torch, so the digests name theirs, and others are recorded anew with ``--record``
before a change.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.simulator import simulate

RECORDED = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
ROUNDS = 3
COMMAND = Path(sys.executable).with_name("parse-agent")

Digests = dict[str, dict[str, str]]
"""By run, such as ``parse seed 0 simulator``, then by agent."""


def machine() -> dict[str, str]:
    """On what the same arithmetic gives the same bits."""
    return {
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }


def keys(method: str, seed: int) -> dict[str, Any]:
    """A small run of a method, with a coordinator and public data where it needs them."""
    made = plugins.load(plugins.METHODS, method)
    agents: dict[str, Any] = {"mix": {"audio": 1, "motion": 1, "audio+motion": 2}}
    if made.centralised:
        agents["coordinator"] = "hub"
    public = {"public": {"share": 0.15}} if made.public else {}
    return {
        "graph": {"generator": "ring"}, "agents": agents, "method": method, "rounds": ROUNDS, "seed": seed,
        "device": "cpu", "train": {"batch": 128}, **public,
    }  # fmt: skip


def digest(parameters: torch.Tensor) -> str:
    return hashlib.blake2b(parameters.numpy().tobytes(), digest_size=12).hexdigest()


def simulated(plan: RunPlan) -> dict[str, str]:
    torch.set_num_threads(1)
    agent_states = plan.agent_states()
    simulate(agent_states, plan.run.rounds, codec=plan.codec)
    return {p.me: digest(p.state()["parameters"]) for p in agent_states}


def by_processes(plan: RunPlan) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name) / "run.yaml", Path(name) / "run"
        file.write_text(run_file.dump(plan.run), encoding="utf-8")
        command: list[str | Path] = [COMMAND, "--topology", file, "--out", out, "--quiet", "--no-alone"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        folder = RunFolder(out)
        ends = {me: checkpoint.load(folder.checkpoints(me), plan.run.rounds) for me in plan.specs}
    return {me: digest(state["parameters"]) for me, state in ends.items()}


def all_runs(methods: list[str]) -> Digests:
    found: Digests = {}
    for method in methods:
        for seed in SEEDS:
            plan = RunPlan(RunFile.model_validate(keys(method, seed)))
            for engine, run in (("simulator", simulated), ("processes", by_processes)):
                found[f"{method} seed {seed} {engine}"] = run(plan)
                print(f"{method}, seed {seed}, {engine}: done", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--record", action="store_true", help="write the digests of what is here now")
    parser.add_argument("--method", action="append", help="only this one; repeatable")
    asked = parser.parse_args()
    methods = asked.method or plugins.known(plugins.METHODS)
    if asked.record:
        RECORDED.write_text(json.dumps({"machine": machine(), "runs": all_runs(methods)}, indent=1) + "\n")
        return
    recorded = json.loads(RECORDED.read_text())
    if recorded["machine"] != machine():
        sys.exit(f"the digests are of {recorded['machine']} and this is {machine()}: record them here before a change")
    found = all_runs(methods)
    if unknown := sorted({run.split()[0] for run in found.keys() - recorded["runs"].keys()}):
        sys.exit(f"no digests are recorded of {', '.join(unknown)}: record them before a change, with --record")
    odd = [f"{run}: {me}" for run, agents in found.items() for me in agents if agents != recorded["runs"][run]]
    print("\n".join(odd) if odd else f"all parameters of {len(found)} runs are those recorded, bit for bit")
    sys.exit(bool(odd))


if __name__ == "__main__":
    main()

"""On a node of a Ray cluster: one agent in a process of its own, as on any host, watched by an actor.

The actor ends the agent's process when it ends itself, and is placed on another node when its own is lost; the agent
then goes on from its last checkpoint. Nothing here loads torch but that process.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from parse_p2p.core import events
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.types import PeerId

EVERYWHERE = ("0.0.0.0", "::")


class Host:
    """``job`` says which agent: ``run``, the run file's keys, ``me`` and ``folder``."""

    def __init__(self, job: dict[str, Any], directory: str) -> None:
        self._job = job
        self._directory = directory if os.path.isdir(directory) else None  # a driver's may be there on every node
        self._process: subprocess.Popen[str] | None = None
        self._asked = False

    def __repr__(self) -> str:
        """What Ray's own lists call it."""
        return str(self._job["me"])

    def run(self, start: int | None) -> int:
        """Its exit code; ``start`` is its first round, None: the one that its neighbours name.

        Raises FileNotFoundError where this node does not see the run's folder.
        """
        folder = Path(self._job["folder"])
        if not (folder / "run.yaml").exists():
            raise FileNotFoundError(
                f"the node {socket.gethostname()} does not see {folder}: name a folder that all nodes share with --out"
            )
        ray: Any = importlib.import_module("ray")
        context = ray.get_runtime_context()
        again = bool(context.was_current_actor_reconstructed)  # the node of my earlier life is lost
        here = str(ray.util.get_node_ip_address())
        log = EventLog(PeerId(self._job["me"]), folder / "agents" / self._job["me"] / "events.jsonl")
        log.write(events.Placed(host=here, node=context.get_node_id(), again=again))
        log.close()
        found = self._job["run"]["discovery"]
        if found.get("bind") in EVERYWHERE and found["advertise"] is None:
            found["advertise"] = here
        # of the node's GPUs those that were dealt to me, and no other
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, ray.get_gpu_ids()))}
        command = [sys.executable, "-m", "parse_p2p.launch.ray_actor"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=self._directory,
                              env=os.environ | visible) as process:  # fmt: skip
            self._process = process
            if self._asked:
                process.kill()
            assert process.stdin is not None
            process.stdin.write(json.dumps(self._job | {"start": None if again else start}) + "\n")
            process.stdin.flush()
            return process.wait()

    def stop(self) -> None:
        """Ask it to leave with a checkpoint, even if it is stopped."""
        self._asked = True
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)


def _follow() -> None:
    """End with the actor, at once: it may have a successor on another node, with my name and folder."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """The agent's process; it is told on standard input which it is."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_follow, daemon=True).start()
    from parse_p2p.launch.process import child
    from parse_p2p.launch.run_folder import RunFolder

    child(job["run"], PeerId(job["me"]), RunFolder(Path(job["folder"])), job["start"])


if __name__ == "__main__":
    main()

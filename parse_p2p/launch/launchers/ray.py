"""The agents of a run on a Ray cluster, one actor each (``ray_actor.py``); messages go over our own links as ever.

Ray finds each agent a node with the CPUs and GPUs that the run file asks for, and another when that node is lost. All
nodes see the run's folder, in which agents leave where they listen, their logs and their checkpoints.
"""

import importlib
import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.config.sections import Share
from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.types import PeerId
from parse_p2p.discovery.base import FoundOptions
from parse_p2p.discovery.shared_folder import SharedFolderOptions
from parse_p2p.launch.exit_codes import FAILED
from parse_p2p.launch.ray_actor import Host
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.supervisor import Launcher, Supervisor

EVERYWHERE = "0.0.0.0"


def connect(asked: str) -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS, to one that runs here, or to a new one of this host alone.

    Raises ConfigError; ``asked`` is the option that asked for it.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ConfigError(f"{asked} needs Ray: pip install 'parse-p2p[ray]'") from None
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        at = os.environ.get("RAY_ADDRESS", "this host")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(f"{asked}: no Ray cluster at {at} ({reason}): start one, or correct RAY_ADDRESS") from None
    return ray


def adapt(run: RunFile) -> RunFile:
    """Where agents run is Ray's to choose: agents listen everywhere and are found by files in the run's folder."""
    discovery = run.discovery
    if not isinstance(discovery, FoundOptions):
        return run.model_copy(update={"discovery": SharedFolderOptions(kind="shared-folder", bind=EVERYWHERE)})
    if "bind" not in discovery.model_fields_set:
        return run.model_copy(update={"discovery": discovery.model_copy(update={"bind": EVERYWHERE})})
    return run


def check(plan: RunPlan, folder: RunFolder) -> None:
    """Raise ConfigError, before anything is written, for what cannot be on a cluster, or not on this one."""
    named = [me for me, spec in plan.specs.items() if spec.entry.address is not None]
    if named or plan.run.discovery.known_addresses():
        what = f"agent {named[0]} has an address" if named else "the contacts of discovery have addresses"
        raise ConfigError(
            f"--launcher ray: {what} in the file, and a cluster places agents where there is room: take discovery: "
            "{kind: shared-folder} without addresses"
        )
    for me in plan.run.resources.agents:
        if me not in plan.specs:
            raise ConfigError(f"resources.agents: there is no agent {me!r} in this run: {nearest(me, plan.specs)}")
    ray = connect("--launcher ray")
    for name, key, asked in (("CPUs", "CPU", "cpus"), ("GPUs", "GPU", "gpus")):
        wanted = {me: getattr(share(plan, me), asked) for me in plan.specs}
        largest = max((node["Resources"].get(key, 0) for node in ray.nodes() if node["Alive"]), default=0)
        there, total = ray.cluster_resources().get(key, 0), sum(wanted.values())
        if total > there:
            raise ConfigError(
                f"the agents ask for {total:g} {name} together and the cluster has {there:g}: lower resources.{asked} "
                "(a share of one will do), or add nodes"
            )
        if (most := max(wanted, key=lambda me: wanted[me])) and wanted[most] > largest:
            raise ConfigError(
                f"agent {most} asks for {wanted[most]:g} {name} and no node of the cluster has more than {largest:g}: "
                f"lower resources.{asked}"
            )


def share(plan: RunPlan, me: PeerId) -> Share:
    """What an agent asks of a node."""
    return plan.run.resources.agents.get(me, plan.run.resources)


class RayProcess:
    """An agent's process on some node, through its actor."""

    def __init__(self, ray: Any, actor: Any, start: int | None, me: PeerId, events: Path) -> None:
        self._ray = ray
        self._actor = actor
        self._me, self._events = me, events
        self._code: int | None = None
        self._done = actor.run.remote(start)

    @property
    def exitcode(self) -> int | None:
        if self._code is None and self._ray.wait([self._done], timeout=0)[0]:
            try:
                self._code = int(self._ray.get(self._done))
            except self._ray.exceptions.RayError as error:
                why = str(getattr(error, "cause", None) or error).strip() or type(error).__name__
                said = f"the cluster could not run agent {self._me}: {why.splitlines()[-1].strip()}"
                EventLog(self._me, self._events).write(events.Failed(why=said))
                self._code = FAILED
            self._actor = None  # whose node gets back what it held
        return self._code

    def ask(self) -> None:
        self._actor.stop.remote()

    def join(self, timeout: float | None = None) -> None:
        self._ray.wait([self._done], timeout=timeout)

    def kill(self) -> None:
        self._ray.kill(self._actor)
        self._code = -signal.SIGKILL


class RaySupervisor(Supervisor):
    """Actors of a cluster, spread over its nodes."""

    def __enter__(self) -> Self:
        self._ray = connect("--launcher ray")
        return super().__enter__()

    def _launch(self, me: PeerId, start: int | None) -> RayProcess:
        job = {
            "run": self._plan.run.model_dump(mode="json"),
            "me": me,
            "folder": str(self._folder.path.resolve()),
        }
        mine = share(self._plan, me)
        actor = self._ray.remote(Host).options(
            num_cpus=mine.cpus,
            num_gpus=mine.gpus,
            max_restarts=-1,  # on another node when its own is lost
            max_task_retries=-1,
            max_concurrency=2,  # it is told to stop while it runs
            scheduling_strategy="SPREAD",
        )
        return RayProcess(self._ray, actor.remote(job, os.getcwd()), start, me, self._folder.events(me))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._ray.shutdown()


LAUNCHER = Launcher(adapt=adapt, check=check, supervisor=RaySupervisor)

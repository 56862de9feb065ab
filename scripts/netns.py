"""Train a ring whose agents have hosts of their own, break it, and compare it with the same ring on one host.

The hosts are network namespaces on a bridge that is in one too, so that nothing of this machine's own networks is
touched. Links are encrypted. One agent is known by an address of IPv6, one only dials out, and one is known to the
others by an address from which nothing comes back, as behind NAT or a firewall that drops what comes in. Exits with 1
where anything is not as it should be, and leaves no namespace and no process behind.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import PeerId
from parse_p2p.launch.process import run_agent
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.transports import curve

ROUNDS = 5
ENDLESS = 100_000  # rounds of the run that is broken; it is stopped
DOWN = 4.0  # seconds
SLOW = ("--rounds", str(ENDLESS), "--set", "faults=[{kind: delay, seconds: 0.2}]")  # leaves the cores to who starts
PATIENCE = 240.0  # seconds after which something hangs
COMMAND = [sys.executable, "-c", "from parse_p2p.cli.agent import main; main()"]
KINDS = (["audio", "motion"], ["audio"], ["motion"])
NOWHERE = "203.0.113.9"  # reserved for documents (RFC 5737)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Lan:
    """A bridge and so many hosts on it, each with an address of IPv4 and, where there is IPv6, one of that."""

    def __init__(self, hosts: list[str]) -> None:
        self.six = not int(read("/proc/sys/net/ipv6/conf/all/disable_ipv6") or 1)
        self._hosts = hosts
        self._made: list[str] = []

    def name(self, host: str) -> str:
        return f"p2p-{os.getpid()}-{host}"

    def address(self, host: str, six: bool = False) -> str:
        number = 10 + self._hosts.index(host)
        return f"[fd77::{number}]" if six and self.six else f"10.77.0.{number}"

    def __enter__(self) -> "Lan":
        try:
            for host in ("lan", *self._hosts):
                ip("netns", "add", self.name(host))
                self._made.append(self.name(host))
                ip("-n", self.name(host), "link", "set", "lo", "up")
            lan = self.name("lan")
            ip("-n", lan, "link", "add", "bridge", "type", "bridge")
            ip("-n", lan, "link", "set", "bridge", "up")
            for host in self._hosts:
                self._plug(lan, host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _plug(self, lan: str, host: str) -> None:
        mine = self.name(host)
        ip("-n", lan, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", mine)
        ip("-n", lan, "link", "set", host, "master", "bridge", "up")
        ip("-n", mine, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        if self.six:
            ip("-n", mine, "addr", "add", f"{self.address(host, six=True).strip('[]')}/64", "dev", "eth0", "nodad")
        ip("-n", mine, "link", "set", "eth0", "up")
        # what is sent there reaches nobody, and nobody says so
        ip("-n", mine, "route", "add", f"{NOWHERE}/32", "dev", "eth0")
        ip("-n", mine, "neigh", "add", NOWHERE, "lladdr", "02:00:00:00:00:09", "dev", "eth0")

    def link(self, host: str, state: str) -> None:
        """Pull the cable of a host, ``down``, or put it in again, ``up``."""
        ip("-n", self.name("lan"), "link", "set", host, state)

    def __exit__(self, *error: object) -> None:
        for name in self._made:
            for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name])


class Agents:
    """The agents of a run file, each in a process on its host. Use inside ``with``: none outlives it."""

    def __init__(self, lan: Lan, file: Path, out: Path) -> None:
        self._lan = lan
        self._file = file
        self.out = out
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, me: str, *arguments: str) -> None:
        command = ["ip", "netns", "exec", self._lan.name(me), *COMMAND, "--topology", str(self._file), "--id", me]
        with (self.out.parent / f"{self.out.name}-{me}.txt").open("ab") as said:
            self.processes[me] = subprocess.Popen(
                [*command, "--out", str(self.out), *arguments], stdout=said, stderr=said
            )

    def events(self, me: str, kind: str) -> list[dict[str, Any]]:
        lines = (read(RunFolder(self.out).events(PeerId(me))) or "").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in found if event["event"] == kind]

    def last_round(self, me: str) -> int:
        rounds = self.events(me, "round")
        return rounds[-1]["round"] if rounds else -1

    def __enter__(self) -> "Agents":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def read(path: str | Path) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8")
    return None


def until(what: str, condition: Callable[[], bool], agents: Agents) -> None:
    late = time.monotonic() + PATIENCE
    while not condition():
        ended = [me for me, process in agents.processes.items() if process.poll() not in (None, 0, -signal.SIGKILL)]
        if ended or time.monotonic() > late:
            said = "".join(read(agents.out.parent / f"{agents.out.name}-{me}.txt") or "" for me in agents.processes)
            raise Unlike(f"waited for nothing until {what}; {', '.join(ended) or 'nobody'} failed: {said}")
        time.sleep(0.05)


class Unlike(Exception):
    """Something is not as it should be."""


def ring(lan: Lan, hosts: list[str], folder: Path) -> tuple[Path, Path]:
    """The run file with a host for each agent, and the same for one host. Three agents are harder to reach."""
    entries: list[dict[str, Any]] = [
        {"id": me, "modalities": KINDS[i % 3], "address": f"tcp://{lan.address(me)}:7000"} for i, me in enumerate(hosts)
    ]
    entries[1] = {"id": hosts[1], "modalities": KINDS[1], "dial_only": True}
    entries[2]["address"] = f"tcp://{lan.address(hosts[2], six=True)}:7000"
    entries[3] |= {"address": f"tcp://{NOWHERE}:7000", "bind": lan.address(hosts[3])}
    keys = {
        "graph": {"generator": "ring"}, "overlay": "induced", "dataset": "bits", "rounds": ROUNDS, "device": "cpu",
        "data": {"samples": 800}, "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
        "train": {"batch": 16}, "clocks": {"heartbeat": 0.5, "lost": 10, "join": PATIENCE},
    }  # fmt: skip
    bare = [{key: entry[key] for key in ("id", "modalities")} for entry in entries]
    files = []
    for name, agents in (("hosts", entries), ("one-host", bare)):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump({**keys, "agents": agents}, sort_keys=False), encoding="utf-8")
    plan = RunPlan(run_file.load(files[0]))
    assert plan.endpoints.encrypted
    curve.make(Path(plan.run.keyring), plan.specs)
    return files[0], files[1]


async def together(file: Path, out: Path) -> None:
    """Every agent in this process, over sockets of this host."""
    plan, folder = RunPlan(run_file.load(file)), RunFolder(out)
    await asyncio.gather(*(run_agent(plan, me, folder, 0, asyncio.Event(), PATIENCE) for me in plan.specs))


def calm(lan: Lan, hosts: list[str], files: tuple[Path, Path], folder: Path) -> Iterator[tuple[str, str]]:
    """On hosts of their own, meanwhile on this one: the same parameters."""
    began, one = time.monotonic(), folder / "one"
    with Agents(lan, files[0], folder / "apart") as agents:
        for me in hosts:
            agents.start(me)
        asyncio.run(together(files[1], one))
        until("all have ended", lambda: all(p.poll() is not None for p in agents.processes.values()), agents)
        rounds = [len(agents.events(me, "round")) for me in hosts]
        sent = sum(event["wire_out"] for me in hosts for event in agents.events(me, "round"))
    differing, numbers = 0, 0
    for me in hosts:
        mine, other = (
            checkpoint.load(RunFolder(out).checkpoints(PeerId(me)), ROUNDS) for out in (folder / "apart", one)
        )
        require(mine.keys() == other.keys(), f"{me} has other parts in its checkpoint")
        differing += sum(not torch.equal(mine[key], other[key]) for key in mine)
        numbers += sum(mine[key].numel() for key in mine)
    require(rounds == [ROUNDS] * len(hosts), f"rounds {rounds}")
    require(differing == 0, f"{differing} tensors differ between namespaces and one host")
    yield "undisturbed", f"{len(hosts)} agents, {ROUNDS} rounds, {sent / 1e6:.2f} MB, {time.monotonic() - began:.0f} s"
    yield "against one host", f"{numbers} numbers in final checkpoints, 0 of them differ"


def broken(lan: Lan, hosts: list[str], file: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The cable of one is pulled for a while, and the one that only dials out is killed and comes back."""
    with Agents(lan, file, folder / "broken") as agents:
        for me in hosts:
            agents.start(me, *SLOW)
        until("all are in round 3", lambda: all(agents.last_round(me) >= 3 for me in hosts), agents)

        pulled = hosts[-1]
        lan.link(pulled, "down")
        time.sleep(DOWN)
        there = agents.last_round(pulled)
        time.sleep(0.5)
        require(agents.last_round(pulled) <= there + 1, f"{pulled} went on with its cable pulled")
        lan.link(pulled, "up")
        up = time.monotonic()
        until(f"{pulled} goes on", lambda: agents.last_round(pulled) > there + 1, agents)
        lost = [event["peer"] for me in hosts for event in agents.events(me, "lost")]
        require(not lost, f"lost when the cable was pulled: {lost}")
        yield f"link of {pulled} down {DOWN + 0.5:g} s", f"nobody lost, next round {time.monotonic() - up:.1f} s after"

        killed = hosts[1]
        around = [hosts[0], hosts[2]]
        pid = agents.events(killed, "start")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        agents.processes[killed].wait()
        until("it is missed", lambda: all(agents.events(me, "lost") for me in around), agents)
        missed = [agents.events(me, "lost")[0]["round"] for me in around]
        until("others go on", lambda: all(agents.last_round(me) > max(missed) + 2 for me in around), agents)
        yield f"SIGKILL of {killed}, dials only", f"missed in round {max(missed)}, {time.monotonic() - began:.1f} s"
        agents.start(killed, *SLOW, "--resume")
        until("it is back", lambda: len(agents.events(killed, "joined")) == 2, agents)
        again = agents.events(killed, "joined")[1]["round"]
        until("it goes on", lambda: agents.last_round(killed) > again + 2, agents)
        until("so do others", lambda: all(agents.last_round(me) > again + 2 for me in hosts), agents)
        for me in around:
            heard = {event["round"] for event in agents.events(me, "round") if killed in event["sent"]}
            require({again, again + 1} <= heard, f"{me} writes nothing to {killed} since it is back")
        yield f"{killed} --resume", f"joined in round {again}, {time.monotonic() - began:.0f} s after its death"

        for process in agents.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in agents.processes.values():
            process.wait(PATIENCE)
        codes = {me: process.returncode for me, process in agents.processes.items()}
        require(set(codes.values()) == {130}, f"exit codes {codes}")
        for me in hosts:
            rounds = [event["round"] for event in agents.events(me, "round")]
            require(me == killed or rounds == list(range(len(rounds))), f"{me} left out a round")
            require(not agents.events(me, "refused"), f"{me} refused messages: {agents.events(me, 'refused')[:1]}")
            require(bool(checkpoint.rounds(RunFolder(agents.out).checkpoints(PeerId(me)))), f"{me} left no checkpoint")
        yield "stopped by SIGTERM", f"{len(hosts)} checkpoints, no round left out, no messages refused"


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Unlike(otherwise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=6, choices=range(5, 17), help="hosts (default 6)")
    hosts = [f"a{i}" for i in range(parser.parse_args().agents)]
    if os.geteuid() != 0 or shutil.which("ip") is None:
        sys.exit("network namespaces need root and the program ip (apt-get install iproute2)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is undone
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="p2p-") as temporary, Lan(hosts) as lan:
        folder = Path(temporary)
        try:
            files = ring(lan, hosts, folder)
            described = (
                f"{lan.address(hosts[2], six=True)} among {lan.address(hosts[0])} …; CURVE; {hosts[1]} only dials"
            )
            print(f"{'hosts':<28}{described}; {hosts[3]} at {NOWHERE}, where nobody answers", flush=True)
            for work in (calm(lan, hosts, files, folder), broken(lan, hosts, files[0], folder)):
                for what, figure in work:
                    print(f"{what:<28}{figure}", flush=True)
        except (Unlike, ConfigError) as error:
            sys.exit(f"not as it should be: {error}")
    print(f"{'all in':<28}{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

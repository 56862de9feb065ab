"""The ledger is what the plan says, and what the kernel counts is the ledger and little more."""

import shutil
import subprocess
from functools import cache

import ports
import pytest
import running

ROUNDS = 3
FRAMING = 1.35
HANDSHAKE = 2_000  # bytes of one connection that are in no ledger


def ledger(out, plan, name):
    return {me: [event[name] for event in running.events(out, me, "round")] for me in plan.specs}


@pytest.mark.parametrize("codec", ["raw", "bf16"])
@pytest.mark.parametrize("method", ["parse", "dsgd-modality"])
def test_every_agent_sends_what_its_plan_says(method, codec, tmp_path):
    plan = running.plan(method=method, codec=codec, rounds=ROUNDS)
    running.over_ipc(plan, tmp_path)
    for me, rounds in ledger(tmp_path, plan, "sent").items():
        exchange_plan = plan.overlays(0).plan(me)
        planned = {
            peer: {str(key): exchange_plan.regions[key].size for key in keys}
            for peer, keys in exchange_plan.links.items()
        }
        width = 4 if codec == "raw" else 2
        sent = {peer: {name: size * width for name, size in row.items()} for peer, row in planned.items()}
        assert rounds == [sent] * ROUNDS
        assert sum(sum(row.values()) for row in sent.values()) == exchange_plan.payload() * width // 4


def test_a_lone_method_sends_nothing(tmp_path):
    plan = running.plan(method="local", rounds=ROUNDS)
    running.over_memory(plan, tmp_path)
    assert all(rounds == [{}] * ROUNDS for rounds in ledger(tmp_path, plan, "sent").values())
    assert not any(map(sum, ledger(tmp_path, plan, "wire_out").values()))


@cache
def apart():
    """The command that runs another in a network of its own; None where that is not allowed."""
    for command in (("unshare", "-n"), ("unshare", "-rn")):
        tried = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
        if tried and tried.returncode == 0:
            return command
    return None


ALONE = """\
import fcntl, socket, struct, subprocess, sys
with socket.socket() as any:  # ip link set lo up
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
code = subprocess.run(sys.argv[1:]).returncode
print("lo:", next(line for line in open("/proc/net/dev") if line.strip().startswith("lo:")).split()[9])
sys.exit(code)
"""


@pytest.mark.skipif(apart() is None, reason="needs root or user namespaces, for a network with no other traffic")
def test_the_kernel_counts_the_ledger_and_little_more(tmp_path):
    """Payload <= lo <= 1.35 wire_out + 2 kB for each connection.

    ``wire_out`` leaves out what TCP/IP and ZeroMQ add. Each packet has 52 to 66 bytes of headers and mostly one more
    packet acknowledges it; a packet of models holds up to 64 kB on lo, a heartbeat's about 100, so models must
    prevail for the factor to hold. Fixed for each of the 2 connections of a directed link: three packets and
    ZeroMQ's greeting (64 bytes and a handshake) on both sides, the end, and the cards of the joining phase, which
    are in no round's ledger: under 2 kB; dials that come too early are answered by a reset of 40 bytes.
    """
    big = {"latent": 64, "hidden": 64, "encoder": {"width": 128, "depth": 2}}
    plan = running.plan(rounds=ROUNDS, base_port=ports.free(20), model=big)
    links = sum(len(plan.neighbours(me)) for me in plan.specs)
    out = tmp_path / "run"
    inside = (*apart(), running.sys.executable, "-c", ALONE)
    code, printed = running.everything(running.write(plan, tmp_path), out, under=inside)
    assert code == 0, printed
    counted = int(printed.split("lo:")[1].split()[0])
    payload = ROUNDS * sum(plan.overlays(0).plan(me).payload() for me in plan.specs)
    wire_out = sum(map(sum, ledger(out, plan, "wire_out").values()))
    assert payload < wire_out
    assert payload <= counted <= FRAMING * wire_out + 2 * HANDSHAKE * links, (payload, wire_out, counted)
    assert running.differing(running.saved(plan, out), running.simulated(plan)) == []

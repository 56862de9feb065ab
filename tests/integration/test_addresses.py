"""Runs whose agents listen here and are dialled there, by IPv6, or are dialled by nobody."""

import os
import signal
import socket
from typing import Any

import plans
import ports
import pytest
import running

from parse_p2p.core.errors import ConfigError
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports import curve, link
from parse_p2p.transports.zmq import ZmqTransport


def entries(first, **changes):
    """Five agents in a row of ports on loopback, with the keys of some of them changed."""
    made: list[dict[str, Any]] = [
        {"id": f"a{i}", "modalities": ["audio"], "address": f"tcp://127.0.0.1:{first + 2 * i}"} for i in range(5)
    ]
    return [entry | changes.get(entry["id"], {}) for entry in made]


DIAL_ONLY = {"dial_only": True, "address": None}


def row(agents, **changes):
    return plans.plan(agents=agents, **{"rounds": 3, "overlay": "induced"} | changes)


def six():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("security", ["none", "curve"])
def test_with_a_dial_only_agent_it_ends_as_the_simulator_does(tmp_path, monkeypatch, security):
    """And with one whose address leads nowhere, so that its neighbours answer along the links that it opens."""
    monkeypatch.setattr(link, "GRACE", 0.2)
    first = ports.free(12)
    unreachable = {"address": f"tcp://127.0.0.1:{first + 10}"}
    plan = row(entries(first, a1=DIAL_ONLY, a3=unreachable), security=security, keyring=str(tmp_path / "keys"))
    curve.make(tmp_path / "keys", plan.specs)
    listens = plan.endpoints.listens
    other_address = (f"tcp://127.0.0.1:{first + 6}", f"tcp://127.0.0.1:{first + 7}")
    plan.endpoints.listens = lambda me, folder: other_address if me == "a3" else listens(me, folder)
    assert plan.neighbours("a1") == {"a0", "a2"}
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []
    assert not any(running.events(tmp_path, me, "refused") for me in plan.specs)


def test_by_ipv6(tmp_path):
    if not six():
        pytest.skip("this machine has no IPv6")
    first = ports.free(10)
    agents = [entry | {"address": entry["address"].replace("127.0.0.1", "[::1]")} for entry in entries(first)]
    plan = row(agents)
    assert not plan.endpoints.encrypted
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []
    for found in ({"kind": "gossip", "contacts": ["a0"]}, {"kind": "gossip", "contacts": {"a0": agents[0]["address"]}}):
        bare = [agents[0], *({key: entry[key] for key in ("id", "modalities")} for entry in agents[1:])]
        met = row(bare, discovery=found | {"bind": "::1"})
        out = tmp_path / str(len(str(found)))
        assert running.differing(running.over_found(met, out), running.simulated(met)) == []


def test_it_listens_at_another_address_than_the_one_dialled(tmp_path):
    first = ports.free(10)
    agents = entries(first, a2={"address": f"tcp://localhost:{first + 4}"})
    plan = row(agents, bind="0.0.0.0", security="none")
    assert plan.endpoints.listens("a2", tmp_path)[0] == f"tcp://0.0.0.0:{first + 4}"
    assert plan.endpoints.address("a2", tmp_path)[0] == f"tcp://localhost:{first + 4}"
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []


@pytest.mark.parametrize("contact", ["a0", "a3"], ids=["its neighbour", "one that it has nothing to do with"])
def test_a_dial_only_agent_finds_the_others_by_gossip(tmp_path, contact):
    first = ports.free(10)
    bare: list[dict[str, Any]] = [{"id": f"a{i}", "modalities": ["audio"]} for i in range(5)]
    bare[1]["dial_only"] = True
    known = {contact: f"tcp://127.0.0.1:{first}"}
    plan = row(bare, discovery={"kind": "gossip", "contacts": known})
    assert running.differing(running.over_found(plan, tmp_path), running.simulated(plan)) == []


def test_a_dial_only_agent_is_killed_and_comes_back(tmp_path):
    agents = entries(ports.free(10), a1=DIAL_ONLY)
    clocks = {"heartbeat": 0.2, "lost": 10}
    keys = {"security": "curve", "keyring": str(tmp_path / "keys")}
    slow = {"data": {"samples": 2400}, "train": {"batch": 8, "epochs": 3}}
    plan, out = row(agents, rounds=2000, clocks=clocks, **keys, **slow), tmp_path / "run"  # its end is not awaited
    curve.make(tmp_path / "keys", plan.specs)
    file = running.write(plan, tmp_path)
    with running.started(file, out, "--quiet", "--no-alone"):
        running.until_round(out, "a1", 1)
        os.kill(running.events(out, "a1", "start")[0]["pid"], signal.SIGKILL)
        for me in ("a0", "a2"):
            running.until(lambda me=me: running.events(out, me, "lost"))
        with running.started(file, out, "--id", "a1", "--resume"):
            running.until(lambda: len(running.events(out, "a1", "joined")) == 2)
            again = running.events(out, "a1", "joined")[1]["round"]
            for me in ("a0", "a1", "a2"):
                running.until_round(out, me, again)
    for me in ("a0", "a2"):
        assert "a1" in running.events(out, me, "round")[again]["sent"]


def test_two_dial_only_agents_cannot_be_neighbours():
    with pytest.raises(
        ConfigError, match=r"^agents: a1 and a2 are neighbours and nobody dials either \(dial_only: true\)"
    ):
        row(entries(7000, a1=DIAL_ONLY, a2=DIAL_ONLY))
    row(entries(7000, a1=DIAL_ONLY, a3=DIAL_ONLY))


def one(plan, folder):
    """What the agent a1 says, alone."""
    addresses = plan.endpoints.addresses("a1", plan.neighbours("a1"), folder)
    [said] = running.together([running.agent(plan, "a1", ZmqTransport("a1", addresses), RunFolder(folder))])
    return str(said)


def test_without_a_neighbour_both_sides_views_are_reported(tmp_path):
    first = ports.free(10)
    mine = f"tcp://127.0.0.1:{first + 2} or tcp://127.0.0.1:{first + 3}"
    said = "a0, a2 did not come up for a1 within 0.5 s: "
    for peer, port in (("a0", first + 1), ("a2", first + 5)):
        said += f"a1 cannot reach tcp://127.0.0.1:{port} (connection refused), and {peer} has not called at {mine}; "
    said += "start it, open its two ports to others, or let it dial out (dial_only: true), or raise clocks.join"
    assert one(row(entries(first), clocks={"join": 0.5}), tmp_path) == said
    alone = one(row(entries(first, a1=DIAL_ONLY), clocks={"join": 0.5}), tmp_path)
    assert alone == said.replace(f"a0 has not called at {mine}", "a1 only dials out").replace(
        f"a2 has not called at {mine}", "a1 only dials out"
    )


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.7", "that is no address of this host: give the agent bind: 0.0.0.0"),
        (
            "no.such.host.invalid",
            "the name no.such.host.invalid is not known on this host: give the agent bind: 0.0.0.0",
        ),
    ],
)
def test_what_an_agent_cannot_listen_on_is_said_with_the_remedy(tmp_path, host, said):
    address = f"tcp://{host}:{ports.free(2)}"
    plan = row(entries(ports.free(10), a1={"address": address}), security="none")
    with pytest.raises(ConfigError, match=f"^agent a1 cannot listen on {address}: ") as refused:
        raise ConfigError(one(plan, tmp_path))
    assert said in str(refused.value)

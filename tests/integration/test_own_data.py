"""Agents with data of their own: each process reads its own source, and nobody else does."""

import asyncio
import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import ports
import pytest
import running
import torch
import yaml
from paths import ROOT

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.transports.memory import MemoryNetwork, MemoryTransport

CLASSES = ["cat", "dog", "fox"]
MODALITIES = {"audio": {"kind": "vector", "shape": [6]}, "motion": {"kind": "series", "shape": [2, 8]}}
SCHEMA = {"modalities": MODALITIES, "classes": CLASSES}
TYPES = {"a0": ["audio"], "a1": ["audio", "motion"], "a2": ["motion"], "a3": ["audio", "motion"]}
SMALL = {"latent": 6, "hidden": 4, "encoder": {"width": 6, "depth": 1}}


def site(path, rows, seed, classes=CLASSES, modalities=("audio", "motion")):
    """A source in which every class lies elsewhere, labels by name; some rows more or fewer."""
    rng = np.random.default_rng(seed)
    y = np.array([CLASSES.index(c) for c in rng.permutation(np.resize(classes, rows))])
    shapes = {"audio": (rows, 6), "motion": (rows, 2, 8)}
    arrays = {m: 3 * y.reshape(-1, *[1] * (len(shapes[m]) - 1)) + rng.normal(size=shapes[m]) for m in modalities}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, y=np.array(CLASSES)[y], **arrays)


def study(folder, **changes):
    """A run file beside a folder of sites, and those sites."""
    site(folder / "sites/a0.npz", 50, 0, modalities=["audio"])
    site(folder / "sites/a1.npz", 90, 1)
    site(folder / "sites/a2.npz", 40, 2, classes=["cat", "fox"])
    site(folder / "sites/a3.npz", 70, 3)
    agents = [{"id": me, "modalities": m, "data": {"path": f"sites/{me}.npz"}} for me, m in TYPES.items()]
    raw = {"graph": {"generator": "ring"}, "agents": agents, "data_schema": SCHEMA, "rounds": 3, "model": SMALL,
           "device": "cpu"} | changes  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_each_process_opens_its_own_source_alone(tmp_path):
    file, sites = study(tmp_path, rounds=6), tmp_path / "sites"
    under = ["env", f"PYTHONPATH={ROOT / 'tests/support/audited'}", f"AUDITED={sites}"]
    with running.started(file, tmp_path / "run", under=under) as process:
        code, printed = running.ended(process)
    assert code == 0, printed
    opened = {tuple(line.split()) for line in (tmp_path / "sites.opened").read_text().splitlines()}
    assert opened == {(me, str(sites / f"{me}.npz")) for me in TYPES}
    summary = json.loads(RunFolder(tmp_path / "run").summary.read_text())
    assert [row["type"] for row in summary["types"]] == [f"{me}: {'+'.join(m)}" for me, m in TYPES.items()]
    assert all(row["alone"] is None and row["mean"] > 0.6 for row in summary["types"]), summary
    assert "accuracy on each agent's own test samples" in printed
    assert "each agent's data are its own: for the same agents alone, run them with --method local" in printed


def test_each_host_has_its_agents_data_alone(tmp_path):
    """Files under other names, sources by the command line, labels of a subset of classes mapped to the schema's."""
    port = ports.free(4)
    agents = [
        {"id": "a1", "modalities": ["audio", "motion"], "address": f"tcp://127.0.0.1:{port}"},
        {"id": "a2", "modalities": ["motion"], "address": f"tcp://127.0.0.1:{port + 2}"},
    ]
    raw = yaml.safe_load(study(tmp_path / "one", agents=agents, security="none").read_text())
    two = tmp_path / "two/other-name.yaml"
    two.parent.mkdir()
    two.write_text(yaml.safe_dump(raw))
    with np.load(tmp_path / "one/sites/a2.npz") as arrays:
        coded = np.where(arrays["y"] == "cat", 7, 9)
        np.savez(two.parent / "mine.npz", motion=np.moveaxis(arrays["motion"], 1, 2), kind=coded)
    source = {"path": str(two.parent / "mine.npz"), "target": "kind", "labels": {"7": "cat", "9": "fox"},
              "layout": {"motion": "channels-last"}}  # fmt: skip
    (tmp_path / "one/sites/a2.npz").unlink()
    with (
        running.started(
            tmp_path / "one/study.yaml", tmp_path / "o1", "--id", "a1", "--data", tmp_path / "one/sites/a1.npz"
        ) as a1,
        running.started(two, tmp_path / "o2", "--id", "a2", "--data", json.dumps(source)) as a2,
    ):
        assert [running.ended(process)[0] for process in (a1, a2)] == [0, 0]
    assert [event["accuracy"] > 0.6 for event in running.events(tmp_path / "o2", "a2", "round")][-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["cat", "dog"]}, "the class 'fox' is not in data_schema.classes: "),
        ({"modalities": MODALITIES | {"motion": {"kind": "series", "shape": [8, 2]}}},
         "'motion' is a series of 2 channels, 8 steps here, and a series of 8 channels, 2 steps in data_schema"),
    ],
)  # fmt: skip
def test_a_source_that_is_not_what_was_agreed_on_ends_the_run_with_both_sides_named(tmp_path, changes, said):
    code, printed = running.everything(study(tmp_path, data_schema=SCHEMA | changes), tmp_path / "run")
    assert code == 2 and "Traceback" not in printed
    assert "the data of a" in printed and said in " ".join(printed.split())


def test_a_source_that_is_not_there_is_refused_before_anything_begins(tmp_path, agent):
    file = study(tmp_path)
    (tmp_path / "sites/a2.npz").unlink()
    code, _, err = agent("--topology", file, "--out", tmp_path / "run")
    assert code == 2 and f"agents: a2.data: {tmp_path / 'sites/a2.npz'} does not exist on this host" in err
    assert not os.path.exists(tmp_path / "run")
    for arguments, said in (
        (["--data", "x.npz"], "--data is for one agent: add its --id"),
        (["--id", "a0", "--data", "{path: [}"], "is no value"),
        (["--id", "a0", "--data", "{1}"], "agents: a0.data.1: keys should be strings"),
        (["--id", "a0", "--data", "elsewhere.npz"], "elsewhere.npz does not exist on this host"),
    ):
        code, _, err = agent("--topology", file, *arguments)
        assert code == 2 and said in err, err


def test_hosts_with_other_copies_of_a_shared_set_refuse_each_other_and_say_so(tmp_path):
    port = ports.free(4)
    agents = [
        {"id": me, "modalities": ["audio"], "address": f"tcp://127.0.0.1:{port + 2 * k}"}
        for k, me in enumerate(("a0", "a1"))
    ]
    raw = {"graph": {"generator": "ring"}, "agents": agents, "dataset": "npz", "data": {"path": "mine.npz"},
           "rounds": 2, "model": SMALL, "security": "none", "clocks": {"join": 20}}  # fmt: skip
    for k, folder in enumerate(("one", "two")):
        site(tmp_path / folder / "mine.npz", 60, k, modalities=["audio"])
        (tmp_path / folder / "run.yaml").write_text(yaml.safe_dump(raw))
    with (
        running.started(tmp_path / "one/run.yaml", tmp_path / "o1", "--id", "a0") as a0,
        running.started(tmp_path / "two/run.yaml", tmp_path / "o2", "--id", "a1") as a1,
    ):
        for process, peer in ((a0, "a1"), (a1, "a0")):
            code, printed = running.ended(process)
            assert code == 2
            said = f"{peer} is there but runs another configuration"
            assert said in printed and "(fingerprint, the copies of the data set, differ)" in " ".join(printed.split())


def test_an_agent_does_not_go_on_with_other_samples_than_it_began_with(tmp_path, agent):
    file, out = study(tmp_path), tmp_path / "run"
    assert running.everything(file, out)[0] == 0
    code, printed = running.everything(file, out, "--resume", "--rounds", "4")
    assert code == 0, printed
    site(tmp_path / "sites/a1.npz", 91, 1)
    code, printed = running.everything(file, out, "--resume", "--rounds", "5")
    said = " ".join(printed.split())
    assert code == 2 and f"the data of a1 are not those that its run in {out} began with" in said


def test_data_that_are_perhaps_read_otherwise_than_meant_are_mentioned_once(tmp_path):
    swapped = {"modalities": {"motion": {"kind": "series", "shape": [8, 2]}}, "classes": CLASSES}
    agents = [{"id": me, "modalities": ["motion"], "data": {"path": f"{me}.npz"}} for me in ("a0", "a1")]
    file = study(tmp_path, agents=agents, data_schema=swapped)
    for me in ("a0", "a1"):
        site(tmp_path / f"{me}.npz", 40, 1, modalities=["motion"])
        with np.load(tmp_path / f"{me}.npz") as arrays:
            np.savez(tmp_path / f"{me}.npz", y=arrays["y"], motion=np.moveaxis(arrays["motion"], 1, 2))
    code, printed = running.everything(file, tmp_path / "own")
    assert code == 0, printed
    [noted] = running.events(tmp_path / "own", "a0", "data-noted")
    said = f"array 'motion' of {tmp_path / 'a0.npz'} has shape (40, 8, 2) and is read as 8 channels of 2 steps"
    assert noted["why"].startswith(said)
    shared = tmp_path / "shared.yaml"
    agents = [{"id": me, "modalities": ["motion"]} for me in ("a0", "a1")]
    shared.write_text(yaml.safe_dump({"graph": {"generator": "ring"}, "agents": agents, "dataset": "npz", "rounds": 1,
                                      "data": {"path": "a0.npz"}, "model": SMALL, "device": "cpu"}))  # fmt: skip
    code, printed = running.everything(shared, tmp_path / "run")
    assert code == 0 and " ".join(printed.split()).count(said) == 1, printed
    assert running.events(tmp_path / "run", "a0", "data-noted") == []


# scales that all agree on

ALL = {"modalities": {m: each | {"scale": "all"} for m, each in MODALITIES.items()}, "classes": CLASSES}


def test_all_agree_on_scales_as_in_the_simulator_and_go_on_with_them(tmp_path, agent):
    file, out = study(tmp_path, data_schema=ALL, rounds=2, train={"schedule": "constant"}), tmp_path / "run"
    _, said, _ = agent("check", file)
    assert "to agree on before the first" in said
    code, printed = running.everything(file, out)
    assert code == 0, printed
    plan = RunPlan(run_file.load(file))
    assert running.differing(running.saved(plan, out), running.simulated(plan)) == []
    kept = {me: (out / "agents" / me / "data.json").read_bytes() for me in TYPES}
    assert all(json.loads(each)["scale"]["motion"]["mean"] for each in kept.values()), "also where nothing is heard"
    code, printed = running.everything(file, out, "--resume", "--rounds", "3")
    assert code == 0, printed
    longer = RunPlan(run_file.load(file).model_copy(update={"rounds": 3}))
    assert running.differing(running.saved(longer, out), running.simulated(longer)) == []
    assert {me: (out / "agents" / me / "data.json").read_bytes() for me in TYPES} == kept
    assert [e["round"] for me in TYPES for e in running.events(out, me, "scale-agreed")] == [0] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"events": [{"round": 1, "agent": "a3", "join": True}, {"round": 1, "agent": "a0", "gain": ["motion"]}]},
        {"method": "fedavg", "graph": {"generator": "star"}},
        {"varying": {"kind": "matching"}},
    ],
    ids=["joins", "coordinator", "varying"],
)
def test_agents_over_a_transport_agree_as_in_the_simulator(tmp_path, changes):
    file = study(tmp_path, data_schema=ALL, **changes)
    site(tmp_path / "sites/a0.npz", 50, 0)
    plan = RunPlan(run_file.load(file))
    assert running.differing(running.over_memory(plan, tmp_path / "run"), running.simulated(plan)) == []


def test_lost_messages_and_one_that_says_nothing_hold_nobody_up(tmp_path):
    faults = [{"kind": "drop", "probability": 0.1}, {"kind": "drop", "senders": ["a3"]}]
    file = study(tmp_path, data_schema=ALL, rounds=1, faults=faults, clocks={"exchange": 0.05})
    plan = RunPlan(run_file.load(file))
    running.over_memory(plan, tmp_path / "run")
    for me in ("a0", "a1", "a2"):
        [agreed] = running.events(tmp_path / "run", me, "scale-agreed")
        assert agreed["samples"].keys() == MODALITIES.keys()


def test_one_that_stops_before_it_has_agreed_hears_the_scale_from_its_neighbours(tmp_path):
    slow = {"kind": "delay", "seconds": 0.1, "rounds": [1, 99]}
    file, out = study(tmp_path, data_schema=ALL, rounds=8, faults=[slow]), tmp_path / "run"
    plan, folder, post = RunPlan(run_file.load(file)), RunFolder(out), MemoryNetwork()
    agents = {me: running.agent(plan, me, MemoryTransport(me, post), folder) for me in plan.specs}

    async def stopped_once(stop):
        early = asyncio.Event()
        agents["a1"].on_round = lambda round: early.set()
        assert await agents["a1"].run(early) == 0
        while not running.events(out, "a0", "scale-agreed"):
            await asyncio.sleep(0.02)
        again = running.agent(plan, "a1", MemoryTransport("a1", post), folder, newest=0)
        assert await again.run(stop) == 8
        return again.agent_state.agreed

    others = [agents[me] for me in ("a0", "a2", "a3")]
    *ends, agreed = running.together([*others, SimpleNamespace(run=stopped_once)])
    assert ends == [8, 8, 8]
    [heard] = running.events(out, "a1", "scale-agreed")
    assert heard["round"] > 0 and heard["samples"] == {}
    neighbours = [agents[me].agent_state.agreed for me in ("a0", "a2")]
    for m, scale in agreed.scales.items():
        assert torch.equal(scale.mean, torch.minimum(*(each.scales[m].mean for each in neighbours)))


def test_one_that_is_killed_before_it_has_agreed_comes_back_and_hears_the_scale(tmp_path):
    slow = {"kind": "delay", "seconds": 0.1}
    file, out = study(tmp_path, data_schema=ALL, rounds=8, faults=[slow]), tmp_path / "run"
    with running.started(file, out, "--no-alone") as process:
        running.until(lambda: all(running.events(out, me, "joined") for me in TYPES))
        [begun] = running.events(out, "a1", "start")
        os.kill(begun["pid"], signal.SIGKILL)
        with running.started(out / "run.yaml", out, "--id", "a1", "--resume") as again:
            code, printed = running.ended(again)
            assert code == 0, printed
        running.ended(process)
    [heard] = running.events(out, "a1", "scale-agreed")
    assert heard["round"] > 0 and not running.events(out, "a1", "missing")
    kept = [json.loads((out / "agents" / me / "data.json").read_text())["scale"] for me in TYPES]
    for m in MODALITIES:
        assert all(np.allclose(each[m]["mean"], kept[1][m]["mean"], rtol=1e-5) for each in kept)
    assert all(running.events(out, me, "end") for me in TYPES)

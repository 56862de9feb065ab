"""Agents and experiments on a Ray cluster of two nodes, both on this machine."""

import json
import os
import signal
import subprocess
import sys

import clusters
import pytest
import running
import yaml

FOUR = {"audio": 2, "motion": 1, "audio+motion": 1}
HERE = {"security": "none", "resources": {"cpus": 0.5}}
NEW = ["env"]  # started anew, for Ray starts threads when it is loaded
PROGRAM = [sys.executable, "-c", "from parse_p2p.lab.cli import main; main()", "compare"]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def cluster():
    with clusters.running() as running:
        yield running


def plan(**changes):
    return running.plans.plan(FOUR, **{"rounds": 3} | HERE | changes)


def nodes(out, plan, again=False):
    """Where each agent was placed last, or again after its node was lost."""
    placed = {me: [e for e in running.events(out, me, "placed") if e["again"] or not again] for me in plan.specs}
    return {me: events[-1]["node"] for me, events in placed.items() if events}


def everything(file, out, *arguments):
    return running.everything(file, out, "--launcher", "ray", *arguments, under=NEW)


def test_agents_spread_over_the_nodes_end_as_the_simulator_does(cluster, tmp_path):
    ring = plan()
    code, printed = everything(running.write(ring, tmp_path), tmp_path / "run")
    assert code == 0 and "audio+motion" in printed, printed
    assert len(set(nodes(tmp_path / "run", ring).values())) == 2
    assert running.differing(running.saved(ring, tmp_path / "run"), running.simulated(ring)) == []


def test_agents_of_a_lost_node_go_on_at_another_and_all_leave_checkpoints_when_interrupted(cluster, tmp_path):
    slow = {"data": {"samples": 2400}, "train": {"batch": 8, "epochs": 3}, "clocks": {"heartbeat": 0.2, "lost": 10}}
    ring, out = plan(rounds=2000, **slow), tmp_path / "run"  # its end is not awaited
    file = running.write(ring, tmp_path)
    with running.started(file, out, "--launcher", "ray", "--quiet", "--no-alone", under=NEW) as process:
        for me in ring.specs:
            running.until_round(out, me, 1)
        before = nodes(out, ring)
        cluster.say("lose")
        lost = set(before) - {me for me, node in before.items() if node == cluster.first}
        assert 0 < len(lost) < 4
        running.until(lambda: nodes(out, ring, again=True).keys() == lost)
        assert set(nodes(out, ring).values()) == {cluster.first}
        for me in lost:
            running.until(lambda me=me: len(running.events(out, me, "joined")) == 2)
            round = running.events(out, me, "joined")[1]["round"]
            running.until_round(out, me, round)
            assert running.events(out, me, "resumed") and round > 0
            for other in (set(before) - lost) & ring.neighbours(me):
                running.until_round(out, other, round)
                assert any(me in e["sent"] for e in running.events(out, other, "round") if e["round"] == round)
        process.send_signal(signal.SIGINT)
        code, printed = running.ended(process)
    assert code == 130 and "every agent left a checkpoint" in printed, printed
    assert all(running.events(out, me)[-1]["event"] == "stopped" for me in ring.specs)


@pytest.mark.parametrize(
    ("setting", "said"),
    [("train.lr=1e30", "lower train.lr"), ("resources.cpus=3", "ask for 6 CPUs together and the cluster has ")],
)
def test_what_goes_wrong_on_the_cluster_is_one_sentence(setting, said, cluster, tmp_path):
    pair = running.plans.plan({"audio": 2}, rounds=3, **HERE)
    code, printed = everything(running.write(pair, tmp_path), tmp_path / "run", "--set", setting)
    assert code == 2 and printed.startswith("error: ") and printed.count("\n") == 1 and said in printed, printed


def test_without_a_cluster_at_its_address_or_without_ray_it_is_one_sentence(tmp_path, monkeypatch):
    file = running.write(plan(), tmp_path)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "ray.py").write_text("raise ModuleNotFoundError('No module named ray', name='ray')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")]))
    code, printed = everything(file, tmp_path / "run")
    assert (code, printed) == (2, "error: --launcher ray needs Ray: pip install 'parse-p2p[ray]'\n")
    assert not (tmp_path / "run").exists()


def outcomes(folder):
    """What was found, by run; how long it took differs from time to time."""
    read = [json.loads(path.read_text()) for path in (folder / "outcomes").glob("*.json")]
    return {found["key"]: {k: v for k, v in found.items() if k != "seconds"} for found in read}


def test_an_experiment_on_the_cluster_finds_what_it_finds_here(cluster, tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(plan().run.model_dump(mode="json", exclude_none=True)))
    grid = {"base": "base.yaml", "axes": {"method": ["parse"]}, "seeds": [0, 1], "baseline": "parse"}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid))
    for out, arguments in (("there", ["--engine", "ray"]), ("here", ["--workers", "1"])):
        command = [*PROGRAM, path, "--out", tmp_path / out, "--quiet", *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr
    assert len(outcomes(tmp_path / "here")) == 2 and outcomes(tmp_path / "there") == outcomes(tmp_path / "here")

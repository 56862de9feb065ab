"""What lies in deploy/ works as it stands: the Slurm script with agents of this host, the manifest by its schema."""

import os
import re
import subprocess

import pytest
import running
import yaml
from paths import ROOT

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.transports import curve

MANIFEST = ROOT / "deploy" / "kubernetes.yaml"
SRUN = """#!/usr/bin/env bash
# As Slurm's: the command once for each task, each with its number; it fails with the last that failed.
while [[ $1 == --* ]]; do shift; done
for task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task "$@" & done
code=0
while [[ -n $(jobs -p) ]]; do wait -n || { [[ $? == 127 ]] && break; code=1; }; done
exit $code
"""


def job(tmp_path, file, *arguments, tasks=3):
    """The script as one job: exit code and what was printed."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(running.COMMAND.parent), os.environ["PATH"]])
    command = ["bash", ROOT / "deploy" / "slurm.sh", file, tmp_path / "run", *arguments]
    done = subprocess.run(list(map(str, command)), env=os.environ | {"PATH": path, "SLURM_NTASKS": str(tasks)},
                          capture_output=True, text=True, timeout=150)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_tasks_of_a_slurm_job_find_each_other_and_end_as_the_simulator_does(tmp_path):
    """Listening on all addresses of the host, over encrypted links."""
    plan = running.plans.plan({"audio": 2, "audio+motion": 1}, rounds=2, keyring=str(tmp_path / "keys"))
    curve.make(tmp_path / "keys", plan.specs)
    code, printed = job(tmp_path, running.write(plan, tmp_path), "--seed=1")
    assert code == 0, printed
    seeded = running.plans.plan({"audio": 2, "audio+motion": 1}, rounds=2, seed=1)
    assert running.differing(running.saved(seeded, tmp_path / "run"), running.simulated(seeded)) == []


def documents():
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def test_the_manifest_follows_the_schemas_of_kubernetes():
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for document in documents():
        for version in ("1.28", validator.latest_version()):
            validator.validate(document, version, strict=True)


def test_the_manifest_starts_every_agent_of_its_run_file_once_and_they_know_where_the_first_is():
    service, pods = documents()
    agent = pods["spec"]["template"]["spec"]["containers"][0]
    settings = [run_file.setting(a.removeprefix("--set=")) for a in agent["args"] if a.startswith("--set=")]
    index = [(key, value.replace("$(INDEX)", "3") if isinstance(value, str) else value) for key, value in settings]
    named = re.search(r"from-file=run.yaml=(\S+)", MANIFEST.read_text())
    plan = RunPlan(run_file.load(ROOT / named[1], index))
    assert len(plan.specs) == pods["spec"]["replicas"]
    name, hosts = pods["metadata"]["name"], service["metadata"]["name"]
    assert pods["spec"]["serviceName"] == hosts and service["spec"]["clusterIP"] == "None"
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    first = f"tcp://{name}-0.{hosts}:"
    assert plan.endpoints.contacts == {"a0": (f"{first}{ports['data']}", f"{first}{ports['control']}")}
    assert plan.run.discovery.model_dump()["advertise"] == f"{name}-3.{hosts}" and plan.endpoints.encrypted
    assert [f"a{i}" for i in range(pods["spec"]["replicas"])] == list(plan.specs)  # as its keys and its log are named

"""Agents on hosts of their own, by scripts/netns.py, where this machine lets one make network namespaces."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import netns
import numpy as np
import pytest
import yaml
from paths import ROOT

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.transports import curve

SCRIPT = ROOT / "scripts" / "netns.py"
NAME = f"p2p-{os.getpid()}-try"


def hindrance():
    """Why no namespace can be made."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "it takes Linux, root and the program ip (iproute2)"
    tried = subprocess.run(["ip", "netns", "add", NAME], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", NAME], capture_output=True)
    return tried.stderr.strip()


@pytest.mark.timeout(500)  # it ends itself before
def test_on_hosts_of_their_own_they_end_as_on_one_and_bear_what_befalls_them():
    if why := hindrance():
        pytest.skip(why)
    before = set(spaces())
    ended = subprocess.run([sys.executable, SCRIPT, "--agents", "5"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 of them differ" in ended.stdout and "no messages refused" in ended.stdout, ended.stdout
    assert not [name for name in spaces() if name not in before and name.startswith(f"p2p-{os.getpid()}")]


def spaces():
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split()


CLASSES = ["cat", "dog", "fox"]
SHAPES = {"audio": [6], "motion": [2, 8]}
ENTER = """mount -t tmpfs own {own} && [ ! -d {staged}/{me} ] || mv {staged}/{me}/* {own}/ || exit
exec setpriv --regid {group} --clear-groups --inh-caps=-all --bounding-set=-dac_override,-dac_read_search "$@"
"""  # as root that is nobody's better: only the modes of files say what it reads


def sites(folder):
    """A source of another kind for each agent, as its run file has it: no two have as many rows."""
    rng = np.random.default_rng(0)
    sources: dict[str, dict[str, object]] = {}
    for i in range(8):
        y, path = np.resize(np.arange(3), 40 + 6 * i), folder / f"a{i}.npz"
        x = {m: 3 * y.reshape(-1, *[1] * len(s)) + rng.normal(size=(len(y), *s)) for m, s in SHAPES.items()}
        labels = np.array(CLASSES)[y]
        if i == 0:  # names of a subset of the classes
            path, keep = folder / "a0.csv", labels != "dog"
            rows = np.column_stack([labels[keep], x["audio"][keep]])
            path.write_text("\n".join(",".join(row) for row in [["kind", *"abcdef"], *rows]) + "\n")
            sources["a0"] = {"path": str(path), "target": "kind", "columns": {"audio": list("abcdef")}}
            continue
        if i == 1:  # rows that lack a modality
            x["audio"][::5], x["motion"][1::5] = np.nan, np.nan
        if i == 2:  # read from its files as it is needed
            path = folder / "a2"
            path.mkdir()
            for name, array in {**x, "y": labels}.items():
                np.save(path / f"{name}.npy", array)
        else:
            np.savez(path, y=labels, **x)
        sources[f"a{i}"] = {"path": str(path)} | ({"kind": "npy", "lazy": True} if i == 2 else {})
    return sources


def belongs_to(path, group):
    """Of nobody's, to be read by a group alone."""
    for each in [path, *path.rglob("*")]:
        os.chown(each, 65534, group)
        each.chmod(0o050 if each.is_dir() else 0o040)


def entered(lan, me, own, staged, command):
    """What came of a process on a host, of a group of its own, where ``own`` is a folder that no other host sees."""
    group = 40_000 + int(me[1:])
    script = ENTER.format(own=own, staged=staged, me=me, group=group)
    audit = {"PYTHONPATH": str(ROOT / "tests/support/audited"), "AUDITED": str(own.parent / "sites"), "AUDITED_BY": me}
    return subprocess.run(
        ["ip", "netns", "exec", lan.name(me), "sh", "-c", script, "sh", *map(str, command)],
        capture_output=True, text=True, env=os.environ | audit,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_each_of_eight_hosts_reads_the_file_that_it_alone_can_read(tmp_path):
    if why := hindrance() or ("" if shutil.which("setpriv") else "it takes the program setpriv (util-linux)"):
        pytest.skip(why)
    folder, own, staged = (tmp_path / name for name in ("sites", "own", "staged"))
    for each in (folder, own, staged):
        each.mkdir()
    sources = sites(folder)
    for k, source in enumerate(sources.values()):
        belongs_to(Path(source["path"]), 40_000 + k)
    (staged / "a7").mkdir()  # mounted on its host, and nowhere else
    shutil.move(sources["a7"]["path"], staged / "a7")
    sources["a7"]["path"] = str(own / "a7.npz")
    hosts, out = list(sources), tmp_path / "run"
    with netns.Lan(hosts) as lan:
        agents = [
            {"id": me, "modalities": ["audio"] if me == "a0" else [*SHAPES], "data": source,
             "address": f"tcp://{lan.address(me)}:7000"}
            for me, source in sources.items()
        ]  # fmt: skip
        kinds = {m: {"kind": "vector" if len(shape) == 1 else "series", "shape": shape} for m, shape in SHAPES.items()}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({
            "graph": {"generator": "ring"}, "agents": agents, "rounds": 2, "device": "cpu",
            "data_schema": {"modalities": kinds, "classes": CLASSES},
            "model": {"latent": 6, "hidden": 4, "encoder": {"width": 6, "depth": 1}},
        }))  # fmt: skip
        plan = RunPlan(run_file.load(file))
        assert plan.endpoints.encrypted
        curve.make(Path(plan.run.keyring), plan.specs)
        study = [*netns.COMMAND, "--topology", file, "--out", out, "--id"]
        with ThreadPoolExecutor(len(hosts)) as pool:
            for done in pool.map(lambda me: entered(lan, me, own, staged, [*study, me]), hosts):
                assert done.returncode == 0, done.stdout + done.stderr
        read = entered(lan, "a3", own, staged, ["wc", "-c", *(each["path"] for each in sources.values())])
        assert read.stderr.count("Permission denied") == 6 and read.stderr.count("No such file") == 1, read.stderr
        assert "/a3" not in read.stderr
    opened = {tuple(line.split()) for line in (tmp_path / "sites.opened").read_text().splitlines()}
    named = {(me, source["path"]) for me, source in sources.items() if me not in ("a2", "a7")}
    assert opened == named | {("a2", f"{sources['a2']['path']}/{name}.npy") for name in (*SHAPES, "y")}
    summary = subprocess.run([*netns.COMMAND, "summary", out, "--no-alone"], capture_output=True, text=True)
    rows = [line.split(":")[0] for line in summary.stdout.splitlines() if re.match(r"a\d:", line)]
    assert rows == hosts, summary.stdout

"""The wheel, installed apart from this tree: a user's project in a folder of its own passes mypy --strict, and runs."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from paths import ROOT

import parse_p2p

PROJECT = ROOT / "tests" / "support" / "user_project"
OUTSIDE = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MYPYPATH")}


def called(*command, folder):
    done = subprocess.run([*map(str, command)], cwd=folder, env=OUTSIDE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    called(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def user(wheel, tmp_path_factory):
    """A copy of the project, and a Python that has the wheel before all that this Python has."""
    home = tmp_path_factory.mktemp("user")
    called(sys.executable, "-m", "venv", "--without-pip", home / "venv", folder=home)
    python = home / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home / "venv")}))
    (site / "other.pth").write_text("\n".join(p for p in sys.path if Path(p).name.endswith("-packages")))
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    called(*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel, folder=home)
    return shutil.copytree(PROJECT, home / "project"), python


def test_the_wheel_holds_every_file_of_the_package_and_none_beside_it(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    files = [p for p in (ROOT / "parse_p2p").rglob("*") if p.is_file() and p.parent.name != "__pycache__"]
    assert not {str(p.relative_to(ROOT)) for p in files} - held
    assert {"parse_p2p/py.typed", "parse_p2p/__init__.pyi", "parse_p2p/lab/report/web/page.html"} <= held
    assert {name.split("/")[0] for name in held} == {"parse_p2p", f"parse_p2p-{parse_p2p.__version__}.dist-info"}


def test_there_is_one_version(user):
    code = "import importlib.metadata as m, parse_p2p as p; print(m.version('parse-p2p'), p.__version__, p.__file__)"
    folder, python = user
    installed, said, file = called(python, "-c", code, folder=folder).split()
    assert installed == said == parse_p2p.__version__
    assert Path(file).is_relative_to(python.parents[1])


@pytest.mark.timeout(600)  # all of numpy and half of torch, the first time
def test_the_users_project_passes_mypy_strict(user, request):
    folder, python = user
    cache = request.config.cache.mkdir("user_project_mypy")  # most of it is torch, which stays as it is
    command = (sys.executable, "-m", "mypy", "--python-executable", python, "--cache-dir", cache, ".")
    assert called(*command, folder=folder).startswith("Success: no issues found in 7 source files")


def test_the_users_project_runs(user):
    folder, python = user
    found = json.loads(called(python, "main.py", folder=folder))
    assert Path(found["package"]).is_relative_to(python.parents[1])
    assert found["rounds"] == 3 and found["accuracy"] > 0.4  # a third is chance
    assert found["refused"] == "data.samples: 1 samples for 6 persons: give each one"
    trunk, head, bias, count = (4 + 2 * numbers for numbers in (72, 24, 6, 1))  # bytes, by the project's own codec
    assert found["bytes"] == 3 * (12 * trunk + 2 * head + 8 * bias + 12 * count)

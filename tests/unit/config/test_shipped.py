"""Shipped run files are found by name: in a checkout, and in a package that was installed."""

import tomllib
from pathlib import Path

import pytest
from paths import ROOT

from parse_p2p.config import shipped
from parse_p2p.core.errors import ConfigError


@pytest.fixture(params=["checkout", "installed"])
def folder(request, tmp_path, monkeypatch):
    """Where they lie, seen from an empty folder."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if request.param == "checkout":
        return ROOT / "topologies"
    package = tmp_path / "site-packages" / "parse_p2p"
    inside = package.parent / force_included()["topologies"]
    inside.mkdir(parents=True)
    for path in (ROOT / "topologies").iterdir():
        (inside / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(shipped, "__file__", str(package / "config" / "shipped.py"))
    return inside


def force_included():
    """Which files and folders a wheel gets beside the package, and where."""
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    return targets["wheel"]["force-include"]


@pytest.mark.parametrize("named", ["ring", "ring.yaml", "topologies/ring.yaml", "topologies/ring", "./ring"])
def test_one_is_found_by_any_of_its_names(named, folder):
    assert shipped.find(Path(named)) == folder / "ring.yaml"


def test_all_have_names_and_a_schema_beside_them(folder):
    assert shipped.names() == sorted(path.stem for path in (ROOT / "topologies").glob("*.yaml"))
    assert set(shipped.names()) - set(shipped.beginnings()) == {
        "compose-gossip", "compose-mqtt", "compose-ring", "compose-star",
    }  # fmt: skip
    assert (shipped.folder() / shipped.SCHEMA).is_file()


def test_a_file_of_ones_own_comes_first_and_a_folder_does_not(folder):
    Path("ring").mkdir()
    assert shipped.find(Path("ring")) == folder / "ring.yaml"
    Path("ring.yaml").touch()
    assert shipped.find(Path("ring.yaml")) == Path("ring.yaml")
    Path("torus").touch()
    assert shipped.find(Path("torus")) == Path("torus")


@pytest.mark.parametrize("named", ["mine/ring.yaml", "../ring.yaml", "ring.yml", "ring.json", "/ring.yaml", "rnig"])
def test_what_names_none_is_refused(named, folder):
    with pytest.raises(ConfigError, match=r"cannot be read: no such file, and none that is shipped .*'ring'"):
        shipped.find(Path(named))


def test_a_folder_that_is_no_file_is_refused(folder):
    Path("here").mkdir()
    with pytest.raises(ConfigError, match="the topology here cannot be read: is a directory"):
        shipped.find(Path("here"))

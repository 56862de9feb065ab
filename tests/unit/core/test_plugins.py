"""Plug-ins by their names: each kind lists what its folder holds, and whoever asks for another is told so."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.plugins import PluginKind

KINDS = [kind for kind in vars(plugins).values() if isinstance(kind, PluginKind)]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)


def holds(path, attribute):
    """Whether a file makes something of this name at its top."""
    made = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        made |= {getattr(target, "id", getattr(target, "name", None)) for target in targets}
    return attribute in made


def names(kind):
    """The names of the files of a kind, wherever in its folder."""
    folder = Path(importlib.import_module(kind.package).__path__[0])
    return sorted(path.stem.replace("_", "-") for path in folder.rglob("*.py") if holds(path, kind.attribute))


@each_kind
def test_a_kind_lists_what_its_folder_holds_and_every_name_once(kind):
    found = names(kind)
    assert found and len(set(found)) == len(found)
    assert plugins.known(kind) == found


def test_the_kinds_are_those_of_the_house():
    assert {kind.what for kind in KINDS} == {
        "method", "network", "data set", "encoder", "codec", "mixer", "exchange", "fault", "discovery", "launcher",
        "measure", "metric", "optimiser", "schedule", "task", "way to keep samples", "way to detect drift",
        "weighting",
    }  # fmt: skip


@each_kind
def test_a_name_may_have_a_line_below_in_place_of_a_hyphen(kind):
    for name in plugins.known(kind):
        assert plugins.load(kind, name) is plugins.load(kind, name.replace("-", "_"))


@each_kind
@pytest.mark.parametrize("name", ["nothing", "nothing.at.all", "", ".", ".x", "x.", "os", "\0.x"])
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(kind, name):
    with pytest.raises(ConfigError) as caught:
        plugins.load(kind, name)
    assert f"there is no {kind.what} {name!r}: " in str(caught.value)
    assert f"Known: {', '.join(plugins.known(kind))}" in str(caught.value)


def test_the_nearest_name_is_given():
    with pytest.raises(ConfigError, match="there is no mixer 'trimed-mean': did you mean 'trimmed-mean'"):
        plugins.load(plugins.MIXERS, "trimed-mean")


@each_kind
def test_a_module_that_is_something_else_is_refused(kind):
    with pytest.raises(ConfigError, match=rf"'os.path' is no {kind.what} \(it has no {kind.attribute}\)"):
        plugins.load(kind, "os.path") if kind.attribute != "open" else pytest.skip("it opens too")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.what)
def test_the_names_read_off_the_files_are_those_of_the_plugins(kind):
    assert plugins.names(kind) == plugins.known(kind) != []


def test_names_are_known_without_torch():
    code = "import sys; from parse_p2p.core.plugins import *; names(METHODS); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# modules of one's own


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a package, and a path as that of a command, which lacks the current folder."""
    (tmp_path / "plugged").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path / "plugged"
    for name in [name for name in sys.modules if name.split(".")[0] in ("plugged", "beside")]:
        del sys.modules[name]


def test_a_module_in_the_current_folder_is_found(here):
    (here.parent / "beside.py").write_text("VALUE = 3")
    (here / "mine.py").write_text("import beside\n\nMIXER = beside.VALUE")
    before = [*sys.path]
    assert plugins.load(plugins.MIXERS, "plugged.mine") == 3
    assert sys.path == before


def test_what_a_module_adds_to_the_path_stays(here):
    (here / "mine.py").write_text("import sys\n\nsys.path.append('lib')\nMIXER = 1")
    sys.path.insert(0, "")
    plugins.load(plugins.MIXERS, "plugged.mine")
    assert sys.path[0] == "" and sys.path[-1] == "lib"


BROKEN = {
    "syntax": ("MIXER = (", "the module 'plugged.mine' cannot be imported (SyntaxError: '(' was never closed (mine.py"),
    "name": ("MIXER = np", "cannot be imported (NameError: name 'np' is not defined); correct it"),
    "import": ("from os import nothing", "cannot be imported (ImportError: cannot import name 'nothing' from 'os'"),
    "value": ("raise ValueError", "the module 'plugged.mine' cannot be imported (ValueError); correct it"),
    "exit": ("raise SystemExit(2)", "cannot be imported (SystemExit: 2); correct it"),
    "package": ("import nopackage.deep", "'plugged.mine' needs the package 'nopackage': pip install nopackage"),
    "own": ("import plugged.other", "cannot be imported (ModuleNotFoundError: No module named 'plugged.other'); co"),
}


@pytest.mark.parametrize(("code", "said"), BROKEN.values(), ids=BROKEN)
def test_a_module_that_is_there_but_fails_says_why(here, code, said):
    (here / "mine.py").write_text(code)
    with pytest.raises(ConfigError) as caught:
        plugins.load(plugins.MIXERS, "plugged.mine")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_not_one_that_fails(here):
    (here / "mine.py").write_text("MIXER = 1")
    for name in ("plugged.min", "plugged.mine.deeper", "plug.mine"):
        with pytest.raises(ConfigError, match=f"there is no mixer '{name}': "):
            plugins.load(plugins.MIXERS, name)
        with pytest.raises(ModuleNotFoundError):
            plugins.imported(name)

"""The floors of the house, read off the imports: a folder imports from those below it, and never the other way."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

import parse_p2p

ROOT = Path(parse_p2p.__file__).parent
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in sorted(ROOT.rglob("*.py"))}
FLOORS = (
    "core",  # values: no I/O but appending to a log
    "topology",
    "data",
    "models",
    "learning",
    "methods",  # scripts: no sockets and no clock
    "wire",
    "transports",
    "discovery",
    "runtime",
    "config",  # the only YAML
    "launch",
    "serving",
    "cli",
    "lab",
    "api",
    "__init__",
)
"""From the lowest up: what a folder may import stands before it."""

WITHOUT = {
    "methods": {"wire", "transports", "discovery", "runtime"},
    "wire": {"topology", "data", "models", "learning", "methods"},
    "transports": {"topology", "data", "models", "learning", "methods"},
}
"""Floors below that a folder has no business with all the same: learning and the wire do not know each other."""

WITH_ASYNCIO = {"transports", "discovery", "runtime", "launch", "cli", "lab"}
WITH_ZMQ = {"transports.zmq", "transports.curve", "transports.link"}
DOORS = {"__init__", "data.__init__", "models.__init__"}
"""Where users of the package find its names, see test_public_names.py."""

LONGEST = 700
MOST_FILES = 14


def floor(module):
    return module.split(".")[0]


def imported(path):
    """Absolute names of what a file imports, wherever in the file it does, but for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    branches = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    never = {inner for branch in branches for node in branch.body for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in never:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}:{node.lineno} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """The names of the package that a file imports, each with its module: the longest part of it that is a file."""
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "parse_p2p":
            found = (".".join(parts[1:stop]) for stop in range(len(parts), 1, -1))
            yield name, next((f for m in found for f in (m, f"{m}.__init__") if f in FILES), "__init__")


def test_every_folder_is_a_floor():
    assert {floor(module) for module in FILES} == set(FLOORS)


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_only_its_own_floor_and_those_below(module):
    mine = floor(module)
    allowed = {*FLOORS[: FLOORS.index(mine) + 1]} - WITHOUT.get(mine, set())
    if module != "__init__":
        allowed.add("__init__")  # the version
    wrong = {other for _, other in ours(FILES[module]) if floor(other) not in allowed}
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}, which is not below it"


@pytest.mark.parametrize("module", FILES)
def test_asyncio_and_zmq_stay_on_their_floors(module):
    roots = {name.split(".")[0] for name in imported(FILES[module])}
    assert "zmq" not in roots or module in WITH_ZMQ
    assert "asyncio" not in roots or floor(module) in WITH_ASYNCIO


def test_no_imports_in_a_circle():
    files = nx.DiGraph((module, other) for module, path in FILES.items() for _, other in ours(path))
    assert list(nx.simple_cycles(files)) == []


def test_the_door_of_the_package_opens_at_once():
    code = "import sys; before = {*sys.modules}; import parse_p2p; print(*{*sys.modules} - before)"
    asked = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent)
    loaded = asked.stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["parse_p2p"]


@pytest.mark.parametrize("module", [m for m in FILES if m.endswith(".__init__")])
def test_folders_say_nothing_themselves(module):
    """But for the doors, which say what they are and hand on names."""
    said = ast.parse(FILES[module].read_text(encoding="utf-8")).body
    if module not in DOORS:
        assert said == []
        return
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in said)
    assert [ast.unparse(node.targets[0]) for node in said if isinstance(node, ast.Assign)] == ["__all__"]


@pytest.mark.parametrize("module", FILES)
def test_the_doors_are_for_users(module):
    """The package takes only the version through one: what is behind a name has a floor, a door has none."""
    assert {name for name, other in ours(FILES[module]) if other in DOORS} <= {"parse_p2p.__version__"}


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_too_long_to_be_read_at_a_sitting(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_folder_holds_more_than_can_be_seen_at_once():
    folders = {folder: len(list(folder.glob("*.py"))) - 1 for folder in {path.parent for path in FILES.values()}}
    assert not {folder.name: files for folder, files in folders.items() if files > MOST_FILES}


def test_tests_of_a_module_lie_where_the_module_does():
    unit = Path(__file__).parent / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}
    assert not [folder for folder in folders if not (ROOT / folder).is_dir()]

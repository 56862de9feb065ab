"""The floors of the house: values <- wire | learning <- methods <- runtime <- edge, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

import parse_p2p

ROOT = Path(parse_p2p.__file__).parent
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in sorted(ROOT.rglob("*.py"))}
FLOORS = {
    "values": "__init__ names errors draws parcel slices mixing membership plugins topology",
    "wire": "framing codecs faults transports",
    "learning": "arena data devices models learner losses information probes staging",
    "methods": "methods",
    "runtime": "participant sketch introduction announcer simulate desk directory discovery courier presence agent "
    "runlog checkpoint",
}
BELOW = {
    "values": set(),
    "wire": {"values"},
    "learning": {"values"},
    "methods": {"values", "learning"},
    "runtime": {"values", "wire", "learning", "methods"},
    "edge": {"values", "wire", "learning", "methods", "runtime"},
}
WITH_ASYNCIO = {"agent", "presence", "courier", "desk", "discovery", "transports"}  # and the edge
LONGEST = 420


def floor(module):
    return next((name for name, rooms in FLOORS.items() if module.split(".")[0] in rooms.split()), "edge")


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
    """The modules of the package that a file imports: the longest part of each name that is a file."""
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "parse_p2p":
            found = (".".join(parts[1:stop]) for stop in range(len(parts), 1, -1))
            yield next((f for m in found for f in (m, f"{m}.__init__") if f in FILES), "__init__")


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_only_its_own_floor_and_those_below(module):
    mine = floor(module)
    up = {other for other in ours(FILES[module]) if floor(other) not in {mine, *BELOW[mine]}}
    assert not up, f"{module} on the floor {mine!r} imports {', '.join(f'{u} ({floor(u)})' for u in sorted(up))}"


@pytest.mark.parametrize("module", FILES)
def test_asyncio_and_zmq_stay_in_their_rooms(module):
    roots = {name.split(".")[0] for name in imported(FILES[module])}
    assert "zmq" not in roots or module in ("transports.zmq", "transports.curve", "transports.links")
    assert "asyncio" not in roots or floor(module) == "edge" or module.split(".")[0] in WITH_ASYNCIO


def test_no_imports_in_a_circle():
    graph = nx.DiGraph((module, other) for module, path in FILES.items() for other in ours(path))
    assert list(nx.simple_cycles(graph)) == []


def test_the_door_of_the_package_opens_at_once_and_its_names_are_there():
    code = "import sys, parse_p2p as p; assert 'torch' not in sys.modules; [getattr(p, name) for name in p.__all__]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("module", [m for m in FILES if m.endswith(".__init__")])
def test_plugin_folders_say_nothing_themselves(module):
    assert FILES[module].read_text() == ""


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_too_long_to_be_read_at_a_sitting(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= LONGEST

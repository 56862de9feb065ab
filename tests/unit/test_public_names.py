"""The public names: sorted, there, explained, and enough for all that the docs and a user's project write."""

import ast
import importlib
import re

import pytest
from paths import ROOT

import parse_p2p
from parse_p2p.core import errors, plugins
from parse_p2p.core.plugins import PluginKind

DOORS = {
    "parse_p2p": ROOT / "parse_p2p" / "__init__.pyi",
    "parse_p2p.data": ROOT / "parse_p2p" / "data" / "__init__.py",
    "parse_p2p.models": ROOT / "parse_p2p" / "models" / "__init__.py",
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = sorted((ROOT / "tests" / "support" / "user_project").rglob("*.py"))


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def homes(door):
    """The module of every name, as the door's table imports it."""
    imports = [node for node in parsed(DOORS[door]).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


NAMES = [(door, name, home) for door in DOORS for name, home in homes(door).items()]
OF = {door: set(homes(door)) for door in DOORS}


def listed(door):
    [names] = [n.value for n in parsed(DOORS[door]).body if isinstance(n, ast.Assign)]
    return ast.literal_eval(names)


@pytest.mark.parametrize("door", DOORS)
def test_the_list_is_sorted_and_is_all_that_is_imported(door):
    """CONSTANTS, Classes and functions one after another, as ruff sorts them."""
    names = listed(door)
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert set(names) == OF[door] == set(importlib.import_module(door).__all__)


def test_a_name_has_one_door():
    assert len(NAMES) == len({name for _, name, _ in NAMES})


@pytest.mark.parametrize(("door", "name", "home"), NAMES)
def test_each_is_what_its_module_has(door, name, home):
    found, kept = {}, {}
    exec(f"from {door} import {name}", found)
    exec(f"from {home} import {name}", kept)
    assert found[name] is kept[name]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        getattr(parse_p2p, "rnu")  # noqa: B009
    assert {*parse_p2p.__all__, "__version__"} <= set(dir(parse_p2p))


def test_every_error_is_public():
    kinds, found = [errors.P2PError], set()
    while kinds:
        found.add((kind := kinds.pop()).__name__)
        kinds += [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    assert len(found) > 10 and found <= OF["parse_p2p"]


# what is said of them


def unexplained(node, named):
    """What says nothing of itself, or not first of all in a sentence, of a module, class or function and all in it."""
    said = (ast.get_docstring(node) or "").partition("\n")[0]
    if not re.fullmatch(r"[A-Z(].*[.:]", said):
        yield f"{named}: {said!r}"
    if not isinstance(node, ast.FunctionDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and not inner.name.startswith("_"):
                yield from unexplained(inner, f"{named}.{inner.name}")


@pytest.mark.parametrize(("door", "name", "home"), NAMES)
def test_each_says_what_it_is_in_a_sentence_first(door, name, home):
    file = ROOT.joinpath(*f"{home}.{name}".split(".")).with_suffix(".py")
    if file.is_file():
        assert [*unexplained(parsed(file), name)] == []
        return
    body = parsed(ROOT.joinpath(*home.split(".")).with_suffix(".py")).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if name in bound(node) and isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert [*unexplained(node, name)] == []
            return
        if name in bound(node):
            assert isinstance(after, ast.Expr) and isinstance(ast.literal_eval(after.value), str), (
                f"{name} says nothing"
            )
            return
    raise AssertionError(f"{home} does not define {name}")


# what others write with them


def blocks():
    for page in PAGES:
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            yield pytest.param(ast.parse(code), id=f"{page.name}-{number}")
    for path in PROJECT:
        yield pytest.param(parsed(path), id=f"user_project-{path.name}")


def taken(code):
    """What a piece of code takes of the package: (module, name), no name where it takes the whole module."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in DOORS:
            yield ast.unparse(node.value), node.attr


@pytest.mark.parametrize("code", [*blocks()])
def test_examples_come_through_the_doors_alone(code):
    known = {(door, name) for door in DOORS for name in [*OF[door], "__version__", "__file__", None]}
    assert {found for found in taken(code) if found[0].split(".")[0] == "parse_p2p"} <= known


def test_there_are_examples_to_look_at():
    seen = {name for code in blocks() for _, name in taken(code.values[0])}
    assert {"Method", "Exchange", "run", "Codec", "Dataset", "Network"} <= seen
    assert len([*blocks()]) > len(PROJECT) + 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_pages_name_in_a_word_is_public(page):
    """A name in backticks that a module behind a door defines can be imported by who reads of it."""
    public = {name for names in OF.values() for name in names}
    files = {ROOT.joinpath(*home.split(".")).with_suffix(".py") for _, _, home in NAMES}
    defined = [node for file in files if file.is_file() for node in parsed(file).body]
    classes = [node for node in defined if isinstance(node, ast.ClassDef)]
    members = {name for each in classes for node in each.body for name in bound(node)}
    found_by_name = {"Options", *(kind.attribute for kind in vars(plugins).values() if isinstance(kind, PluginKind))}
    private = {name for node in defined for name in bound(node)} - public - members - found_by_name
    assert private.intersection(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8"))) == set()


def bound(node):
    """The names that a definition or an assignment gives."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]

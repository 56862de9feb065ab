"""The documentation site is whole: every page is found, what is generated says all there is, nothing points nowhere."""

import re
from typing import Any

import pictures
import pytest
import reference_pages
import results
import typer
import yaml
from mkdocs.exceptions import PluginError
from paths import ROOT

from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import events, plugins

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)#\s]+)")


def listed(navigation):
    """The pages that a navigation names."""
    for entry in navigation:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else listed(value)


def test_every_page_is_in_the_navigation_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    written = [str(path.relative_to(DOCS).as_posix()) for path in DOCS.rglob("*.md")]
    assert sorted(listed(site["nav"])) == sorted([*written, *reference_pages.PAGES])
    assert site["strict"] and site["theme"]["font"] is False


def test_every_experiment_belongs_to_a_page_and_what_comes_first_is_there():
    folders = {path.parent for path in (ROOT / "experiments").rglob("*.yaml")}
    assert {folder.name for folder in folders} == set(results.PAGES)
    for folder in folders:
        found, first = results.files(folder.name), results.PAGES[folder.name].first
        assert sorted(found) == sorted(folder.glob("*.yaml"))
        assert tuple(path.stem for path in found[: len(first)]) == first


def test_every_picture_is_shown_on_a_page():
    shown = {
        (page.parent / place).resolve()
        for page in DOCS.rglob("*.md")
        for place in re.findall(r"[\w./-]*pictures/[\w./-]+", page.read_text("utf-8"))
    }
    assert {path.resolve() for path in DOCS.rglob("pictures/**/*") if path.is_file()} == shown


def test_the_pictures_show_what_the_sharing_table_says():
    plan = RunPlan(run_file.load(ROOT / "topologies" / "ring.yaml"))
    assert (DOCS / "pictures" / "slices.svg").read_text("utf-8") == pictures.slices(plan)
    assert (DOCS / "pictures" / "network.svg").read_text("utf-8") == pictures.network()


def test_the_readme_is_a_page_that_names_both_commands():
    assert 400 < len(README.split()) <= 700
    assert "scripts/demo " in README and "scripts/test " in README


def test_the_readme_points_to_files_that_there_are():
    here = [link for link in LINK.findall(README) if not link.startswith("https://")]
    assert len(here) > 15 and [link for link in here if not (ROOT / link).exists()] == []


def row(page, key):
    """The cells of the first row of a table whose first cell is this."""
    found = re.search(rf"^\| `{re.escape(key)}` \|(.*)\|$", page, re.MULTILINE)
    assert found, key
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found[1])]


@pytest.fixture(scope="module")
def run_page():
    return reference_pages.run_file_page()


def test_every_mapping_that_a_table_of_the_run_file_names_has_a_table(run_page):
    headings = {reference_pages.anchor(line.lstrip("# ")) for line in run_page.splitlines() if line.startswith("#")}
    links = re.findall(r"\]\(#([^)]*)\)", run_page)
    assert set(links) <= headings and len(links) > 20
    assert any(link.startswith("textname-of-csv-") for link in links) and "modelencoderlora" in links


def test_the_run_file_page_has_every_key_of_every_section(run_page):
    schema = RunFile.model_json_schema()
    models = (schema, *schema["$defs"].values())
    sections = [section for model in models for section in (model, *model.get("oneOf", ())) if "properties" in section]
    for section in sections:
        for key, value in section["properties"].items():
            row(run_page, key)
            assert reference_pages.prose(value.get("description", "")).replace("|", "\\|") in run_page


def test_its_rows_have_type_default_and_meaning(run_page):
    assert row(run_page, "lr")[:2] == ["number", "`0.05`"]
    assert "learning rate" in row(run_page, "lr")[2] and "above 0" in row(run_page, "lr")[2]
    assert row(run_page, "graph")[1] == "**required**"
    assert row(run_page, "order")[2].endswith("one of `atc`, `cta`")
    assert row(run_page, "security")[0] == "`auto`, `curve`, `none`"
    assert row(run_page, "dial_only")[:2] == ["true or false", "`false`"]
    assert row(run_page, "varying")[0] == "mapping"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["object", "array", "null"]}, "mapping or list"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "whole number"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"$ref": "#/$defs/Inner"}, "mapping"),
        ({"const": "mqtt"}, "`mqtt`"),
        ({}, "any value"),
    ],
)
def test_a_type_is_said_in_words(schema, said):
    assert reference_pages.kind_of(schema, {"$defs": {"Inner": {"type": "object"}}}) == said


def test_it_has_a_heading_for_each_kind_of_fault_and_links_to_each(run_page):
    for kind in ("drop", "kill", "sensor"):
        assert f"## `faults[]` of kind `{kind}`\n" in run_page and f"(#faults-of-kind-{kind})" in run_page
    assert "## `agents[]`\n" in run_page and "## `agents`\n" in run_page and "## `model.encoder`\n" in run_page


def test_it_names_every_plug_in_and_the_options_of_every_method(run_page):
    for kind in (plugins.METHODS, plugins.DATA, plugins.CODECS, plugins.ENCODERS, plugins.NETWORKS, plugins.MEASURES):
        for name in plugins.known(kind):
            row(run_page, name)
    for name in plugins.known(plugins.METHODS):
        for key in plugins.load(plugins.METHODS, name).options.model_fields:
            assert re.search(rf"^### .*`{name}`.*\n\n(\|.*\n)*\| `{key}` \|", run_page, re.MULTILINE), (name, key)


def test_the_command_line_page_has_every_command_and_option():
    page = reference_pages.command_line_page()
    for name, app in (("parse-agent", reference_pages.parse_agent), ("parse-lab", reference_pages.parse_lab)):
        group: Any = typer.main.get_command(app)
        commands = {name: group} | {f"{name} {sub}": command for sub, command in group.commands.items()}
        for usage, command in commands.items():
            assert re.search(rf"^##+ {usage}$", page, re.MULTILINE)
            for parameter in command.params:
                assert parameter.opts[0] in page or f"`{parameter.name.upper()}`" in page
    assert "Or the variable `PARSE_AGENT_ID`." in page and "[bold]" not in page
    assert row(page, "--launcher")[0] == "`local`" and row(page, "--resume")[0] == ""
    assert "\n#### parse-agent data schema\n" in page
    keys = page.partition("### parse-agent keys\n")[2]
    assert row(keys, "--topology")[0] == "**required**" and row(keys, "--id")[0] == ""


def test_cells_hold_bars_and_tags_as_they_are_and_figures_stay_on_one_line():
    cell = reference_pages.prose("a ``b | c`` of <d>,\n  e")
    assert cell == "a `b | c` of &lt;d>, e"
    assert reference_pages.table(["x"], [[cell]]).splitlines()[-1] == "| a `b \\| c` of &lt;d>, e |"
    assert reference_pages.on_page_markdown("0.5 ± 0.1", page=None) == "0.5\u00a0±\u00a00.1"


def test_the_api_page_has_every_public_name_and_refuses_one_without_a_docstring(tmp_path, monkeypatch):
    (tmp_path / "bare.py").write_text(
        '"""A module."""\n__all__ = ["A", "f"]\n\n\nclass A:\n    """A class."""\n\n    @property\n    def p(self):\n'
        '        return 1\n\n    def m(self):\n        """Said."""\n\n    def _own(self):\n        return 2\n\n\n'
        "def f():\n    return 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "::: parse_p2p.run\n" in reference_pages.api_page()
    monkeypatch.setattr(reference_pages, "API", {"bare": "Without docstrings."})
    with pytest.raises(PluginError, match=r": bare\.A\.p, bare\.f$"):
        reference_pages.api_page()


def test_the_page_of_events_has_all_with_their_keys():
    page = reference_pages.events_page()
    for event in events.shipped():
        keys = ", ".join(f"`{key}`" for key in event.model_fields if key not in ("agent", "time"))
        assert f"| `{event.key()}` | {keys} | " in page
    assert "| `exchange` | the part of it in which the method waited for an exchange |" in page
    assert "`other`" not in page and "`agent` |" not in page

"""A hook of mkdocs that makes reference pages from the code, so that none is typed by hand and none can be out of date.

The run file is described by the schema of its model, the command lines by their typer apps, the names to choose from
by what can be found, and the API page lists ``__all__``. A public name without a docstring ends the build.
"""

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from parse_p2p.cli.agent import app as parse_agent
from parse_p2p.config.run_file import RunFile
from parse_p2p.core import events, plugins
from parse_p2p.lab.cli import app as parse_lab
from parse_p2p.lab.experiments.experiment import Experiment

API = {
    "parse_p2p": "Runs from Python, and what a method or a codec of your own is made of.",
    "parse_p2p.data": "What a data set of your own is made of.",
    "parse_p2p.models": "What a network or an encoder of your own is made of.",
}
NOTE = "<!-- made at build time by scripts/reference_pages.py -->"

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}

Schema = Mapping[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    for uri, page in PAGES.items():
        files.append(File.generated(config, uri, content=page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep a figure and its interval on one line."""
    return markdown.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


# files: the run file and the experiment file


@dataclass(frozen=True)
class Part:
    """One mapping of the run file: where it stands, and the schema of its keys."""

    path: str
    schema: Schema


def run_file_page() -> str:
    """Every key of a run file, section by section, and the options of what it names."""
    text = [
        "# The run file",
        NOTE,
        "A run file is YAML. It says everything about a run; each key has a default unless it is marked required, and "
        "`--set key=value` changes any of them (`--set train.lr=0.1`). The run folder keeps the file with every "
        "default filled in as `run.yaml`. A mistake is answered with the file, the line, the key and the nearest "
        "right name. In paths below, `[]` is an item of a list, and `NAME` a name of your choice.",
        *keys_of(RunFile),
        "## Names to choose from",
        *names_to_choose(),
        "## Options of methods",
        "`options:` of the run file, by method. `parse-agent --describe NAME` says the same.",
    ]
    text += options_of(plugins.METHODS, lambda module: module.METHOD.options)
    text += ["## Options of data sets", "`data:` of the run file, by data set."]
    text += options_of(plugins.DATA, lambda module: module.Options)
    return "\n\n".join(text) + "\n"


def experiment_file_page() -> str:
    """Every key of an experiment file."""
    text = [
        "# The experiment file",
        NOTE,
        "YAML for `parse-lab compare`: what is varied, over which seeds, and what is compared with what. "
        "[Compare methods](../how-to/experiment.md) has an example.",
        *keys_of(Experiment),
    ]
    return "\n\n".join(text) + "\n"


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """The tables of a model: its own keys, then those of each mapping below."""
    schema = model.model_json_schema()
    anchors = {content(part): anchor(heading(part)) for part in reversed([*parts(schema)])}
    yield "## Top level"
    yield from keys_table(schema, schema, "", anchors)
    for part in parts(schema):
        yield f"## {heading(part)}"
        yield from described(part.schema)
        yield from keys_table(part.schema, schema, part.path, anchors)


def parts(root: Schema) -> Iterator[Part]:
    """All mappings below the top level, each once, in the order of the file, outer before inner."""
    waiting, seen = [Part("", root)], set[int]()
    while waiting:
        part = waiting.pop(0)
        if part.path:
            yield part
        inner = [found for key, value in part.schema.get("properties", {}).items()
                 for found in below(value, root, f"{part.path}.{key}".lstrip("."))]  # fmt: skip
        waiting[:0] = [p for p in inner if id(p.schema) not in seen]
        seen |= {id(p.schema) for p in inner}


def below(value: Schema, root: Schema, path: str) -> Iterator[Part]:
    """The mappings with keys of their own that a value may be, or hold."""
    if "$ref" in value:
        found = root["$defs"][value["$ref"].rpartition("/")[2]]
        yield from [Part(path, found)] if "properties" in found else below(found, root, path)
    if value.get("properties"):  # one of several kinds
        yield Part(path, value)
    for member in [*value.get("anyOf", ()), *value.get("oneOf", ()), *value.get("allOf", ())]:
        yield from below(member, root, path)
    if isinstance(value.get("items"), Mapping):
        yield from below(value["items"], root, f"{path}[]")
    named = [value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
    for inner in (each for each in named if isinstance(each, Mapping)):
        yield from below(inner, root, f"{path}.NAME")


def heading(part: Part) -> str:
    """The path, and the kind where several share a path."""
    kind = part.schema.get("properties", {}).get("kind", {})
    said = kind.get("const") or (kind["enum"][0] if len(kind.get("enum", ())) == 1 else None)
    return f"`{part.path}`" + (f" of kind `{said}`" if said else "")


def described(schema: Schema) -> list[str]:
    """The docstring of a section."""
    return [prose(schema["description"])] if schema.get("description") else []


def keys_table(schema: Schema, root: Schema, path: str, anchors: Mapping[str, str]) -> list[str]:
    """A row for each key: type, default, meaning; ``anchors`` are those of the tables of mappings, by content."""
    required = schema.get("required", ())
    rows = []
    for key, value in schema.get("properties", {}).items():
        if value.get("format") == "path" and value.get("default") == ".":
            continue  # where the file lies, which no file says of itself
        default = "**required**" if key in required else shown(value.get("default"))
        inner = [f"[`{part.path}`](#{anchors[content(part)]})"
                 for part in below(value, root, f"{path}.{key}".lstrip("."))]  # fmt: skip
        see = "see " + ", ".join(dict.fromkeys(inner)) if inner else ""
        about = [prose(value.get("description", "")), limits(value), see]
        rows.append([f"`{key}`", kind_of(value, root), default, "; ".join(filter(None, about))])
    return [table(["key", "type", "default", "what it says"], rows)] if rows else []


def content(part: Part) -> str:
    """The keys of a mapping; what has the same keys is shown once, wherever it stands."""
    return json.dumps(part.schema, sort_keys=True)


def anchor(heading: str) -> str:
    """The anchor that the table of contents gives a heading."""
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def kind_of(value: Schema, root: Schema) -> str:
    """The type of a value in words."""
    if "$ref" in value:
        return kind_of(root["$defs"][value["$ref"].rpartition("/")[2]], root)
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    members = [*value.get("anyOf", ()), *value.get("oneOf", ()), *value.get("allOf", ())]
    if members:
        kinds = dict.fromkeys(kind_of(each, root) for each in members if each.get("type") != "null")
        return " or ".join(kinds)
    if isinstance(value.get("type"), list):
        return " or ".join(kind_of({"type": each}, root) for each in value["type"] if each != "null")
    name = TYPES.get(value.get("type", ""), "any value")
    if name == "list" and isinstance(value.get("items"), Mapping) and "$ref" not in value["items"]:
        inner = kind_of(value["items"], root)
        return name if inner in ("any value", "mapping") else f"list of {inner}"
    return name


def limits(value: Schema) -> str:
    """The range of a number or the pattern of a text; of the first member that has one."""
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    for each in (value, *value.get("anyOf", ())):
        found = [f"{word} {each[key]}" for key, word in words.items() if key in each]
        if match := re.fullmatch(r"\^\(([\w|-]+)\)\$", str(each.get("pattern", ""))):
            found.append("one of " + ", ".join(f"`{name}`" for name in match[1].split("|")))
        if found:
            return ", ".join(found)
    return ""


def shown(default: Any) -> str:
    """A default as YAML has it."""
    if default is None:
        return ""
    if isinstance(default, Mapping):
        return "" if default else "`{}`"
    words = {True: "true", False: "false"} if isinstance(default, bool) else {}
    return f"`{words.get(default, default) if words else default}`"


def options_of(kind: plugins.PluginKind, model_of: Any) -> list[str]:
    """A table for each options model, under the names of all plug-ins that share it; then those of mappings in them."""
    schemas: dict[str, Schema] = {}
    inner: dict[str, tuple[Part, Schema, list[str]]] = {}
    for name in plugins.known(kind):
        model: type[BaseModel] = model_of(plugins.module(kind, name))
        schemas[name] = model.model_json_schema()
        for part in parts(schemas[name]):
            inner.setdefault(content(part), (part, schemas[name], []))[2].append(name)
    headings = {key: f"`{part.path}` of {_listed(names)}" for key, (part, _, names) in inner.items()}
    anchors = {key: anchor(heading) for key, heading in headings.items()}
    sharing: dict[str, list[str]] = {}
    for name, schema in schemas.items():
        for rows in keys_table(schema, schema, "", anchors):
            sharing.setdefault(rows, []).append(name)
    text = [each for rows, names in sharing.items() for each in (f"### {_listed(names)}", rows)]
    for key, (part, root, _) in inner.items():
        text += [f"### {headings[key]}", *described(part.schema), *keys_table(part.schema, root, part.path, anchors)]
    return text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def names_to_choose() -> list[str]:
    """The plug-ins of every kind that the package ships, with the first sentence of each module."""
    text = []
    for kind in [value for value in vars(plugins).values() if isinstance(value, plugins.PluginKind)]:
        rows = []
        for name in plugins.known(kind):
            first, _, _ = (inspect.getdoc(plugins.module(kind, name)) or "").partition("\n\n")
            rows.append([f"`{name}`", prose(" ".join(first.split()))])
        text += [f"### {kind.what.capitalize()}", table(["name", "what it is"], rows)]
    return text


# the log


def events_page() -> str:
    """Every event of an agent's log, by what it is about."""
    text = [
        "# Events of the log",
        NOTE,
        "Every agent appends to `agents/ID/events.jsonl` in the run folder, a JSON object a line. Each has `event`, "
        "`agent` and `time` (seconds since 1970), and the keys below. Rounds count from 0. An event with a sentence "
        "has it as `says`, and its `level`: `notice` is shown on the screen as it comes, `info` in the report, `debug` "
        "only with `--log-level debug`. A line that a kill cut off is passed over, and so is "
        "one with a fact of another type. "
        "[An event of your own](../how-to/network.md#an-event-of-your-own) is a class.",
    ]
    for topic in events.Topic:
        about = [event for event in events.shipped() if event.topic is topic]
        rows = []
        for event in about:
            keys = ", ".join(f"`{key}`" for key in facts_of(event))
            rows.append([f"`{event.key()}`", keys, prose(inspect.getdoc(event) or "")])
        if rows:
            text += [f"## {topic.capitalize()}", table(["event", "keys", "when"], rows)]
    text.append("## Keys")
    for event in events.shipped():
        said = [[f"`{key}`", prose(about)] for key, about in facts_of(event).items() if about]
        if said:
            text += [f"### `{event.key()}`", table(["key", "what it is"], said)]
    return "\n\n".join(text) + "\n"


def facts_of(event: type[events.Event]) -> dict[str, str]:
    """The keys of an event, and what its class says of each."""
    fields = event.model_fields.items()
    return {key: field.description or "" for key, field in fields if key not in events.Event.model_fields}


# the command lines


def command_line_page() -> str:
    """Every command of both programs with its arguments and options."""
    text = ["# The command line", NOTE, "A mistake is answered in one sentence, with exit code 2."]
    for name, app in (("parse-agent", parse_agent), ("parse-lab", parse_lab)):
        text += [f"## {name}", *command_text(typer.main.get_command(app), name, 3)]
    return "\n\n".join(text) + "\n"


def command_text(command: Any, name: str, level: int) -> Iterator[str]:
    """A command's usage, help and options, and then its subcommands. Untyped, for typer brings a click of its own."""
    subcommands: Mapping[str, Any] = getattr(command, "commands", {})
    positional = [p for p in command.params if p.param_type_name == "argument"]
    arguments = [f"{p.name.upper()}{'…' if p.nargs != 1 else ''}" for p in positional]
    usage = " ".join([name, *(["[OPTIONS]"] if command.params else []), *arguments])
    yield f"```text\n{usage}{' [COMMAND]' if subcommands else ''}\n```"
    yield plain(command.help or "")
    rows = [option_row(p) for p in command.params if not getattr(p, "hidden", False)]
    if rows:
        yield table(["option", "default", "what it does"], rows)
    if command.epilog:
        lines = [line for line in plain(command.epilog).splitlines() if line.strip() and line.strip() != "Examples"]
        yield "```text\n" + "\n".join(line.strip() for line in lines) + "\n```"
    for sub, inner in subcommands.items():
        if not inner.hidden:
            yield f"{'#' * level} {name} {sub}"
            yield from command_text(inner, f"{name} {sub}", level + 1)


def option_row(parameter: Any) -> list[str]:
    """One argument or option."""
    argument = parameter.param_type_name == "argument"
    names = parameter.name.upper() if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = parameter.default if isinstance(parameter.default, str | int | float) else None
    flag = getattr(parameter, "is_flag", False) and default is False
    envvar = f" Or the variable `{parameter.envvar}`." if getattr(parameter, "envvar", None) else ""
    said = "**required**" if parameter.required else "" if flag else shown(default)
    return [f"`{names}`", said, prose(plain(getattr(parameter, "help", "") or "")) + envvar]


def plain(text: str) -> str:
    """Help without the markup of the terminal."""
    return re.sub(r"\[/?(?:bold|dim|italic|required)?\]", "", text).strip()


# the API


def api_page() -> str:
    """A directive of mkdocstrings for every public name. Raises PluginError for one without a docstring."""
    text, bare = ["# Python API", NOTE], list[str]()
    for package, about in API.items():
        names = getattr(importlib.import_module(package), "__all__", ())
        if names:
            bare += undocumented(package, names)
            text += [f"## {package}", about, *(f"::: {package}.{name}" for name in sorted(names))]
    if bare:
        raise PluginError(f"public names need docstrings, and these have none: {', '.join(bare)}")
    return "\n\n".join(text) + "\n"


def undocumented(package: str, names: Any) -> list[str]:
    """Those of the names, and of the public methods and properties of classes among them, without a docstring."""
    module = griffe.load(package, resolve_aliases=True, resolve_external=True)
    found = []
    for name in names:
        value = module[name]
        members = value.members.items() if value.is_class else ()
        found += [] if value.has_docstring else [f"{package}.{name}"]
        found += [f"{package}.{name}.{key}" for key, member in members
                  if not key.startswith("_") and not member.has_docstring
                  and (member.is_function or "property" in member.labels)]  # fmt: skip
    return found


# Markdown


def table(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table; a bar within a cell does not end it."""
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    )


def prose(text: str) -> str:
    """Docstrings' double backticks as Markdown's single ones, on one line; angle brackets are no tags."""
    return " ".join(text.replace("``", "`").replace("<", "&lt;").split())


PAGES = {
    "reference/run-file.md": run_file_page,
    "reference/experiment-file.md": experiment_file_page,
    "reference/command-line.md": command_line_page,
    "reference/events.md": events_page,
    "reference/api.md": api_page,
}

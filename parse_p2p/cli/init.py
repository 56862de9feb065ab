"""``parse-agent init``: a small run file to begin with, every line of it explained."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from parse_p2p.cli import completion, terminal
from parse_p2p.config import shipped
from parse_p2p.core.errors import ConfigError, nearest

Schema = Mapping[str, Any]
Line = tuple[str, str]
"""Of a run file: YAML, and the comment behind it."""

COLUMN = 46
"""Where comments begin, if not before."""

FIRST = ("graph", "agents", "method", "dataset", "partition", "rounds", "train", "seed")
"""Keys that every file gets, in this order, with their defaults where the shipped file leaves them out."""

SHOWN = {"partition": ("kind", "alpha"), "train": ("lr", "batch", "epochs")}
"""Keys of those sections; the others of theirs are in the schema."""


def init(
    name: Annotated[
        str, typer.Argument(help="One of those shipped: ring, star, torus …", autocompletion=completion.beginnings)
    ] = "ring",
    out: Annotated[Path | None, typer.Option(help="The file; by default it is named after its topology.")] = None,
) -> None:
    """Write a small commented run file to begin with."""
    if name not in (known := shipped.beginnings()):
        raise ConfigError(f"there is no topology {name!r} to begin with: {nearest(name, known)}")
    path = out or Path(f"{name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(written(name, path))
    except FileExistsError:
        raise ConfigError(f"{path} is there already: name another file with --out, or delete it") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    say = f"wrote {path}. To run it:\n  parse-agent --topology {path}"
    terminal.console().print(say, markup=False, highlight=False, soft_wrap=True)


def written(name: str, path: Path) -> str:
    """The text of a run file to begin with, which is to lie at ``path``."""
    source = shipped.folder() / f"{name}.yaml"
    schema = json.loads((shipped.folder() / shipped.SCHEMA).read_text("utf-8"))
    text = source.read_text("utf-8")
    about = [line for line in text.splitlines()[1:] if line.startswith("#")]
    lines = list(_lines(_filled(yaml.safe_load(text), schema), schema, schema, ""))
    column = min(COLUMN, max(len(line) for line, _ in lines))
    head = [
        f"# yaml-language-server: $schema={_schema_from(path)}",
        *about,
        f"#   run it:                         parse-agent --topology {path.name}",
        f"#   what is wrong with it:          parse-agent check {path.name}",
        "#   all keys that a file may have:  parse-agent schema",
        "",
    ]
    return "\n".join([*head, *(f"{line:{column}}  # {comment}" for line, comment in lines)]) + "\n"


def _schema_from(path: Path) -> str:
    """How an editor finds the schema: from the file's folder where it lies below, as in a project's own environment."""
    file, folder = (shipped.folder() / shipped.SCHEMA).resolve(), path.resolve().parent
    return Path(os.path.relpath(file, folder)).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _filled(raw: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The keys of a shipped file, and the first of all keys with their defaults."""
    keys = {key: raw.get(key, schema["properties"][key].get("default")) for key in FIRST} | dict(raw)
    return {key: {k: value[k] for k in SHOWN[key]} if key in SHOWN and key not in raw else value
            for key, value in keys.items()}  # fmt: skip


def _lines(values: Mapping[str, Any], section: Schema, schema: Schema, indent: str) -> Iterator[Line]:
    """Each key with what it is; sections and lists over several lines."""
    for key, value in values.items():
        described = section["properties"][key]
        comment = described["description"]
        inner = _section(described, value, schema)
        if isinstance(value, list) and value:
            yield f"{indent}{key}:", comment
            yield from ((f"{indent}  - {_flow(item)}", _item(described, item, schema)) for item in value)
        elif inner is not None:
            yield f"{indent}{key}:", comment
            yield from _lines(value, inner, schema, indent + "  ")
        else:
            yield f"{indent}{key}: {_flow(value)}", comment


def _item(described: Schema, item: Mapping[str, Any], schema: Schema) -> str:
    """What an item of a list is: what its kind is where it has one, else what the last of its keys is."""
    lists = (option["items"] for option in (described, *described.get("anyOf", ())) if "items" in option)
    items = next(lists)
    found = schema["$defs"][items["$ref"].rpartition("/")[2]]
    if "kind" in item:
        kinds = (one for one in found["oneOf"] if one["properties"]["kind"]["const"] == item["kind"])
        return str(next(kinds)["description"])
    return str(found["properties"][list(item)[-1]]["description"])


def _section(described: Schema, value: Any, schema: Schema) -> Schema | None:
    """The section that a value is, with all its keys known; None for anything else."""
    if not isinstance(value, dict):
        return None
    for option in (described, *described.get("anyOf", ()), *described.get("oneOf", ())):
        found = schema["$defs"].get(option.get("$ref", "").rpartition("/")[2])
        if found is not None and value.keys() <= found.get("properties", {}).keys():
            return found  # type: ignore[no-any-return]
    return None


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True)
    return text.removesuffix("...\n").strip()

"""The JSON schema of a run file, by which editors check it and complete its keys.

It says what the reader says (``run_file``), key by key; what depends on several keys at once, a graph that is not
connected say, only ``parse-agent check`` finds.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.core import plugins
from parse_p2p.core.plugins import PluginKind
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.models.fusion import FUSIONS
from parse_p2p.topology import generators
from parse_p2p.topology.graph import OVERLAYS
from parse_p2p.topology.placement import PLACEMENTS
from parse_p2p.topology.weights import WEIGHTS

Schema = dict[str, Any]

DIALECT = GenerateJsonSchema.schema_dialect
VALIDATION: JsonSchemaMode = "validation"

PLUGINS: Mapping[tuple[str, str], PluginKind] = {
    ("RunFile", "method"): plugins.METHODS,
    ("RunFile", "dataset"): plugins.DATA,
    ("RunFile", "codec"): plugins.CODECS,
    ("PublicEntry", "dataset"): plugins.DATA,
    ("ModelOptions", "network"): plugins.NETWORKS,
    ("ModelOptions", "weighting"): plugins.WEIGHTINGS,
    ("EncoderOptions", "kind"): plugins.ENCODERS,
    ("Training", "optimiser"): plugins.OPTIMISERS,
    ("Training", "schedule"): plugins.SCHEDULES,
}
"""Keys whose value names a plug-in: one that is shipped, or a module by its dotted name."""

WORDS: Mapping[tuple[str, str], list[str]] = {
    ("RunFile", "dataset"): [OWN],
    ("ModelOptions", "network"): ["auto"],
    ("EncoderOptions", "kind"): ["auto"],
}
"""What those keys may say besides."""

CHOICES: Mapping[tuple[str, str], Iterable[str]] = {
    ("RunFile", "overlay"): OVERLAYS,
    ("RunFile", "weights"): WEIGHTS,
    ("MixEntry", "placement"): PLACEMENTS,
    ("PartitionEntry", "kind"): PARTITIONS,
    ("ModelOptions", "fusion"): FUSIONS,
}
"""Keys whose value is one of a table's names."""

CHANGES: Mapping[tuple[str, str], Schema] = {
    ("ModelOptions", "encoders"): {"type": "object", "additionalProperties": {"$ref": "#/$defs/EncoderOptions"}},
    ("AgentEntry", "model"): {"$ref": "#/$defs/ModelOptions"},
    ("AgentEntry", "encoders"): {"type": "object", "additionalProperties": {"$ref": "#/$defs/EncoderOptions"}},
}
"""Keys whose values change some keys of another section, all of which have defaults."""

VERSION: Schema = {"type": "string", "description": "of parse-p2p that wrote the file; one of your own needs none"}


def schema() -> Schema:
    """The schema of a whole run file, with the options of every method and data set that is shipped."""
    methods = {name: plugins.load(plugins.METHODS, name).options for name in plugins.known(plugins.METHODS)}
    datasets = {name: plugins.module(plugins.DATA, name).Options for name in plugins.known(plugins.DATA)}
    models: list[type[BaseModel]] = [RunFile, *methods.values(), *datasets.values()]
    refs, found = models_json_schema([(model, VALIDATION) for model in dict.fromkeys(models)])
    definitions = found["$defs"]
    for (section, key), values in _values():
        definitions[section]["properties"][key] |= values
    for definition in definitions.values():
        for section in (definition, *definition.get("oneOf", ())):
            _describe(section, definitions)
    root = definitions.pop("RunFile")
    definitions.pop("EncoderChanges")  # the keys are those of EncoderOptions
    root["properties"]["version"] = VERSION
    options = {model: refs[model, VALIDATION] for model in models}
    return {
        "$schema": DIALECT,
        **root,
        "title": "run file of parse-p2p",
        "allOf": [
            *_options(root, "method", "options", {name: options[model] for name, model in methods.items()}),
            *_options(root, "dataset", "data", {name: options[model] for name, model in datasets.items()}),
        ],
        "$defs": definitions,
    }


def _values() -> Iterator[tuple[tuple[str, str], Schema]]:
    """What the values of some keys may be, that the sections leave to the readers of those keys."""
    dotted: Schema = {"type": "string", "pattern": "[.:]"}
    for at, kind in PLUGINS.items():
        more = WORDS.get(at, [])
        none: list[Schema] = [{"type": "null"}] if at == ("PublicEntry", "dataset") else []
        yield at, {"anyOf": [{"enum": [*more, *plugins.known(kind)]}, dotted, *none]}
    for at, choices in CHOICES.items():
        yield at, {"enum": list(choices)}
    yield ("GraphEntry", "generator"), {"anyOf": [{"enum": list(generators.FAMILIES)}, {"type": ["string", "null"]}]}
    yield ("RunFile", "metrics"), {"items": {"anyOf": [{"enum": plugins.known(plugins.METRICS)}, dotted]}}
    yield from CHANGES.items()


def _describe(definition: Schema, definitions: Mapping[str, Schema]) -> None:
    """Say of every key what it is, from the section that it holds where it has no words of its own."""
    definition["description"] = _sentence(definition.get("description", ""))
    for value in definition.get("properties", {}).values():
        value.pop("title", None)
        if "const" in value:  # the key 'kind', which says which of several sections this is
            value.setdefault("description", _sentence(definition["description"]))
        if "$ref" in value:
            value.setdefault("description", _sentence(definitions[value["$ref"].rpartition("/")[2]]["description"]))


def _sentence(docstring: str) -> str:
    """The first paragraph as plain text."""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "")


def _options(root: Schema, key: str, section: str, refs: Mapping[str, Schema]) -> Iterator[Schema]:
    """The options of each plug-in stand under ``section`` where ``key`` names it, or leaves it to the default."""
    for name, ref in refs.items():
        named: Schema = {"properties": {key: {"const": name}}}
        if name != root["properties"][key]["default"]:
            named["required"] = [key]
        yield {"if": named, "then": {"properties": {section: ref}}}

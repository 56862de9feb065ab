"""From what a person names, a run file, a graph's file or a generator, to a plan whose overlays can be measured."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import yaml

from parse_p2p.config import run_file, shipped
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.config.sections import NAME
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.topology import generators, graph_io

Setting = tuple[str, Any]
RUN_FILES = (".yaml", ".yml")
LARGEST = 2000  # agents; beyond it a matrix of weights takes minutes


def plan(source: str, mix: Mapping[str, int] | None = None, settings: Sequence[Setting] = ()) -> RunPlan:
    """The plan of ``ring.yaml`` (one's own, or the shipped one), ``mine.graphml`` or ``watts-strogatz:16,k=4,p=0.3``.

    ``mix`` are agents by type; without it a run file has its own, nodes of a file may carry ``modalities``, and else
    a third of the agents each has audio, motion, and both. Raises ConfigError.
    """
    path = Path(source)
    if path.suffix in RUN_FILES or (mix is None and source in shipped.names()):
        own = [] if mix is None else [("agents", {"mix": dict(mix)})]
        return RunPlan(run_file.load(shipped.find(path), [*own, *settings]))
    raw = _of_file(path, mix) if path.suffix in graph_io.READERS else of_generator(source, mix)
    return RunPlan(run_file.resolve(raw, path, settings))


def parse_mix(text: str) -> dict[str, int]:
    """The counts of ``audio=3,motion=3,audio+motion=2``. Raises ConfigError."""
    mix: dict[str, int] = {}
    for part in text.split(","):
        kind, equals, count = part.strip().partition("=")
        if not equals or not kind.strip() or not count.strip().isdecimal() or kind.strip() in mix:
            raise ConfigError(f"--mix {text}: {part!r} is no count of agents; write audio=3,motion=3,audio+motion=2")
        mix[kind.strip()] = int(count)
    return mix


def agents_of(graph: nx.Graph) -> list[dict[str, Any]] | None:
    """Agents as a run file lists them, by the ``modalities`` and ``task`` of a graph's nodes; None if none has any.

    Modalities are a list, or text as audio+motion. An agent is called as its node, or a0, a1 … where that is no name.
    """
    facts = dict(graph.nodes(data=True))
    have = [node for node in graph if facts[node].get("modalities")]
    if not have:
        return None
    if missing := [node for node in graph if node not in have]:
        raise ConfigError(f"the node {missing[0]!r} has no modalities and {have[0]!r} has: give all some, or none")
    plain = all(re.match(NAME, str(node)) for node in graph)
    return [_agent(str(node) if plain else f"a{i}", facts[node]) for i, node in enumerate(graph)]


def thirds(count: int) -> dict[str, int]:
    """A third of the agents with each of audio, motion, and both; the first get what is left over."""
    return {kind: (count + 2 - i) // 3 for i, kind in enumerate(("audio", "motion", "audio+motion"))}


def of_generator(text: str, mix: Mapping[str, int] | None) -> dict[str, Any]:
    """The keys name, graph and agents of a run file for ``watts-strogatz:16,k=4,p=0.3``. Raises ConfigError."""
    name, _, rest = text.partition(":")
    words = [word.strip() for word in rest.split(",") if word.strip()]
    count = int(words.pop(0)) if words and words[0].isdecimal() and len(words[0]) < 10 else sum((mix or {}).values())
    if not count:
        if name not in generators.FAMILIES and not hasattr(nx.generators, name):
            raise ConfigError(f"{text}: there is no such file or generator: {nearest(name, generators.FAMILIES)}")
        raise ConfigError(f"{text}: of how many agents? Write {name}:8, or name them as --mix audio=4,motion=4")
    _refuse_size(text, count)
    if mix is not None and sum(mix.values()) != count:
        raise ConfigError(f"{text}: has {count} agents and --mix {sum(mix.values())}; make them equal")
    return {
        "name": re.sub(r"[^A-Za-z0-9._-]", "-", text).strip("-._")[:64] or "graph",
        "graph": {"generator": name, "args": dict(_argument(text, word) for word in words)},
        "agents": {"mix": dict(mix or thirds(count))},
    }


def _agent(id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    named = facts["modalities"]
    modalities = named.split("+") if isinstance(named, str) else named
    if not isinstance(modalities, list | tuple) or not all(isinstance(m, str) and m.strip() for m in modalities):
        raise ConfigError(f"the modalities {named!r} of {id} are no names: write audio+motion, or a list of them")
    task = {"task": facts["task"]} if facts.get("task") else {}
    return {"id": id, "modalities": [m.strip() for m in modalities], **task}


def _of_file(path: Path, mix: Mapping[str, int] | None) -> dict[str, Any]:
    graph = graph_io.read(path)
    _refuse_size(str(path), len(graph))
    agents = agents_of(graph) if mix is None else None
    return {"graph": {"file": path.name}, "agents": agents or {"mix": dict(mix or thirds(len(graph)))}}


def _argument(text: str, word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(f"{text}: {word!r} is no argument: write it as watts-strogatz:16,k=4,p=0.3")
    try:
        return key.strip(), yaml.safe_load(value)
    except run_file.NO_YAML:
        raise ConfigError(f"{text}: {value!r} is no value for {key}; write a number") from None


def _refuse_size(source: str, count: int) -> None:
    if count > LARGEST:
        raise ConfigError(f"{source}: has {count} agents, and up to {LARGEST} can be looked at")

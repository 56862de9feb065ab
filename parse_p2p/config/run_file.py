"""The run file: one complete value that says everything about a run, and errors that name the line.

Only this file knows YAML. A topology file and a run file are the same thing: what a topology leaves out has a
default, and the run folder keeps the file with everything filled in.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, ValidationError, WithJsonSchema

from parse_p2p import __version__
from parse_p2p.config.sections import (
    NAME,
    AgentEntry,
    Binding,
    CheckpointEntry,
    GraphEntry,
    MixEntry,
    PartitionEntry,
    PublicEntry,
    ResourcesEntry,
    Section,
)
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.membership import EventEntry
from parse_p2p.core.peer_info import Clocks
from parse_p2p.core.plugin_options import SENTENCE, Named, sentence
from parse_p2p.core.run_keys import RunKeys
from parse_p2p.data.base import packaged_file
from parse_p2p.data.label_spaces import TaskOptions
from parse_p2p.data.schema import PROCESSOR, DataSchema
from parse_p2p.data.sources import processor
from parse_p2p.data.sources.tokens import KindOptions
from parse_p2p.data.splits import OFFICIAL
from parse_p2p.data.streams import StreamOptions
from parse_p2p.data.tasks.source import as_name
from parse_p2p.discovery.base import DiscoveryOptions
from parse_p2p.discovery.static import StaticOptions
from parse_p2p.learning.early_stopping import EarlyStopping
from parse_p2p.learning.learner import Training
from parse_p2p.models.base import ModelOptions
from parse_p2p.runtime.messenger import Limits
from parse_p2p.topology import contact_trace, graph_io
from parse_p2p.topology.dynamic import VaryingOptions
from parse_p2p.wire.faults.base import Fault

Loc = tuple[str | int, ...]

TaskName = Annotated[str, Field(pattern=NAME)]


def _as_share(value: object) -> object:
    """A share, or the word for what the data say."""
    if value == OFFICIAL:
        return value
    try:
        share = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        share = float("nan")
    if not 0 < share < 1:
        raise sentence(
            f"give a share between 0 and 1, or {OFFICIAL}: the test set that comes with the data; not {value!r}"
        )
    return share


TestShare = Annotated[
    float | Literal["official"],
    BeforeValidator(_as_share),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"const": OFFICIAL}]}),
]

GroupName = Annotated[str, BeforeValidator(as_name), WithJsonSchema({"type": ["string", "integer"]})]

OWN = "own"
"""As ``dataset``: every agent has a source of its own."""

IN_MEMORY = "given"
"""As ``dataset``: samples that a notebook had in memory, which nobody can open again."""

NOT_AT_HAND = "dataset: its samples were in the memory of a notebook: run it there again"

PACKAGED = re.compile(r"([A-Za-z_]\w+):(.+)")  # of two letters at least: one would be a drive of Windows
"""Weights in an installed package, by its name and a path in it: each host finds its own copy."""

NO_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError)
"""What the YAML reader raises: for broken text, for a date that is none, for tags it cannot make, for depth."""


class RunFile(Section):
    """Everything about a run. See ``topologies/`` for examples."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="by default the file's")
    graph: GraphEntry = Field(description="who is a neighbour of whom: a generator, edges or a file")
    overlay: str = Field("per-slice", description="per-slice: over a slice's holders; induced: this; rings: gossip's")
    weights: str = Field("metropolis", description="metropolis, uniform, fastest-mixing or given (of the edges)")
    varying: VaryingOptions | None = Field(None, description="graphs that change every round; none: they are fixed")
    agents: list[AgentEntry] | MixEntry = Field(description="how many agents of each type, or a list of them")
    method: str = Field("parse", description="how the agents learn together; parse-agent --describe NAME says more")
    options: dict[str, Any] = Field(default_factory=dict, description="the method's options")
    dataset: str = Field("htad", description="what the agents learn from; own: from data of their own")
    data: dict[str, Any] = Field(
        default_factory=dict, description="the data set's options; with own what the agents' sources have in common"
    )
    data_schema: DataSchema | None = Field(
        None, description="modalities, task and classes; none: those of the data set"
    )
    fingerprint: str | None = Field(None, description="of the data set, filled in when a run begins")
    tasks: dict[TaskName, TaskOptions] = Field(default_factory=dict, description="label spaces, for agents to name")
    partition: PartitionEntry = Field(PartitionEntry(), description="how the training samples are dealt to the agents")
    public: PublicEntry | None = Field(None, description="the coordinator's own data set, for methods that need one")
    events: list[EventEntry] | None = Field(None, description="changes while running; []: any may be announced")
    stream: StreamOptions | None = Field(None, description="tasks that shift over time; none: they stay")
    test: TestShare = Field(
        0.25, description="share of the samples kept for testing; official: those that the data set says are for it"
    )
    common_test: dict[str, Any] | None = Field(
        None, description="with own: a source that every agent is tested with too; changes to data"
    )
    test_by: Literal["sample", "group"] = Field("sample", description="group: whole natural clients are kept for it")
    test_groups: list[GroupName] = Field(
        default_factory=list,
        description="the natural clients that are kept for testing, by name, in place of a share; all others train",
    )
    model: ModelOptions = Field(ModelOptions(), description="the network of every agent")
    train: Training = Field(Training(), description="local steps of one round")
    metrics: list[Annotated[str, Named(plugins.METRICS)]] = Field(
        default_factory=list,
        description="what is measured beside accuracy: balanced-accuracy, macro-f1, rmse …",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="report each agent's best round on samples kept for that; none: the last round"
    )
    clocks: Clocks = Field(Clocks(), description="how long agents wait for one another, in seconds")
    limits: Limits = Field(Limits(), description="how many unreadable messages are borne from one peer")
    checkpoint: CheckpointEntry = Field(CheckpointEntry(), description="how often an agent saves its state")
    codec: str = Field("raw", description="how numbers become bytes: raw (32 bits) or bf16 (16 bits)")
    faults: list[SerializeAsAny[Fault]] = Field(
        default_factory=list, description="what goes wrong, on purpose: each has a kind"
    )
    rounds: int = Field(20, ge=1, description="rounds of training and exchange")
    seed: int = Field(0, ge=0, description="same seed, same result")
    device: str = Field("auto", description="auto (each agent the next GPU, or the CPU), cpu or cuda:0")
    bind: Binding | None = Field(None, description="bind of all agents that have none of their own")
    resources: ResourcesEntry = Field(ResourcesEntry(), description="what an agent takes of a cluster's node")
    base_port: int | None = Field(None, ge=1024, le=65000, description="TCP on loopback from here; else local sockets")
    discovery: SerializeAsAny[DiscoveryOptions] = Field(
        StaticOptions(), description="how agents learn where the others listen"
    )
    security: Literal["auto", "curve", "none"] = Field(
        "auto", description="auto: curve where an address is no loopback"
    )
    keyring: str = Field("keys", description="the folder of keys, beside this file")

    def agreed(self) -> dict[str, Any]:
        """What all agents of a run must have the same."""
        mine = dict.fromkeys(
            ("name", "device", "resources", "checkpoint", "bind", "base_port", "discovery", "keyring", "limits"),
            True,
        )
        same = self.model_dump(mode="json", exclude={**mine, "graph": {"file"}, "varying": {"file"}})
        if isinstance(self.agents, list):  # hosts may know an agent by different addresses
            host_keys = ("bind", "dial_only", "data", "test_data")
            same["agents"] = [
                {k: v for k, v in entry.items() if k not in host_keys} | {"address": None} for entry in same["agents"]
            ]
            for entry in same["agents"]:  # the weights of its encoders are an agent's own
                model = entry["model"]
                own = (*entry["encoders"].values(), model.get("encoder"), *_mapping(model.get("encoders")).values())
                for encoder in own:
                    _mapping(encoder).pop("weights", None)
        else:
            same["agents"].pop("data")
        common = same["model"]
        for encoder in (common["encoder"], *common["encoders"].values()):
            if encoder.get("weights") is not None:
                encoder["weights"] = content(encoder["weights"])
        # where a host keeps its copy is its own business; that the copies are equal the fingerprint says
        same["data"] = {} if self.dataset == OWN else _without_paths(self.dataset, self.data)
        if self.common_test is not None:
            alike = _without_paths(OWN, self.data | self.common_test)  # the rest of data is each agent's own business
            same["common_test"] = {key: value for key, value in alike.items() if key in self.common_test}
        if self.public is not None and self.public.dataset is not None:
            same["public"]["data"] = _without_paths(self.public.dataset, self.public.data)
        return same

    def digest(self) -> str:
        """Equal for two runs exactly when their agents may talk to each other."""
        return hashlib.blake2b(json.dumps(self.agreed(), sort_keys=True).encode(), digest_size=8).hexdigest()

    def keys(self) -> RunKeys:
        """What tells agents with other digests which keys differ."""
        return RunKeys.of(self.agreed())


@cache
def content(file: str) -> str | None:
    """A digest of what is in a file, or in all files that lie in a folder; None where there is none."""
    path = Path(file)
    if path.is_dir():
        inside = {each.name: content(str(each)) for each in sorted(path.iterdir()) if each.is_file()}
        return hashlib.blake2b(json.dumps(inside).encode()).hexdigest()
    if not path.is_file():
        return None
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()


def load(path: Path, settings: Sequence[tuple[str, Any]] = (), of_a_run: bool = False) -> RunFile:
    """Read a run file, with dotted settings such as ``("train.lr", 0.1)`` put over it.

    ``of_a_run`` is for the file that a run folder keeps, which names the version that wrote it. Raises ConfigError
    naming file, line and key, or the version where that is another one.
    """
    raw, lines = parse(path, of_a_run)
    return resolve(raw, path, settings, lines)


def parse(path: Path, of_a_run: bool = False) -> tuple[dict[str, Any], dict[Loc, int]]:
    """The keys of a run file as they stand there, and the line of each. Raises ConfigError like ``load``."""
    raw, lines = _of_yaml(path, _read(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} is empty or no mapping: it needs at least 'graph' and 'agents'")
    wrote = raw.pop("version", "0.1" if of_a_run else None)
    if wrote is not None:
        _refuse_other_version(path, wrote)
    return raw, lines


def resolve(
    raw: dict[str, Any], path: Path, settings: Sequence[tuple[str, Any]] = (), lines: Mapping[Loc, int] | None = None
) -> RunFile:
    """The run of these keys, with settings put over them; ``path`` says where they stand, or what made them.

    Raises ConfigError naming the key, and the line where it is known.
    """
    locations = complete(raw, path, settings, lines or {})
    run, wrong = validated(raw, locations)
    if run is None or wrong:
        raise ConfigError(wrong[0])
    return run


def complete(
    raw: dict[str, Any], path: Path, settings: Sequence[tuple[str, Any]], lines: Mapping[Loc, int]
) -> "KeyLocations":
    """Put settings over the keys, and fill in what lies beside the file, in place; where each key stands.

    Raises ConfigError for a setting that cannot be made, and a file that cannot be read.
    """
    raw.setdefault("name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-")[:64] or "run")
    overridden = [_put(raw, key, value) for key, value in settings]
    _forget_filled_in(raw, {loc[0] for loc in overridden})
    if "dataset" not in raw and ("data_schema" in raw or any("data" in entry for entry in _with_data(raw))):
        raw["dataset"] = OWN
    raw.setdefault("keyring", "keys")
    locations = KeyLocations(path, lines, overridden)
    for loc in list(_paths(raw)):
        given = any(loc[: len(o)] == o or o[: len(loc)] == loc for o in overridden)
        _make_absolute(raw, loc, Path() if given else path.parent, locations.where(loc))
    graph, varying = raw.get("graph"), raw.get("varying")
    # a run that was written down has what stands in these files
    if isinstance(graph, dict) and isinstance(graph.get("file"), str) and graph.keys() <= {"file", "args", "directed"}:
        found = graph_io.read(graph["file"])
        graph |= graph_io.entry(found if graph.get("directed", True) else graph_io.undirected(graph["file"], found))
    if isinstance(varying, dict) and isinstance(varying.get("file"), str) and "contacts" not in varying:
        varying["contacts"] = contact_trace.read(Path(varying["file"]))
    for m, each in _modalities(raw).items():
        scale = _mapping(_mapping(each).get("scale"))
        if PROCESSOR in scale:
            try:
                each["scale"] = processor.resolved(scale, each.get("kind"), each.get("shape"))
            except ConfigError as error:
                raise ConfigError(f"{locations.where(('data_schema', 'modalities', m, 'scale'))}: {error}") from None
    return locations


def _modalities(raw: Mapping[str, Any]) -> dict[Any, Any]:
    return _mapping(_mapping(raw.get("data_schema")).get("modalities"))


def _refuse_other_version(path: Path, wrote: object) -> None:
    """Versions whose first two numbers are the same read each other's run folders."""
    if str(wrote).split(".")[:2] != __version__.split(".")[:2]:
        raise ConfigError(
            f"{path} was written by parse-p2p {wrote} and this is {__version__}: go on with the version that began the "
            "run, or start it anew from your own file"
        )


def setting(text: str) -> tuple[str, Any]:
    """What ``--set key=value`` says. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text}: write key=value, such as train.lr=0.1")
    try:
        return key, yaml.safe_load(value)
    except NO_YAML:
        raise ConfigError(f"--set {key}: {value!r} is no value: quote it, or write a list as [1, 1, 1]") from None


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """The keys that several ``--set`` make, dotted ones nested. Raises ConfigError."""
    keys: dict[str, Any] = {}
    for text in texts:
        _put(keys, *setting(text))
    return keys


def _forget_filled_in(raw: dict[str, Any], changed: set[str | int]) -> None:
    """Of a run that was written down, what was filled in of the data it had, where settings give it others."""
    if "fingerprint" in raw and changed & {"dataset", "data", "public", "seed", "common_test"}:
        del raw["fingerprint"]
        if changed & {"dataset", "data"}:
            raw.pop("data_schema", None)


def _paths(raw: Mapping[str, Any]) -> Iterator[Loc]:
    """Where in a run file paths may stand."""
    yield from (("keyring",), ("discovery", "folder"), ("graph", "file"), ("varying", "file"))
    yield from _weights(("model",), raw.get("model"))
    yield from (("data_schema", "modalities", m, "scale", PROCESSOR) for m in _modalities(raw))
    yield from (("data", *at) for at in _path_options(raw.get("dataset"), raw.get("data")))
    public = raw.get("public")
    if isinstance(public, dict):
        yield from (("public", "data", *at) for at in _path_options(public.get("dataset"), public.get("data")))
    source = _mapping(raw.get("data")) | _mapping(raw.get("common_test"))
    yield from (("common_test", *at) for at in _path_options(OWN, source))
    for i, entry in enumerate(_listed(raw)):
        yield from _weights(("agents", i, "model"), entry.get("model"))
        yield from (("agents", i, "encoders", m, "weights") for m in _mapping(entry.get("encoders")))
        for part in ("data", "test_data"):
            source = _mapping(raw.get("data")) | _mapping(entry.get("data")) | _mapping(entry.get(part))
            yield from (("agents", i, part, *at) for at in _path_options(OWN, source))
    for me, source in _mapping(_mapping(raw.get("agents")).get("data")).items():
        paths = _path_options(OWN, _mapping(raw.get("data")) | _mapping(source))
        yield from (("agents", "data", me, *at) for at in paths)


def _weights(at: Loc, model: object) -> Iterator[Loc]:
    """Where a section ``model`` may name weights."""
    yield (*at, "encoder", "weights")
    yield from ((*at, "encoders", m, "weights") for m in _mapping(_mapping(model).get("encoders")))


def _path_options(dataset: object, values: object) -> list[Loc]:
    """Where among the options of a data set, or of an agent's own source and what arrives beside it, paths stand."""
    found = _source_paths(dataset, values)
    return [*found, ("watch",)] if dataset == OWN else found


def _source_paths(dataset: object, values: object) -> list[Loc]:
    kind = (
        _mapping(values).get("kind", "auto") if dataset == OWN else dataset or RunFile.model_fields["dataset"].default
    )
    try:
        model: type[BaseModel] = plugins.module(plugins.DATA, str(kind)).Options
    except (ConfigError, AttributeError):  # told by the path, or there is none of this name, of which others complain
        return [("path",), *_nested_paths(KindOptions, values)]
    return [*((key,) for key in _path_keys(model)), *_nested_paths(model, values)]


def _path_keys(model: type[BaseModel]) -> list[str]:
    return [key for key, field in model.model_fields.items() if field.annotation in (Path, Path | None)]


def _nested_paths(model: type[BaseModel], values: object) -> Iterator[Loc]:
    """Where paths stand in options that hold a mapping of others by modality, as of tokenizers."""
    for key, field in model.model_fields.items():
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                for m in _mapping(_mapping(values).get(key)):
                    yield from ((key, m, path) for path in _path_keys(inner))


def with_absolute_paths(source: dict[str, Any]) -> dict[str, Any]:
    """The options of an agent's source with its paths taken from the current folder."""
    for at in _path_options(OWN, source):
        _make_absolute(source, at, Path(), f"--data: {'.'.join(map(str, at))}")
    return source


def _without_paths(dataset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[Any, Any] = deepcopy(dict(values))
    for *sections, key in _path_options(dataset, values):
        inner: dict[Any, Any] = found
        for section in sections:
            inner = _mapping(inner.get(section))
        inner.pop(key, None)
    return found


def _make_absolute(raw: Any, loc: Loc, folder: Path, where: str) -> None:
    """Make the path at a place of a run file absolute, in place, if there is one; ``where`` begins a sentence on it."""
    for part in loc[:-1]:
        raw = raw[part] if isinstance(part, int) else _mapping(raw).get(part)
    named = _mapping(raw).get(loc[-1])
    if not isinstance(named, str):
        return
    if "\0" in named:
        raise ConfigError(f"{where}: {named!r} is no file name")
    absolute = os.path.abspath(folder / os.path.expanduser(named))
    package = PACKAGED.fullmatch(named) if loc[-1] == "weights" else None
    if package and not os.path.exists(absolute):
        try:
            absolute = str(packaged_file(package[1], package[2], "install it, or correct the name"))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    raw[loc[-1]] = absolute


def _with_data(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where sources of agents may stand."""
    return [*_listed(raw), _mapping(raw.get("agents"))]


def _listed(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a list of agents; others complain of what is none."""
    agents = raw.get("agents")
    return [_mapping(entry) for entry in agents] if isinstance(agents, list) else []


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


class KeyLocations:
    """Where each key of a run file was written."""

    def __init__(self, path: Path, lines: Mapping[Loc, int], overridden: Sequence[Loc] = ()) -> None:
        self._path = path
        self._lines = lines
        self._overridden = overridden

    def where(self, loc: Loc) -> str:
        """``ring.yaml:7: train.lr``, or ``--set train.lr``."""
        key = ".".join(map(str, loc))
        if any(loc[: len(o)] == o or o[: len(loc)] == loc for o in self._overridden):
            return f"--set {key}"
        known = [loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in self._lines]
        line = f":{self._lines[known[0]]}" if known else ""
        return f"{self._path}{line}: {key}"


def dump(run: RunFile) -> str:
    """The file with everything filled in, as this version writes it; ``load`` of it gives an equal run."""
    keys = {"version": __version__} | run.model_dump(mode="json", exclude_none=True)
    text: str = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return text


def options(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """Options of a plug-in from the run file. Raises ConfigError naming the key."""
    for loc, reason in wrong_options(model, values):
        raise ConfigError(f"{where}.{'.'.join(map(str, loc))}: {reason}")
    return model.model_validate(values)


def wrong_options(model: type[BaseModel], values: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    """The key of every option that is wrong and what is wrong with it, the worst first."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [(_loc(e), _reason(e, model)) for e in _meant(error)]
    return []


def validated(raw: Mapping[str, Any], locations: KeyLocations) -> tuple[RunFile | None, list[str]]:
    """The run, if all keys can be read, and everything that is wrong with them, the worst first."""
    if wrong := wrong_options(RunFile, raw):
        return None, list(dict.fromkeys(f"{locations.where(loc)}: {reason}" for loc, reason in wrong))
    run = RunFile.model_validate(raw)
    return run, list(_impossible(run, locations))


def _impossible(run: RunFile, locations: KeyLocations) -> Iterator[str]:
    """What keys of one section say against each other."""
    graph = run.graph
    read = graph.nodes is not None and graph.edges is not None  # from the file, which may be elsewhere by now
    if [graph.generator, None if read else graph.edges, graph.nodes if read else graph.file].count(None) != 2:
        yield f"{locations.where(('graph',))}: give exactly one of generator, edges and file"
    if graph.edge_weights is not None and len(graph.edge_weights) != len(graph.edges or ()):
        at = locations.where(("graph", "edge_weights"))
        yield f"{at}: there are {len(graph.edge_weights)} for {len(graph.edges or ())} edges; give one for each"
    if run.clocks.lost <= 2 * run.clocks.heartbeat:
        yield f"{locations.where(('clocks',))}: lost must be more than two heartbeats"
    if run.test_groups and run.test == OFFICIAL:
        yield f"{locations.where(('test_groups',))}: test: {OFFICIAL} says what is tested with; leave one of them out"
    if run.early_stopping is not None and run.stream is not None:
        at = locations.where(("early_stopping",))
        yield f"{at}: with stream every round has data of its own, and none to choose a round by; leave out one of them"
    if run.train.warmup >= run.rounds:
        yield f"{locations.where(('train', 'warmup'))}: it must be less than the {run.rounds} rounds of the run"
        return
    try:
        run.train.rate(run.rounds - 1, run.rounds)
    except ConfigError as error:
        yield f"{locations.where(('train', 'schedule'))}: {error}"


def _meant(error: ValidationError) -> list[Any]:
    """All errors, the worst first; of a union whose members all refuse a value those of the member that was meant."""

    def depth(e: Any) -> tuple[bool, int]:
        return e["type"] == "extra_forbidden", len(e["loc"])

    errors = sorted(error.errors(), key=depth, reverse=True)
    member = next((e["loc"][1] for e in errors if _of_agents(e["loc"])), None)
    return [e for e in errors if not _of_agents(e["loc"]) or e["loc"][1] == member]


def _of_agents(loc: Loc) -> bool:
    """Whether it names a member of the union that ``agents`` is: a list or a mix."""
    return len(loc) > 1 and loc[0] == "agents" and str(loc[1]).startswith(("list[", "MixEntry"))


def _loc(error: Any) -> Loc:
    """The path of an error; pydantic puts the name of a union's member into it, which is no key."""
    parts = error["loc"]
    if _of_agents(parts):
        return (parts[0], *parts[2:])
    return tuple(parts)


def _reason(first: Any, model: type[BaseModel]) -> str:
    loc = _loc(first)
    if first["type"] == "extra_forbidden":
        return f"there is no such key here; {nearest(str(loc[-1]), _keys(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return "this key is missing"
    if first["type"] == SENTENCE:
        return str(first["msg"])
    said = first["msg"].removeprefix("Value error, ")
    return f"{said[0].lower()}{said[1:]}, not {first['input']!r}"


def _keys(model: Any, loc: Loc) -> set[str]:
    """The keys a section may have."""
    for part in loc:
        if isinstance(part, int):
            continue
        if get_origin(model) is dict:  # the part is a name, such as a task's
            model = get_args(model)[1]
        elif members := [m for m in _members(model) if part in m.model_fields]:
            model = members[0].model_fields[part].annotation
    return {key for member in _members(model) for key in member.model_fields}


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) in (Union, UnionType, list, Annotated):
        for inner in get_args(annotation):
            yield from _members(inner)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise ConfigError(f"the topology {path} cannot be read: {reason}; see topologies/ for examples") from None


def _of_yaml(path: Path, text: str) -> tuple[Any, dict[Loc, int]]:
    """What a text says, and the line of each of its keys."""
    lines: dict[Loc, int] = {}
    try:
        root, raw = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
        for loc, line in _lines(root, ()):
            if loc in lines:
                key = ".".join(map(str, loc))
                raise ConfigError(f"{path}:{line}: the key {key} stands here twice; keep one")
            lines[loc] = line
    except RecursionError:
        raise ConfigError(f"{path}: it contains itself, or is nested too deep") from None
    except NO_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: this is no YAML: {getattr(error, 'problem', None) or error}") from None
    return raw, lines


def _lines(node: Any, loc: Loc) -> Iterator[tuple[Loc, int]]:
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, key, value) for key, value in node.value]
    else:
        children = [(i, item, item) for i, item in enumerate(node.value)] if isinstance(node, yaml.SequenceNode) else []
    for part, mark, value in children:
        yield (*loc, part), mark.start_mark.line + 1
        yield from _lines(value, (*loc, part))


def _put(raw: dict[str, Any], key: str, value: Any) -> Loc:
    """Set a dotted key in nested mappings and lists."""
    *path, last = key.split(".")
    at: Any = raw
    for part in path:
        at = at[_index(at, part, key)] if isinstance(at, list) else at.setdefault(part, {})
        if not isinstance(at, dict | list):
            raise ConfigError(f"--set {key}: {part!r} is a plain value and has no keys of its own")
    at[_index(at, last, key) if isinstance(at, list) else last] = deepcopy(value)  # paths in it are made absolute
    return tuple(int(p) if p.isdecimal() else p for p in key.split("."))


def _index(items: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise ConfigError(f"--set {key}: {part!r} is no place in a list of {len(items)}; the first is 0")
    return int(part)

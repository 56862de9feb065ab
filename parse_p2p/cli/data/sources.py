"""The sources that a command line names: files, folders, code, and those of agents in a run file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parse_p2p.cli import completion
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, PeerId

if TYPE_CHECKING:
    from parse_p2p.data.base import Dataset
    from parse_p2p.data.schema import DataSchema

Paths = Annotated[
    list[Path] | None,
    typer.Argument(help="Files or folders, or a run file (.yaml) whose agents --id names."),
]
Ids = Annotated[list[str] | None, typer.Option("--id", help="An agent of the run file, whose data it is; repeatable.")]
Kind = Annotated[
    str | None,
    typer.Option(help="The kind of the sources; by default told by the path.", autocompletion=completion.datasets),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any option of the sources, as target=label; repeatable.")
]


@dataclass(frozen=True)
class OpenedSource:
    """Samples, and the modalities of the agent whose they are; none where no agent is known, or it has no list.

    ``schema`` is that of the agent's run file, if it has one.
    """

    dataset: "Dataset"
    modalities: Sequence[Modality] = ()
    schema: "DataSchema | None" = None


def opened(
    paths: Sequence[Path] | None, ids: Sequence[str] | None, kind: str | None, settings: Sequence[str] | None
) -> Mapping[str, OpenedSource]:
    """The samples of every source, by its name. Raises ConfigError for what cannot be opened, or holds none."""
    from parse_p2p.config import run_file

    values = ({} if kind is None else {"kind": kind}) | run_file.settings(settings or [])
    files = [path for path in paths or [] if path.suffix in completion.SUFFIXES]
    if ids and not files:
        raise ConfigError(f"--id {ids[0]}: whose agent is that? Name its run file, a .yaml, as a source")
    if values and files and len(files) == len(paths or []):
        raise ConfigError(f"--kind and --set are for data named by its path: change the agents' data in {files[0]}")
    found: dict[str, OpenedSource] = {}
    if not paths:
        found |= _of_options(values)
    for path in paths or []:
        found |= _of_agents(path, ids or []) if path in files else _of_options({**values, "path": str(path)})
    for name, each in found.items():
        if not len(each.dataset):
            raise ConfigError(f"{name} has no rows: name a source that holds samples")
    return found


def _of_options(values: Mapping[str, Any]) -> dict[str, OpenedSource]:
    """The data that these options say."""
    from parse_p2p.config.source import Source

    dataset = Source(values, "data").open(seed=0)
    return {str(values.get("path", dataset.name)): OpenedSource(dataset)}


def _of_agents(path: Path, ids: Sequence[str]) -> dict[str, OpenedSource]:
    """The data of agents of a run file."""
    from parse_p2p.config import run_file
    from parse_p2p.config.own_data import OwnData
    from parse_p2p.config.roster import agent_ids

    run = run_file.load(path)
    known = agent_ids(run)
    if not ids:
        raise ConfigError(f"{path} is a run file: say whose data with --id, such as --id {known[0]}")
    if run.dataset != run_file.OWN:
        raise ConfigError(f"{path} deals {run.dataset!r} to its agents: name that with --kind {run.dataset}, or a file")
    senses = {entry.id: entry.modalities for entry in run.agents} if isinstance(run.agents, list) else {}
    found = {}
    for me in map(PeerId, ids):
        if me not in known:
            raise ConfigError(f"--id {me}: there is no such agent in {path}: {nearest(me, known)}")
        data = OwnData(run)
        data.check_source(me)  # also raises ConfigError where it has none
        source = data.source(me)
        assert source is not None
        modalities = tuple(map(Modality, senses.get(me) or ()))
        found[f"{me} of {path}"] = OpenedSource(source.open(run.seed), modalities, run.data_schema)
    return found

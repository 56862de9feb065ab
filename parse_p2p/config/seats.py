"""One agent of the run file with everything filled in."""

from collections.abc import Mapping
from dataclasses import dataclass

from parse_p2p.config.roster import Cast
from parse_p2p.config.run_file import RunFile, options
from parse_p2p.config.sections import AgentEntry
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality, PeerId, Role
from parse_p2p.models.base import EncoderOptions, ModelOptions


@dataclass(frozen=True)
class Seat:
    """One agent of the run file, everything filled in."""

    id: PeerId
    role: Role
    modalities: tuple[Modality, ...]
    entry: AgentEntry
    model: ModelOptions
    encoders: Mapping[Modality, EncoderOptions]
    task: str = ""


def seats(run: RunFile, cast: Cast) -> list[Seat]:
    gained = {m for event in run.events or () for m in event.gain or ()}
    sensed = sorted({m for entry in cast.peers for m in entry.modalities or ()} | gained)
    found = [seat(run, entry, Role.CLIENT if cast.coordinator else Role.PEER, sensed) for entry in cast.peers]
    if cast.hub is not None:
        found.append(seat(run, cast.hub.model_copy(update={"modalities": sensed}), Role.COORDINATOR, sensed))
    return found


def seat(run: RunFile, entry: AgentEntry, role: Role, sensed: list[str]) -> Seat:
    where = f"agents: {entry.id}"
    modalities = tuple(sorted(map(Modality, entry.modalities or ())))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"{where} has a modality twice: {', '.join(modalities)}")
    if odd := sorted(set(entry.encoders) - set(modalities)):
        raise ConfigError(f"{where} has an encoder for {odd[0]!r}, a modality it lacks: {', '.join(modalities)}")
    known = {"modalities": run.model.modalities or tuple(sensed)}
    model = options(ModelOptions, run.model.model_dump() | known | entry.model, f"{where}.model")
    changed = {m: model.encoder.model_dump() | entry.encoders.get(m, {}) for m in modalities}
    encoders = {m: options(EncoderOptions, e, f"{where}.encoders.{m}") for m, e in changed.items()}
    # whatever this agent's own are, the run's encoder stays what others are measured by
    model = model.model_copy(update={"encoder": run.model.encoder})
    return Seat(PeerId(entry.id), role, modalities, entry, model, encoders, entry.task or "")

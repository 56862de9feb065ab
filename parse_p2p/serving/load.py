"""Load a trained agent: from a run's folder, or from one that was exported.

No data are opened, and nothing else of the host where it was trained is needed.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from parse_p2p.core.errors import ConfigError
from parse_p2p.serving import exported
from parse_p2p.serving.run_models import RunModels
from parse_p2p.serving.trained import TrainedModel


def load(
    path: str | Path, id: str | None = None, round: int | None = None, trusted: Collection[str] = ()
) -> TrainedModel:
    """The model of one agent, from a run's folder or from what ``parse-agent export`` made of it.

    ``id`` is needed of a run with several agents; ``round`` is by default that of the newest checkpoint. An exported
    folder may name a network or encoder of one's own, which is run only if that name is among ``trusted``; the folder
    of a run is run as any program: load none from a stranger. Raises
    ConfigError where there is no run, agent or checkpoint, or something in the folder is broken or not trusted.
    """
    if isinstance(trusted, str):
        raise ConfigError(f"trusted: give a list of names, as [{trusted!r}]")
    folder = Path(path)
    if exported.recognises(folder):
        return exported.read(folder, id, round, trusted)
    models = RunModels(folder)
    return models.load(models.named(id), round)


def load_all(
    path: Path, ids: Sequence[str] | None = None, round: int | None = None, trusted: Collection[str] = ()
) -> list[TrainedModel]:
    """The models of these agents, or of all that have a checkpoint. Raises ConfigError as ``load`` does."""
    if exported.recognises(path):
        asked: Sequence[str | None] = ids or [None]
        return [exported.read(path, id, round, trusted) for id in asked]
    models = RunModels(path)
    return [models.load(me, round) for me in (map(models.named, ids) if ids else models.trained)]

"""The models of a run's agents, from what its folder keeps of them."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from parse_p2p import __version__
from parse_p2p.config.roster import AgentSpec
from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.event_log import Tail
from parse_p2p.core.events import Round
from parse_p2p.core.membership import Modalities
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.launch import kept_data
from parse_p2p.launch.kept_data import AppliedScale
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.models.base import ModelOptions, Network
from parse_p2p.models.encoder import EncoderChanges, without_weights
from parse_p2p.models.parameter_buffer import ParameterBuffer, fill
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.agent_state import MODALITIES, modalities_in
from parse_p2p.serving.description import Description, Measured, RunFacts
from parse_p2p.serving.exported import with_tokenizers
from parse_p2p.serving.trained import TrainedModel


class RunModels:
    """The agents of a run, as models to be asked. Raises ConfigError where there is no run."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        run = self.folder.read()
        _refuse_unfilled(self.folder, run)
        self.plan = RunPlan(run, refuse=False)  # what is refused was when the run began, and to look opens data

    def named(self, id: str | None) -> PeerId:
        """The agent of this name; without a name the only one there is. Raises ConfigError."""
        ids = list(self.plan.specs)
        if id is None and len(ids) > 1:
            raise ConfigError(f"the run in {self.folder.path} has several agents; say which: {', '.join(ids)}")
        if id is not None and id not in ids:
            raise ConfigError(f"the run in {self.folder.path} has no agent {id!r}: {nearest(id, ids)}")
        return ids[0] if id is None else PeerId(id)

    @property
    def trained(self) -> list[PeerId]:
        """The agents that have a checkpoint here. Raises ConfigError where none has."""
        having = [me for me in self.plan.specs if checkpoint.rounds(self.folder.checkpoints(me))]
        if not having:
            self.folder.checkpoint_of(next(iter(self.plan.specs)))  # which says what to do
        return having

    def load(self, me: PeerId, round: int | None = None) -> TrainedModel:
        """An agent's model, by default the newest. Raises ConfigError where there is none, or files are broken."""
        found = self.folder.checkpoint_of(me, round)
        state = checkpoint.load(self.folder.checkpoints(me), found)
        spec = self.plan.spec(me, self._modalities(me, state))
        network = _network(self.plan, spec)
        if not network.frozen_as(state):
            raise ConfigError(
                f"the frozen trunk of {me} is not the one it was trained on: give it the same weights as then"
            )
        try:
            fill(network.changing_buffers(), ParameterBuffer(network.components(), torch.device("cpu")), state)
        except ConfigError as error:
            raise ConfigError(f"the checkpoint of {me} after round {found} is none of this run ({error})") from None
        description = self._description(spec, found)
        return TrainedModel(description, network, with_tokenizers(description, self.folder.data(me).parent))

    def measured(self, me: PeerId, round: int) -> Measured | None:
        """How good an agent's model was after so many rounds; None where its log does not say."""
        found = None
        for event in Tail(self.folder.events(me)).read():
            if isinstance(event, Round) and event.round == round - 1 and event.accuracy is not None:
                found = Measured(accuracy=event.accuracy, test_loss=event.test_loss)
        return found

    def _modalities(self, me: PeerId, state: Mapping[str, Tensor]) -> Modalities:
        """Those of the model, which may have changed while the agent ran."""
        if MODALITIES not in state:
            return self.plan.specs[me].modalities
        try:
            return modalities_in(state, self.plan.sensed)
        except (ValueError, TypeError):
            raise ConfigError(f"the checkpoint of {me} has other modalities than {self.folder.file}") from None

    def _description(self, spec: AgentSpec, round: int) -> Description:
        schema = self.plan.schema
        mine = {m: schema.modalities[m] for m in spec.modalities}
        return Description(
            version=__version__,
            agent=spec.id,
            round=round,
            run=self._facts,
            data_schema=schema.model_copy(update={"modalities": mine}),
            task=self.plan.run.tasks[spec.task] if spec.task else None,
            scale=self._scale(spec),
            model=_without_weights(spec.model),
            encoders={m: without_weights(each) for m, each in spec.encoders.items()},
        )

    @cached_property
    def _facts(self) -> RunFacts:
        run = self.plan.run
        return RunFacts(
            name=run.name,
            digest=run.digest(),
            method=run.method,
            dataset=Path(run.dataset).name,
            seed=run.seed,
            rounds=run.rounds,
            agents=len(self.plan.peers),
        )

    def _scale(self, spec: AgentSpec) -> dict[Modality, AppliedScale | None]:
        path = self.folder.data(spec.id)
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing, which says what inputs are scaled by: copy agents/{spec.id} here from the host "
                "where it ran"
            )
        kept = kept_data.read(path).scale
        for m, shape in self.plan.schema.shapes(spec.modalities).items():
            try:
                kept_data.scale_of(kept[m], shape)
            except (KeyError, ValueError) as error:
                raise ConfigError(f"{path} has no scale for {m!r} ({error}): copy it anew from the host") from None
        return {m: kept[m] for m in spec.modalities}


def _refuse_unfilled(folder: RunFolder, run: RunFile) -> None:
    """Raise ConfigError where only the data could say what the run file does not."""
    if run.data_schema is None or (run.dataset != OWN and run.fingerprint is None):
        raise ConfigError(f"{folder.file} has no data_schema or no fingerprint: it is not one that a run has written")


def _network(plan: RunPlan, spec: AgentSpec) -> Network:
    """The network of an agent, its frozen parts as they began: checkpoints hold what is trained, and buffers."""
    network = plan.network(spec)
    return network if all(p.requires_grad for p in network.parameters()) else plan.initialised(spec)


def _without_weights(model: ModelOptions) -> ModelOptions:
    each = {m: without_weights(model.encoder_of(m)).model_dump() for m in model.encoders}
    changes = {m: EncoderChanges.model_validate(keys) for m, keys in each.items()}
    return model.model_copy(update={"encoder": without_weights(model.encoder), "encoders": changes})

"""What every network is: components for sharing, and branches whose logits are summed.

Shapes: B samples, C classes, d_κ the width of a slice.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor, nn

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.plugin_options import Named, OptionsBeside, refused
from parse_p2p.core.types import Kind, Modality
from parse_p2p.data.tasks.base import Task
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.models.encoder import EncoderChanges, EncoderOptions, Trunk, features_of, trunk
from parse_p2p.models.parameter_buffer import Parts

MARK = "m·"  # before every key of a ModuleDict
KEEPS = "keeps_values"  # of a module that is not to be initialised
RECTIFIED = "rectified"  # of a module, its layers that a rectifier follows which is no module
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECTIFIERS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU)

InputShapes = Mapping[Modality, tuple[int, ...]]
"""The shape of one sample of each modality of an agent."""

Latents = Mapping[Modality, Mapping[Kind, Tensor]]
"""What heads read: of every modality the slices (B, d_κ), by their kinds."""


Initialisation = Literal["uniform", "he"]

Encoders = Mapping[Modality, EncoderOptions]
"""The options of the encoder of each modality."""


class ModelOptions(OptionsBeside):
    """Options of the network of every agent, and beside them those that a network brings (``Options`` of its module).

    A network reads its own by ``options.read(Options)``.
    """

    network: Annotated[str, Named(plugins.NETWORKS, open="auto")] = Field(
        "auto", description="fission (three slices), monolithic …; auto: the method's own"
    )
    weighting: Annotated[str, Named(plugins.WEIGHTINGS)] = Field(
        "none",
        description="what counts more in a prediction: reliability, modalities that look usual; own-labels, classes "
        "that the agent often has; branches; or none",
    )
    init: str = Field("common", pattern="^(common|own)$", description="same start for equal parts, or each its own")
    initialisation: Initialisation = Field(
        "uniform",
        description="law of first values: uniform, within ±1/√fan-in; he, which keeps the variance through rectifiers",
    )
    encoder: EncoderOptions = Field(EncoderOptions(), description="the trunk of every modality")
    encoders: dict[str, EncoderChanges] = Field(
        default_factory=dict, description="changes to encoder by modality, as {audio: {width: 32}}"
    )
    modalities: tuple[str, ...] = Field((), description="all modalities of the run; by default those of its agents")

    @model_validator(mode="after")
    def _encoders_can_be(self) -> Self:
        for modality in self.encoders:
            try:
                self.encoder_of(modality)
            except ValidationError as error:
                first = error.errors()[0]
                raise refused("encoders", first["msg"], modality, *first["loc"]) from None
        return self

    def __hash__(self) -> int:  # of a dict there is none
        return hash((self.network, self.init, self.encoder, self.modalities))

    def encoder_of(self, modality: str) -> EncoderOptions:
        """The options of the trunk of a modality, where an agent has no others."""
        if modality not in self.encoders:
            return self.encoder
        return EncoderOptions.model_validate(self.encoder.changed(self.encoders[modality].model_dump()))


class LatentOptions(BaseModel):
    """What networks have whose modalities are read into latents of one width."""

    latent: int = Field(48, ge=1, description="width of a modality's latent, all slices together")


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch: the logits of its branches, and the latents they were read from.

    ``latents[m][κ]``: (B, d_κ). ``branches[name]``: logits (B, C). ``views[name]``: the logits each branch is
    trained on by itself (the redundant head says one thing per modality, and their mean is the branch).
    """

    branches: Mapping[str, Tensor]
    latents: Latents = field(default_factory=dict)
    views: Mapping[str, Tensor] = field(default_factory=dict)

    def logits(self, only: Collection[str] | None = None, task: Task = CLASSIFICATION) -> Tensor:
        """The sum over the branches, (B, C), or over those whose name is or begins with one of ``only``.

        Their mean where the task says so, whose branches each estimate the same numbers.
        Raises ConfigError where there is none of such a name.
        """
        chosen = [v for name, v in self.branches.items() if only is None or self._within(name, only)]
        if not chosen:
            raise ConfigError(f"no branch named {', '.join(only or ())}: this agent has {', '.join(self.branches)}")
        return task.joined(torch.stack(chosen))

    def says(self, only: Collection[str] | None) -> bool:
        """Whether there is a branch of one of these names, or any."""
        return any(only is None or self._within(name, only) for name in self.branches)

    def _within(self, name: str, only: Collection[str]) -> bool:
        # a name that is a branch means that branch; "unique" means all of unique.audio, unique.motion …
        return name in only or any(name.startswith(f"{o}.") for o in only if o not in self.branches)


class Network(nn.Module):
    """Base of all networks: a module that has an encoder for each modality and names its components.

    A network of one's own gives ``forward``, ``read`` and ``parts``. ``shapes`` are those of one sample of each of its
    agent's modalities. ``trunk_of(m)`` is the encoder of a modality, which gives ``features[m]`` numbers;
    ``architectures[m]`` is empty where it is the run's. ``reads_some`` says that ``forward`` takes the inputs of some
    of the modalities too, and ``read`` their latents: of samples that lack the others. ``branch_names`` are
    those that it says of a sample with all modalities, where they are several and it is known before.
    """

    reads_some: ClassVar[bool] = False
    branch_names: tuple[str, ...] = ()

    def __init__(self, shapes: InputShapes, options: ModelOptions, encoders: Encoders) -> None:
        super().__init__()
        self.modalities = tuple(sorted(shapes))
        self.architectures = {m: _architecture(encoders[m], options.encoder_of(m)) for m in self.modalities}
        self.trunks = module_dict({m: trunk(shapes[m], encoders[m], m) for m in self.modalities})
        self.features = {m: features_of(self.trunk_of(m), encoders[m]) for m in self.modalities}
        self.weighting: nn.Module | None = None

    @property
    def dimensions(self) -> tuple[int, int] | None:
        """Width and depth, of a network that has one size for all modalities."""
        return None

    def parts(self) -> Parts:
        """The components with their trainable parameters, by which they are shared; each parameter in one of them."""
        raise NotImplementedError

    def components(self) -> Parts:
        """The ``parts``, and those of what weighs the network's predictions."""
        return [*self.parts(), *getattr(self.weighting, "parts", list)()]

    def forward(self, inputs: Mapping[Modality, Tensor]) -> Outputs:
        """What the network says of a batch: ``inputs[m]`` is (B, *shape of m); see ``reads_some``."""
        raise NotImplementedError

    def read(self, latents: Latents) -> Outputs:
        """What the heads say of given latents (B, d_κ), which may be detached, to train the heads alone."""
        raise NotImplementedError

    def prediction(self, outputs: Outputs, task: Task = CLASSIFICATION) -> Tensor:
        """What is predicted of a batch by what was said of it, (B, C): ``outputs.logits``, its modalities weighed.

        For predictions alone: losses are of what the network says.
        """
        if self.weighting is None:
            return outputs.logits(task=task)
        weighed: Tensor = self.weighting(self, outputs, task)
        return weighed

    def initialised_apart(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules, by stable names, that draw their first values each from a generator of its own.

        A module whose attribute ``keeps_values`` is true, and all in it, has those of its constructor.
        """
        kept = {inner for module in self.modules() if getattr(module, KEEPS, False) for inner in module.modules()}
        for name, module in self.named_modules():
            if module not in kept and any(True for _ in module.parameters(recurse=False)):
                # without the mark of key_of: how a key is spelt must not change what is drawn
                yield ".".join(step.removeprefix(MARK) for step in name.split(".")), module

    def trunk_of(self, modality: Modality) -> nn.Module:
        """The encoder of a modality, without its fission."""
        return self.trunks[key_of(modality)]

    def changing_buffers(self) -> dict[str, Tensor]:
        """The buffers by name, but for those of frozen trunks, which are made again as they were."""
        return {name: buffer for name, buffer in self.named_buffers() if not name.startswith(self._frozen)}

    def frozen_tensors(self) -> dict[str, Tensor]:
        """All tensors by name that are not trained in frozen trunks of one's own."""
        named = (*self.named_parameters(), *self.named_buffers())
        return {name: tensor for name, tensor in named if name.startswith(self._frozen) and not tensor.requires_grad}

    def frozen_digest(self) -> dict[str, Tensor]:
        """A digest (16,) of ``frozen_tensors`` as ``frozen``, in place of them in checkpoints; nothing without any."""
        tensors = self.frozen_tensors()
        found = hashlib.blake2b(digest_size=16)
        for tensor in tensors.values():
            found.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        return {"frozen": torch.frombuffer(bytearray(found.digest()), dtype=torch.uint8)} if tensors else {}

    def frozen_as(self, state: Mapping[str, Tensor]) -> bool:
        """Whether what is frozen is what it was where the state is from, which may not say."""
        return all(torch.equal(digest, state.get(name, digest)) for name, digest in self.frozen_digest().items())

    @property
    def _frozen(self) -> tuple[str, ...]:
        """How the names begin of what is in frozen trunks."""
        trunks = self.trunks.items()
        return tuple(f"trunks.{key}." for key, module in trunks if isinstance(module, Trunk) and module.frozen)


class Build(Protocol):
    """What makes a network, as a module's ``NETWORK``: a function, or a class derived from ``Network``.

    ``shapes`` are those of one sample of each modality of an agent, ``encoders`` the options of their encoders.
    """

    def __call__(self, shapes: InputShapes, classes: int, options: ModelOptions, encoders: Encoders) -> Network: ...


def _architecture(encoder: EncoderOptions, common: EncoderOptions) -> str:
    """How an agent's encoder departs from the run's; how its gradients are computed makes no difference."""
    if encoder.ones_own:
        alike = encoder.label == common.label and (not encoder.frozen or encoder.weights == common.weights)
    else:
        alike = encoder.model_copy(update={"checkpoint": common.checkpoint}) == common
    return "" if alike else encoder.label


def initialise(
    module: nn.Module,
    generator: torch.Generator,
    law: Initialisation = "uniform",
    rectified: Collection[nn.Module] = (),
) -> None:
    """Initialise linear and convolution layers by a law, from an explicit generator.

    ``uniform``, as torch does by default: in ±1/√fan_in for weights and biases alike. ``he`` (He et al., arXiv
    1502.01852, section 2.2): weights uniform with the variance 2/fan_in where the layer is among the ``rectified`` and
    1/fan_in elsewhere, biases 0; embeddings, which have no fan-in, as ever. By either law every row is drawn by itself:
    rows of one layer drawn apart have the law of the whole.
    """
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() < 2:
            continue
        bound, he = weight[0].numel() ** -0.5, law == "he" and not isinstance(layer, nn.Embedding)
        if he:  # a uniform law has a third of its bound's square as variance
            bound *= 6**0.5 if layer in rectified else 3**0.5
        for parameter in layer.parameters(recurse=False):
            if he and parameter.dim() < 2:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def rectified(network: nn.Module) -> set[nn.Module]:
    """The layers of a network whose outputs go through a rectifier before any other layer with parameters.

    In each ``nn.Sequential`` as it stands there; elsewhere what a module names itself, by an attribute ``rectified``.
    """
    found: set[nn.Module] = set()
    for module in network.modules():
        found |= set(getattr(module, RECTIFIED, ()))
        if isinstance(module, nn.Sequential):
            found |= set(_before_rectifiers(module))
    return found


def _before_rectifiers(steps: Iterable[nn.Module]) -> Iterator[nn.Module]:
    last: nn.Module | None = None
    for step in steps:
        if isinstance(step, RECTIFIERS) and isinstance(last, LAYERS):
            yield last
        if isinstance(step, RECTIFIERS) or any(True for _ in step.parameters()):
            last = step


def as_buffers(module: nn.Module) -> nn.Module:
    """Give a module buffers, all zero, in place of its parameters: filled from outside, never trained or mixed.

    Unlike parameters that take no gradient they are kept in checkpoints.
    """
    for inner in module.modules():
        for name, parameter in list(inner.named_parameters(recurse=False)):
            delattr(inner, name)
            inner.register_buffer(name, torch.zeros_like(parameter))
    return module


def trainable(*modules: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of some modules that take gradients, under distinct names."""
    return {name: p for name, p in _named(modules) if p.requires_grad}


def _named(modules: tuple[nn.Module, ...]) -> Iterator[tuple[str, nn.Parameter]]:
    for i, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            yield (f"{i}.{name}" if len(modules) > 1 else name), parameter


def count(network: Network) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def module_dict(items: Mapping[Any, nn.Module]) -> nn.ModuleDict:
    """A ModuleDict whose keys may hold dots and any other sign a modality's name may have."""
    return nn.ModuleDict({key_of(key): module for key, module in items.items()})


def key_of(name: str) -> str:
    """The key of a name in a ModuleDict: no dots, and none of the names a ModuleDict has for itself."""
    return MARK + str(name).replace(".", "·")

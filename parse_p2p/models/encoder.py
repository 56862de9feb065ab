"""The encoder of a modality, its trunk: one that the package ships, or any module of one's own.

Shipped ones are as wide and deep as asked for, and are given their first values by ``initialise``. Those of one's own
keep the values that their constructor gives them, and have the features that they give: each is tried on zeros.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import blake2b
from importlib import import_module
from typing import Any, Literal, Self
from weakref import WeakSet

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, cause
from parse_p2p.core.plugin_options import refused
from parse_p2p.core.rng import seeded
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.schema import BY_AXES
from parse_p2p.models.lora.injection import LoraOptions, inject

SHIPPED = (*BY_AXES.values(), "tokens")
"""The encoders by the kind of input that they are for."""

SIZES = ("width", "depth", "norm")
"""What the encoders that are shipped are made by."""

EPSILON = 1e-5
"""Added to a variance, as in torch's layer normalisation."""


class EncoderOptions(BaseModel):
    """Options of the encoder of one modality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(
        "auto", description="an encoder's name, a dotted module or module:Name; auto: by the input's shape"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of a module of one's own")
    width: int = Field(64, ge=1, description="features the trunk gives; one of one's own has those that it has")
    depth: int = Field(2, ge=1, description="hidden layers")
    norm: Literal["none", "layer"] = Field(
        "layer",
        description="layer: normalise each sample's features after every hidden layer and its rectifier; with width 1 "
        "none, where not given",
    )
    frozen: bool = Field(False, description="keep the trunk as it is and train only the fission on it")
    weights: str | None = Field(
        None,
        description="the trunk's tensors to start from: .npz, .safetensors, .pt, or a folder with such a file; "
        "package:path is one that an installed package holds",
    )
    lora: LoraOptions | None = Field(None, description="adapters to train in a frozen trunk of one's own")
    checkpoint: bool = Field(False, description="compute the trunk again for its gradients, which saves memory")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if not self.ones_own and self.args:
            raise refused("args", f"the encoder {self.kind!r} has none: they are for a module of one's own")
        if not self.ones_own and self.lora:
            raise refused("lora", f"the encoder {self.kind!r} has no such adapters: they are for a module of one's own")
        if self.lora and not self.frozen:
            raise refused("lora", "its adapters are trained in a trunk that stays as it is: set frozen: true")
        for key in ("depth", "norm"):
            if not _takes_sizes(self.kind) and key in self.model_fields_set:
                raise refused(key, f"the encoder {self.kind!r} does not know it: give it what it knows as args")
        if self.norm == "layer" and self.width == 1:
            if "norm" in self.model_fields_set:
                said = "of one feature nothing is left once it is normalised: give the encoder more width"
                raise refused("norm", said)
            object.__setattr__(self, "norm", "none")  # frozen; what nobody asked for is no error
        self._read_args()
        return self

    def _read_args(self) -> None:
        model = args_of(self.kind)
        try:
            if model is not None:
                model.model_validate(self.args)
        except ValidationError as error:
            first = error.errors()[0]
            said = f"{first['msg'].lower()}, for the encoder {self.kind!r}"
            raise refused("args", said, *first["loc"]) from None

    @model_serializer(mode="wrap")
    def _without_sizes(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the sizes that a module of one's own is not given, which would be held against it."""
        keys: dict[str, Any] = handler(self)
        known = self.model_fields_set if self.ones_own else SIZES
        return {key: value for key, value in keys.items() if key not in SIZES or key in known}

    def __hash__(self) -> int:  # of a dict there is none
        return hash((self.kind, self.width, self.depth, self.norm, self.frozen, self.weights))

    @property
    def ones_own(self) -> bool:
        """Whether it is a module that says itself what its first values and features are."""
        return _of_ones_own(self.kind)

    @property
    def label(self) -> str:
        """A text that differs where the options do, such as ``auto-64x2``."""
        more = [self.args, self.lora and self.lora.model_dump()] if self.args or self.lora else None
        digest = f"-{_digest(more)}" if more else ""
        norm = "-no-norm" if self.norm == "none" else ""
        size = "" if self.ones_own and not _takes_sizes(self.kind) else f"-{self.width}x{self.depth}{norm}"
        return self.kind + size + digest + ("-frozen" if self.frozen else "")

    def changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Its keys with changes over them; those that belong to its kind do not outlast it, nor a norm its width."""
        kind, mine = str(changes.get("kind", self.kind)), self.model_dump()
        if changes.get("width") == 1 or "norm" not in self.model_fields_set:
            mine.pop("norm", None)
        if kind == self.kind:
            return mine | dict(changes)
        bound = {"args", "lora"} | ({"weights"} if _of_ones_own(kind) else set())
        bound |= set() if _takes_sizes(kind) else set(SIZES)
        return {key: value for key, value in mine.items() if key not in bound} | dict(changes)


def _of_ones_own(kind: str) -> bool:
    return kind not in ("auto", *SHIPPED)


def _takes_sizes(kind: str) -> bool:
    """Whether it is told width and depth, as a function ``build`` is that brings no ``Args``."""
    return not _of_ones_own(kind) or (":" not in kind and args_of(kind) is None)


def args_of(kind: str) -> type[BaseModel] | None:
    """What an encoder's ``args`` are read by, of one that brings a model ``Args`` in its module."""
    try:
        found = plugins.module(plugins.ENCODERS, kind) if _of_ones_own(kind) and ":" not in kind else None
    except ConfigError:  # there is none, of which others complain
        return None
    return getattr(found, "Args", None)


class EncoderChanges(EncoderOptions):
    """Changes to the options of an encoder: the keys that are given, and no others."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        return self  # its kind may be that of what it changes

    @model_serializer(mode="wrap")
    def _without_sizes(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        keys: dict[str, Any] = handler(self)
        return {key: value for key, value in keys.items() if key in self.model_fields_set}


@dataclass
class Making:
    """For whom trunks are made: ``whose`` first values they have, "all" agents' or those of one, in a run of a seed.

    ``layouts`` are those made so far as their layouts alone, on the device ``meta``.
    """

    seed: int = 0
    whose: str = "all"
    layouts: dict[Any, "Trunk"] = field(default_factory=dict)


_TAKEN: WeakSet[nn.Module] = WeakSet()  # the modules with numbers that are in a trunk

_MAKING: ContextVar[Making] = ContextVar("making")


@contextmanager
def making(seed: int, whose: str, layouts: dict[Any, "Trunk"]) -> Iterator[None]:
    """Trunks of one's own that are made meanwhile draw their first values by these names."""
    token = _MAKING.set(Making(seed, whose, layouts))
    try:
        yield
    finally:
        _MAKING.reset(token)


@contextmanager
def drawing(*names: object) -> Iterator[None]:
    """What is drawn of torch's own generator on the CPU depends on the names alone, and leaves it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeded(*names).initial_seed())
        yield


class Norm(nn.Module):
    """Layer normalisation without parameters (Ba et al., arXiv 1607.06450, section 3): (B, ...) → (B, ...).

    Each sample gets the mean 0 and variance 1 over all of its numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        return normalised(x, tuple(range(1, x.dim())))


def normalised(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """To mean 0 and variance 1 over these axes, as ``layer_norm`` does, which needs sizes that no graph has."""
    centred = x.float() - x.float().mean(axes, keepdim=True)  # float: also under autocast
    return centred * (centred.square().mean(axes, keepdim=True) + EPSILON).rsqrt()


def hidden(layer: nn.Module, options: EncoderOptions) -> list[nn.Module]:
    """A hidden layer: rectified, and then normalised where the options say so."""
    return [layer, nn.ReLU(), *([Norm()] if options.norm == "layer" else [])]


class Trunk(nn.Module):
    """A module of one's own as an encoder: (B, *shape) → (B, ``features``).

    What it gives of more axes, (B, F, ...), is averaged over them. A frozen one is in evaluation mode for good, and
    nothing in it changes but adapters that were injected.
    """

    keeps_values = True

    def __init__(self, module: nn.Module, features: int, options: EncoderOptions) -> None:
        super().__init__()
        self.module = module
        self.features = features
        self.frozen = options.frozen
        if self.frozen:
            self.requires_grad_(False)
        if options.lora:
            inject(options.lora, self)
        if options.checkpoint:
            recompute(module)
        self.train()

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)

    def forward(self, x: Tensor) -> Tensor:
        return averaged(self.module(x))

    def hold_once(self, like: "Trunk") -> None:
        """Let the parameters that never change be those of an equal trunk, so that many agents hold them once."""
        theirs = dict(like.named_parameters())
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                parameter.data = theirs[name].data


def averaged(features: Tensor) -> Tensor:
    """(B, F, ...) → (B, F). Raises ConfigError for what is no tensor."""
    if not isinstance(features, Tensor):
        raise ConfigError(f"an encoder gives {_of(features)} in training: it has to give one tensor (B, features)")
    return features if features.dim() == 2 else features.flatten(2).mean(2)


CONTAINERS = (nn.Sequential, nn.ModuleList)


def recompute(module: nn.Module) -> None:
    """Keep nothing of a module's blocks in forward passes: each is computed again for its gradients.

    Its names and its numbers stay the same. Blocks are what stands in lists of modules and has layers of its own, such
    as those of a transformer; without any the module is one.
    """
    for block in list(_blocks(module)) or [module]:
        block.forward = partial(_recomputed, block, block.forward)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        inside = list(_blocks(child))
        if not inside and isinstance(module, CONTAINERS) and _composite(child):
            yield child
        yield from inside


def _composite(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and any(True for _ in module.parameters())


def _recomputed(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_passes, module), **kwargs)


def _passes(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _keeping_buffers(module)


@contextmanager
def _keeping_buffers(module: nn.Module) -> Iterator[None]:
    """Running statistics that the first pass took are not to be taken twice."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, values in before:
            buffer.data.copy_(values)  # data: no change that autograd would have to know of


def trunk(shape: tuple[int, ...], options: EncoderOptions, modality: str = "") -> nn.Module:
    """Make the encoder of a modality whose samples have this shape: (B, *shape) → (B, ``features_of`` it).

    A frozen one has no trainable parameter, so it is neither trained nor shared. Raises ConfigError where there is no
    encoder of this kind, or it does not take such inputs.
    """
    if options.ones_own:
        return _ones_own(shape, options, modality)
    of_input = "tokens" if isinstance(shape, TokenShape) else BY_AXES.get(len(shape), "vector")
    kind = of_input if options.kind == "auto" else options.kind
    encoder = _fitting(kind, shape, options)
    if options.frozen:
        encoder.requires_grad_(False)
    return encoder


def library(name: str) -> Any:
    """A package that an encoder is made with, which is an extra of its name. Raises ConfigError where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(f"this encoder needs the package {name}: pip install 'parse-p2p[{name}]'") from None
    except Exception as error:  # such as one that was built for another torch
        raise ConfigError(f"the package {name} cannot be imported ({_short(error)}): install one that fits") from error


def without_weights(options: EncoderOptions) -> EncoderOptions:
    """The same encoder for who brings its tensors: what a file of weights says of its form is in ``args`` then.

    A module that reads such a thing has a function ``portable(options)`` that gives those ``args``.
    """
    module = plugins.module(plugins.ENCODERS, options.kind) if options.ones_own and ":" not in options.kind else None
    portable = getattr(module, "portable", None)
    changes = {"args": portable(options)} if portable else {}
    return options.model_copy(update={"weights": None} | changes)


def features_of(encoder: nn.Module, options: EncoderOptions) -> int:
    """How many features a trunk made by these options gives."""
    return encoder.features if isinstance(encoder, Trunk) else options.width


# those that are shipped


def _fitting(kind: str, shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    build = plugins.load(plugins.ENCODERS, kind)
    try:
        found = _shape(build, shape, options)
        if found != (2, options.width):
            raise ValueError(f"it gives {found}")
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"the encoder {kind!r} does not take inputs of shape {shape} ({reason}): try auto") from None
    encoder: nn.Module = build(shape, options)
    if options.checkpoint:
        recompute(encoder)
    return encoder


@cache
def _shape(build: Callable[..., nn.Module], shape: tuple[int, ...], options: EncoderOptions) -> tuple[int, ...]:
    """The shape of what an encoder makes of two samples.

    It is tried on numbers, for on the device ``meta`` torch loads its compiler: two seconds and 80 MB in every process.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        return tuple(build(shape, options)(two_samples(shape)).shape)


def two_samples(shape: tuple[int, ...]) -> Tensor:
    """Zeros (2, *shape) to try a module on; of tokens int64 ids that are no padding."""
    return torch.full((2, *shape), shape.any_id) if isinstance(shape, TokenShape) else torch.zeros(2, *shape)


# those of one's own


def _ones_own(shape: tuple[int, ...], options: EncoderOptions, modality: str) -> Trunk:
    now = _MAKING.get(None) or Making()
    build = plugins.load(plugins.ENCODERS, options.kind)
    if torch.get_default_device().type != "meta":
        return _made(build, shape, options, now, modality)
    key = (build, shape, options)
    if key not in now.layouts:
        now.layouts[key] = _layout(_made(build, shape, options, now, modality))
    return now.layouts[key]


def _layout(trunk: Trunk) -> Trunk:
    """The trunk without its numbers; a parameter of two names stays one, which ``to("meta")`` would part."""
    met: dict[nn.Parameter, nn.Parameter] = {}
    for module in trunk.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                bare = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
                module._parameters[name] = met.setdefault(parameter, bare)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty_like(buffer, device="meta")
    return trunk


def _made(build: Any, shape: tuple[int, ...], options: EncoderOptions, now: Making, modality: str) -> Trunk:
    whose = "all" if options.frozen else now.whose
    with torch.device("cpu"), drawing(now.seed, "init", whose, "trunk", modality):
        module = _called(build, shape, options)
        try:
            return Trunk(module, _tried(module, shape, options), options)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the encoder {options.kind!r} does not take inputs of shape {shape}"
                f"{f' of {modality!r}' if modality else ''} ({_short(error)}): give it args or data that fit"
            ) from error


def _called(build: Any, shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    kind = options.kind
    if isinstance(build, nn.Module) or not callable(build):
        raise ConfigError(f"the encoder {kind!r} is no class or function that makes a module, but {_of(build)}")
    arguments = _arguments(build, shape, options) if ":" in kind else {}
    try:
        module = build(**arguments) if ":" in kind else build(shape, options)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"the encoder {kind!r} cannot be made ({_short(error)}): correct it or its args") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the encoder {kind!r} makes {_of(module)}: it has to return a torch.nn.Module")
    parts = [part for part in module.modules() if part._parameters or part._buffers]
    if not _TAKEN.isdisjoint(parts):
        raise ConfigError(f"the encoder {kind!r} makes no new module each time: return a copy.deepcopy of it")
    _TAKEN.update(parts)
    for name, parameter in () if options.frozen else module.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise ConfigError(
                f"the encoder {kind!r} has {name!r} of {parameter.dtype}: train it in float32, or freeze it"
            )
    return module


def _arguments(build: Any, shape: tuple[int, ...], options: EncoderOptions) -> dict[str, Any]:
    """What a class or function is called with: ``args``, and the shape of one sample where it has such a parameter."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # of what is written in C there may be none
        return options.args
    arguments = {"shape": shape} | options.args if "shape" in signature.parameters else options.args
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"the encoder {options.kind!r} does not take these args ({error}): it is called with {signature}"
        ) from None
    return arguments


@torch.no_grad()
def _tried(module: nn.Module, shape: tuple[int, ...], options: EncoderOptions) -> int:
    """The features that a module gives, seen on two samples of zeros, or of one token."""
    kind, given = options.kind, module.eval()(two_samples(shape))
    if not isinstance(given, Tensor):
        raise ConfigError(f"the encoder {kind!r} gives {_of(given)}: it has to give one tensor (B, features)")
    found = tuple(given.shape)
    if len(found) < 2 or found[0] != 2 or given.dtype != torch.float32 or 0 in found:
        raise ConfigError(
            f"the encoder {kind!r} gives {given.dtype} of shape {found} for a batch of 2: it has to give float32 (2, F)"
        )
    if "width" in options.model_fields_set and found[1] != options.width:
        raise ConfigError(
            f"the encoder {kind!r} gives {found[1]} features and its width is to be {options.width}: leave width out"
        )
    return found[1]


def _of(value: object) -> str:
    return f"a {type(value).__name__}"


def _short(error: BaseException) -> str:
    said = cause(error)
    return said if len(said) <= 200 else f"{said[:199]}…"


def _digest(value: object) -> str:
    return blake2b(json.dumps(value, sort_keys=True, default=repr).encode(), digest_size=4).hexdigest()

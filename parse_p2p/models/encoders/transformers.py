"""Trunks of the library transformers, as ``{kind: transformers, weights: wav2vec2-base, frozen: true}``.

``weights`` is a folder that ``save_pretrained`` wrote, with ``config.json`` and the tensors; nothing is fetched and no
code in it is run. Without weights ``args: {config: {model_type: vit, ...}}`` makes a model that begins at random.

An image (B, C, H, W) goes in as ``pixel_values``, a series (B, 1, T) as ``input_values`` (B, T), or (B, C, T) as
``input_features``. Ids of tokens (B, T) go in as ``input_ids`` beside an ``attention_mask``, which hides padding. What
comes out is the model's pooled output or, where it has none, the mean of its last hidden states, of tokens without
padding; the scaling of a processor is that of ``data_schema.scale``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.tokenizer import digest_in
from parse_p2p.models.encoder import EncoderOptions, averaged, library
from parse_p2p.models.weights import weights_file

POOLER = "pooler."


REFUSED = ("auto_map", "attn_implementation", "_attn_implementation", "_name_or_path", "use_timm_backbone", "backbone")
"""Keys of a configuration that name code or models of elsewhere."""


def _keys(value: object) -> set[str]:
    """Those of a mapping and of all that lie in it."""
    if isinstance(value, dict):
        return {*map(str, value), *(key for each in value.values() for key in _keys(each))}
    return {key for each in value for key in _keys(each)} if isinstance(value, list) else set()


def _cleared(value: Any) -> Any:
    """A configuration without those keys, at any depth."""
    return {k: _cleared(v) for k, v in value.items() if k not in REFUSED} if isinstance(value, dict) else value


class Args(BaseModel):
    """What a model is made by, and which of its outputs is read."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any] = Field(default_factory=dict, description="of the model, or changes to that in weights")
    pooling: Literal["auto", "pooler", "mean"] = Field("auto", description="auto: pooler where the model has one")

    @field_validator("config")
    @classmethod
    def _of_the_library_alone(cls, config: dict[str, Any]) -> dict[str, Any]:
        if odd := sorted(_keys(config) & {*REFUSED}):
            raise ValueError(f"{odd[0]!r} in config names what is elsewhere; leave it out")
        if "timm_wrapper" in str(config.get("model_type")):
            raise ValueError("a model of timm is the encoder timm; take kind: timm")
        return config


class Trunk(nn.Module):
    """A model of transformers: (B, *shape) → (B, F)."""

    def __init__(self, model: Any, pooling: str, loaded: Any, padding: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.padding = padding
        self._loaded = loaded

    def forward(self, x: Tensor) -> Tensor:
        if self.padding is not None:
            return self._of_tokens(x, self.padding)
        name = self.model.main_input_name
        out = self.model(**{name: x.squeeze(1) if name == "input_values" and x.dim() == 3 else x})
        pooled = self._pooled(out)
        if pooled is not None:
            return averaged(pooled)
        hidden: Tensor = out.last_hidden_state
        return hidden.mean(1) if hidden.dim() == 3 else averaged(hidden)  # (B, T, F), or (B, F, H, W)

    def _of_tokens(self, ids: Tensor, padding: int) -> Tensor:
        there = ids != padding
        # a row of padding alone sees its first place: attention to nothing is no number
        there = there | (~there.any(1, keepdim=True) & (torch.arange(ids.shape[1], device=ids.device) == 0))
        out = self.model(input_ids=ids, attention_mask=there.long())
        pooled = self._pooled(out)
        if pooled is not None:
            return averaged(pooled)
        weights = there.unsqueeze(2).to(out.last_hidden_state.dtype)
        found: Tensor = (out.last_hidden_state * weights).sum(1) / weights.sum(1)
        return found

    def _pooled(self, out: Any) -> Tensor | None:
        """The pooled output, if there is one and it is to be read. Raises ConfigError where there is to be one."""
        pooled: Tensor | None = None if self.pooling == "mean" else getattr(out, "pooler_output", None)
        if pooled is None and self.pooling == "pooler":
            raise ConfigError("the model has no pooled output: take pooling: mean")
        return pooled

    def read_weights(self, path: Path) -> Mapping[str, Tensor]:
        """The tensors of a folder. A pooler that is not read may be missing there. Raises ConfigError."""
        weights_file(path)
        found, report = self._loaded(path)
        missing = sorted(n for n in report["missing_keys"] if self.pooling != "mean" or not n.startswith(POOLER))
        if missing:
            remedy = "take pooling: mean" if missing[0].startswith(POOLER) else "give weights of such a model"
            raise ConfigError(f"the tensor {missing[0]!r} of the model is missing there: {remedy}")
        mine, tensors = self.model.state_dict(), found.state_dict()
        return {f"model.{n}": mine[n] if n in report["missing_keys"] else tensors[n] for n in mine}


def build(shape: tuple[int, ...], options: EncoderOptions) -> nn.Module:
    """(B, *shape) → (B, F)."""
    transformers = library("transformers")
    args = Args.model_validate(options.args)
    values = _config(options.weights) | args.config
    if "model_type" not in values:
        raise ConfigError(f"the encoder {options.kind!r} needs weights, a folder, or args.config with a model_type")
    config = transformers.AutoConfig.for_model(**values)
    if isinstance(shape, TokenShape):
        _refuse_other_tokens(config, shape)
        _refuse_other_tokenizer(options.weights, shape)

    def loaded(path: Path) -> Any:
        quiet = transformers.utils.logging
        level = quiet.get_verbosity()
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
        try:
            return transformers.AutoModel.from_pretrained(
                path, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # whatever bytes may make a reader raise
            raise ConfigError(f"it cannot be read ({' '.join(str(error).split())[:200]})") from None
        finally:
            quiet.set_verbosity(level)

    padding = shape.padding if isinstance(shape, TokenShape) else None
    return Trunk(transformers.AutoModel.from_config(config), args.pooling, loaded, padding)


def _refuse_other_tokens(config: Any, shape: TokenShape) -> None:
    """Raise ConfigError where a model would take ids for others than they are, or has no such."""
    known, padding = getattr(config, "vocab_size", None), getattr(config, "pad_token_id", None)
    if known is None:
        raise ConfigError(f"the model {config.model_type} reads no tokens: take one that does")
    if known < shape.vocabulary:
        raise ConfigError(
            f"the model {config.model_type} knows {known} tokens, and the data have {shape.vocabulary}: take the "
            "tokenizer that belongs to it"
        )
    if padding not in (None, shape.padding):
        raise ConfigError(
            f"the model {config.model_type} takes the id {padding} for padding, and the data {shape.padding}: take the "
            f"tokenizer that belongs to it, or args: {{config: {{pad_token_id: {shape.padding}}}}}"
        )


def portable(options: EncoderOptions) -> dict[str, Any]:
    """The ``args`` that make the same model without its folder."""
    args = Args.model_validate(options.args)
    return {**options.args, "config": _config(options.weights) | args.config}


def _config(folder: str | None) -> dict[str, Any]:
    if folder is None:
        return {}
    path = Path(folder) / "config.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): weights is to be a folder as save_pretrained writes it"
        ) from None
    return {
        key: value
        for key, value in _cleared(values).items()
        if key not in ("architectures", "transformers_version", "dtype", "torch_dtype")
    }


def _refuse_other_tokenizer(weights: str | None, shape: TokenShape) -> None:
    """Raise ConfigError where another tokenizer lies beside the weights than made the ids, as far as both are known."""
    beside = None if weights is None or shape.tokenizer is None else digest_in(Path(weights))
    if beside not in (None, shape.tokenizer):
        raise ConfigError(
            f"the model in {weights} has the tokenizer {beside}, and the ids are by {shape.tokenizer}: take the one "
            "that belongs to it"
        )

"""A trained agent as an ONNX graph: raw inputs by modality go in, scaled inside, what ``predict`` says comes out."""

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parse_p2p.core.errors import ConfigError, P2PError, cause
from parse_p2p.core.rng import seeded
from parse_p2p.data.kinds import TokenShape
from parse_p2p.serving.packages import package
from parse_p2p.serving.trained import TrainedModel

FILE = "model.onnx"
OPSET = 17
TOLERANCE = 1e-5
"""By which a probability of the graph may differ, or a number by so much of the largest: as a sum of a few hundred
float32 in another order does."""

ROWS = (2, 5)
"""Of the batch that the graph is traced with, and of the one it is compared on."""


class _Graph(nn.Module):
    """All that ``predict`` does, in tensors alone."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self._model = model
        self.network = model.network

    def forward(self, *inputs: Tensor) -> Tensor:
        scaled = self._model.scaled(dict(zip(self._model.modalities, inputs, strict=True)))
        return self._model.task.said(self.network.prediction(self.network(scaled), self._model.task))


def write(model: TrainedModel, folder: Path) -> None:
    """Write ``model.onnx``, once it says what the model says.

    Raises ConfigError where packages are missing, or the network has no such graph.
    """
    runtime = needed()
    partial = folder / f"{FILE}.partial"
    try:
        _trace(model, partial)
        _compare(model, runtime.InferenceSession(partial, providers=["CPUExecutionProvider"]))
        partial.rename(folder / FILE)
    except P2PError:
        raise
    except Exception as error:  # whatever an operation without a counterpart leads to
        said = cause(error)[:160]
        network = model.description.model.network
        raise ConfigError(f"the network {network!r} has no ONNX graph ({said}): leave out --onnx") from None
    finally:
        partial.unlink(missing_ok=True)


def needed() -> Any:
    """The package that runs graphs. Raises ConfigError where it is missing, or the one that writes them."""
    package("onnx", "onnx", "an ONNX graph")
    return package("onnxruntime", "onnx", "an ONNX graph")


def _compare(model: TrainedModel, session: Any) -> None:
    inputs = _samples(model, ROWS[1])
    (said,) = session.run([model.task.output], {m: x.numpy() for m, x in inputs.items()})
    ours = model.task.said(model.logits(inputs)).numpy()
    if not np.allclose(said, ours, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(ours).max()))):
        raise ConfigError(
            f"the ONNX graph of the network {model.description.model.network!r} says something else than the network: "
            "its forward depends on more than the values of its inputs; export it without --onnx"
        )


def _trace(model: TrainedModel, path: Path) -> None:
    names = list(model.modalities)
    # it prints a graph that it cannot write
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        # the other exporter needs a package more and reads no network that chooses by a buffer; what a trace misses
        # shows when the graph is compared
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(model).eval(),
            tuple(_samples(model, ROWS[0]).values()),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[model.task.output],
            dynamic_axes={name: {0: "rows"} for name in (*names, model.task.output)},
        )


def _samples(model: TrainedModel, rows: int) -> dict[Any, Tensor]:
    """Inputs about as large as those that the model learnt from."""
    generator = seeded("onnx", rows)
    found = {}
    for m, shape in model.description.data_schema.shapes(list(model.modalities)).items():
        if isinstance(shape, TokenShape):
            found[m] = torch.randint(shape.vocabulary, (rows, *shape), generator=generator)
            continue
        scale, x = model.scales[m], torch.randn(rows, *shape, generator=generator)
        if scale.mean is not None and scale.deviation is not None:
            x = (x.double() * scale.deviation + scale.mean).float()
        found[m] = x
    return found

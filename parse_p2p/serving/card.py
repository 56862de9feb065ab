"""The card of an exported model: what it is, what goes in, how good it was, as pages of models are laid out.

After the layout of Hugging Face's model cards: YAML first, with the figures as a ``model-index``, then Markdown.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from parse_p2p.core import plugins
from parse_p2p.core.types import Modality
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.tokenizer import file_name
from parse_p2p.launch.kept_data import AppliedScale
from parse_p2p.serving.description import Description
from parse_p2p.serving.trained import TrainedModel

MOST_CLASSES = 50
"""How many are listed one by one."""

LIMITS = """\
The figure is of the agent's own test samples, which are of the same kind as those it learnt from. Of data from another
place `parse-agent evaluate` says more. Inputs are scaled by the statistics in `config.json`: give them as they were
measured, in the same units. What an agent's statistics and parameters tell of its data is not hidden here."""


def text(model: TrainedModel) -> str:
    """The whole card."""
    about, size = model.description, sum(p.numel() for p in model.network.parameters())
    front = yaml.safe_dump(_front(about), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {_plain(_name(about))}",
        f"The model of the agent `{_plain(about.agent)}` after {about.round} rounds of federated learning by the "
        f"method `{_plain(about.run.method)}`, with {size:,} parameters.",
        "## Use it",
        _example(model),
        "## What goes in",
        *_inputs(about),
        "## What comes out",
        _outputs(model),
        "## How good it is",
        _measured(about),
        LIMITS,
        "## Where it is from",
        *_origin(about),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _name(about: Description) -> str:
    return f"{about.agent} of {about.run.name}"


def _front(about: Description) -> dict[str, Any]:
    metrics = [] if about.measured is None else [{"type": about.solved.key, "value": about.measured.accuracy}]
    result = {
        "task": {"type": "other", "name": about.solved.name},
        "dataset": {"name": about.run.dataset, "type": about.run.dataset},
        "metrics": metrics,
    }
    found: dict[str, Any] = {
        "library_name": "parse-p2p",
        "tags": ["federated-learning", "multimodal", "peer-to-peer", about.run.method],
    }
    return found | ({"model-index": [{"name": _name(about), "results": [result]}]} if metrics else {})


def _example(model: TrainedModel) -> str:
    shapes = {m: ", ".join(map(str, shape)) for m, shape in model.modalities.items()}
    inputs = ", ".join(_inputs_of(model, m, shape) for m, shape in shapes.items())
    about = model.description
    names = {about.model.network, *(each.kind for each in about.encoders.values())}
    own = sorted(filter(plugins.ones_own, names))
    trusted = f", trusted={own}" if own else ""
    lines = [
        "import numpy",
        "import parse_p2p",
        "",
        f'model = parse_p2p.load("."{trusted})  # this folder',
        f"model.predict({{{inputs}}})  # (8, {len(model.classes)}) {model.task.output}",
    ]
    return "\n".join(["```python", *lines, "```"])


def _inputs_of(model: TrainedModel, modality: Modality, shape: str) -> str:
    if modality in model.tokenizers:
        return f"{modality!r}: ['a text'] * 8"
    each = model.description.data_schema.modalities[modality].sample
    if isinstance(each, TokenShape):
        return f"{modality!r}: numpy.full((8, {shape}), {each.any_id})"
    return f"{modality!r}: numpy.zeros((8, {shape}))"


def _inputs(about: Description) -> Iterator[str]:
    rows = ["| modality | a sample | scaled |", "| --- | --- | --- |"]
    for m, each in about.data_schema.modalities.items():
        rows.append(f"| `{_plain(m)}` | {each} | {_scaled(about.scale[m])} |")
    yield "\n".join(rows)
    yield "All numbers are float32. Scaling is part of the model: each feature or channel by a mean and a deviation."
    for m, each in about.data_schema.modalities.items():
        if each.kind == "tokens":
            yield f"Ids of `{_plain(m)}` are int64.{_tokenizer(each.tokenizer)}"


def _tokenizer(digest: str | None) -> str:
    if digest is None:
        return " Which tokenizer made them is not known."
    return f" Texts become ids by `{file_name(digest)}`, cut and filled to that length: any other gives other ids."


def _scaled(scale: AppliedScale | None) -> str:
    return "no" if scale is None else f"by {len(scale.mean)} means and deviations"


def _outputs(model: TrainedModel) -> str:
    names, task = model.classes, model.task
    listed = ", ".join(f"`{_plain(name)}`" for name in names[:MOST_CLASSES])
    left = len(names) - MOST_CLASSES
    more = f", and {left} more" if left > 0 else ""
    which = task.one if len(names) == 1 else task.several
    return f"{task.output.capitalize()} of {len(names)} {which}, in this order: {listed}{more}."


def _measured(about: Description) -> str:
    if about.measured is None:
        return "Its log does not say."
    task, loss = about.solved, about.measured.test_loss
    nats = "" if loss is None else f", {task.loss_shown} {loss:.4f}{task.unit}"
    on = f"on the agent's own test samples of `{_plain(about.run.dataset)}`"
    return f"{task.score[0].upper()}{task.score[1:]} {about.measured.accuracy:.4f}{nats}, {on}."


def _origin(about: Description) -> Iterator[str]:
    run = about.run
    facts = {
        "run": run.name,
        "digest of the run": run.digest,
        "method": run.method,
        "data set": run.dataset,
        "agents": run.agents,
        "rounds": f"{about.round} of {run.rounds}",
        "seed": run.seed,
        "written by": f"parse-p2p {about.version}",
    }
    yield "\n".join(f"- {key}: `{_plain(str(value))}`" for key, value in facts.items())


def _plain(name: str) -> str:
    """A name as text that neither ends a code span nor a cell of a table."""
    return " ".join(name.split()).replace("`", "'").replace("|", "/")

"""Pictures of slices: what agents make of held-out samples, in two dimensions, beside the class of each sample.

The projection is that on the two principal components (scikit-learn), which is linear: what is apart in a picture is
apart in the slice, and two modalities in one picture lie as they lie to each other. That is why the redundant slices of
an agent's modalities share one: where they are aligned, points of a class fall together whatever they were read from.
Every other slice has one of its own. Nothing is drawn by chance: the same checkpoint gives the same pictures.

``pictures`` gives a plain structure:

    why           why there are none; empty where there are
    classes       their names, of all agents that are drawn
    panels[]      agent, type, round (after how many), slice, explained [share of the variance that each axis has],
                  labels [of each sample, a number in classes], points {modality: [[x of each], [y of each]]}
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError, P2PError
from parse_p2p.core.types import Kind, Modality, PeerId
from parse_p2p.lab.analysis import load_checkpoints
from parse_p2p.lab.analysis.probes import Features, one_thread
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.learner import Learner
from parse_p2p.runtime import checkpoint

SAMPLES = 300  # at most, at equal distances in the test set
DIGITS = 4  # significant ones of a coordinate


def pictures(folder: RunFolder) -> dict[str, Any]:
    """Of one agent with several modalities and of one with one, as their newest checkpoints left them."""
    try:
        plan = folder.open()
        if not plan.schema.solved.one_class:
            return _none(f"samples are coloured by their class, and the task of this run is {plan.schema.task}")
        found = _chosen(plan, folder)
        if not found:
            return _none("the folder has no checkpoint of any agent; they lie where the agents ran")
        loaded = {me: load_checkpoints.learner(plan, folder, me, round) for me, round in found.items()}
        names = list(dict.fromkeys(name for learner in loaded.values() for name in learner.test.class_names))
        with one_thread():
            panels = [
                {"agent": me, "type": plan.kind(me, max(0, found[me] - 1)), "round": found[me], **panel}
                for me, learner in loaded.items()
                for panel in panels_of(learner, names)
            ]
    except P2PError as error:  # its data are on another host, say
        return _none(str(error))
    if not panels:
        return _none(f"the network {plan.run.model.network!r} has no latents, or there are fewer than 3 test samples")
    return {"why": "", "classes": names, "panels": panels}


def _none(why: str) -> dict[str, Any]:
    return {"why": why, "classes": [], "panels": []}


def _chosen(plan: RunPlan, folder: RunFolder) -> dict[PeerId, int]:
    """The first agent that has most modalities, and the first that has one of these alone, with their newest rounds."""
    newest = {me: kept[-1] for me in plan.peers if (kept := checkpoint.rounds(folder.checkpoints(me)))}
    senses = {me: plan.senses(me, max(0, round - 1)) for me, round in newest.items()}
    several = max((me for me in newest if len(senses[me]) > 1), key=lambda me: len(senses[me]), default=None)
    alone = [me for me in newest if len(senses[me]) == 1 and (several is None or senses[me][0] in senses[several])]
    return {me: newest[me] for me in (several, next(iter(alone), None)) if me is not None}


def panels_of(learner: Learner, names: list[str]) -> Iterator[dict[str, Any]]:
    """Of each slice of an agent, the redundant ones of all its modalities together; ``names`` are those of classes."""
    rows = np.unique(np.linspace(0, len(learner.test) - 1, min(len(learner.test), SAMPLES)).round().astype(np.int64))
    if len(rows) < 3:
        return
    test = learner.test.select(rows.tolist())
    latents = learner.outputs(test).latents
    labels = [names.index(test.class_names[label]) for label in test.targets.tolist()]
    kinds = dict.fromkeys(kind for slices in latents.values() for kind in slices)
    for kind in kinds:
        held = {m: slices[kind].detach().cpu().double().numpy() for m, slices in latents.items() if kind in slices}
        for part in [held] if kind == Kind.REDUNDANT else [{m: z} for m, z in held.items()]:
            points, explained = projected(part)
            yield {"slice": str(kind), "explained": explained, "labels": labels, "points": points}


def projected(latents: Mapping[Modality, Features]) -> tuple[dict[str, list[list[float]]], list[float]]:
    """Latents (N, d) of some modalities on the principal components of all of them, and the variance these explain.

    Of latents of one number the second coordinate is 0. Raises ConfigError where one is not finite.
    """
    from sklearn.decomposition import PCA

    stacked = np.concatenate(list(latents.values()))
    if not np.isfinite(stacked).all():
        raise ConfigError("an agent's latents are not finite: its training or what it mixed with went wrong")
    count = min(2, stacked.shape[1])
    placed, shares = np.zeros((len(stacked), 2)), np.zeros(2)
    if np.ptp(stacked, axis=0).any():  # of what does not vary there is no share
        model = PCA(count, svd_solver="full")
        placed[:, :count], shares[:count] = model.fit_transform(stacked), model.explained_variance_ratio_
    ends = np.cumsum([len(z) for z in latents.values()])[:-1]
    parts = zip(latents, np.split(placed, ends), strict=True)
    points = {str(m): [[float(f"{x:.{DIGITS}g}") for x in axis] for axis in part.T.tolist()] for m, part in parts}
    return points, [round(share, 3) for share in shares.tolist()]

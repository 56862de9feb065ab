"""Harmony (Ouyang et al., MobiSys 2023), made decentralised: first modalities, then fusion.

Stage 1 gossips unimodal classifiers, encoder and head, among all holders of a modality; an agent with several
takes part once for each. In stage 2 the multimodal agents keep their encoders to themselves, train them at a
lower rate, and gossip the fusion head among agents alike: the paper's clusters of encoder drift become weights
``W_ij · exp(−‖b_i − b_j‖² / σ²)``, symmetric because both ends compute the same number (a reconstruction), with
b_i[m] the cosine distance of encoder m from where stage 2 began. Agents with one modality go on as before, among
themselves.

``sigma: auto`` takes σ² = σ_i σ_j in every pair (Zelnik-Manor and Perona, NIPS 2004), σ_i being the median distance of
agent i from its neighbours in the round before: a scale of the drifts themselves, which grow from round to round and
depend on the encoders. It is sent beside the drift; while an end has none, the two count as alike.
"""

import math
import statistics
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import cosine_similarity

from parse_p2p.core.message import Fact, Message
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.core.slices import Sharing, both, having, multimodal, nobody, same_type, unimodal
from parse_p2p.core.types import PeerId, Role
from parse_p2p.learning import losses
from parse_p2p.methods.base import Exchange, Inbox, Local, Method, Script
from parse_p2p.methods.exchanges.base import copies, mix_slices, slices

ENCODER = ("trunk", "rows.redundant", "rows.unique", "rows.joint")
FUSION = ("rows.synergistic", "head.synergistic", "head.joint")
SCALE = "scale"  # in memory
FURTHEST = 2.001  # a cosine distance is 2 at most, and rounded


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    switch: float = Field(0.5, ge=0, le=1, description="share of the rounds that stage 1 takes")
    encoder_rate: float = Field(0.1, ge=0, description="factor on the encoders' learning rate in stage 2")
    sigma: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        0.0,
        description="scale of the encoder drift that still counts as alike; 0: all alike; auto: median distance",
    )


STAGE_1: Sharing = dict.fromkeys(ENCODER, having) | {
    "head.unique": having,
    "head.unimodal": having,
    "head.weights": same_type,
    "head.redundant": same_type,  # one head for all modalities, so it cannot belong to one of them
    **dict.fromkeys(FUSION, nobody),
}
STAGE_2: Sharing = (
    {part: both(group, unimodal) for part, group in STAGE_1.items()}
    | dict.fromkeys(FUSION, both(same_type, multimodal))
    | {"head.weights": same_type}
)


def first_stage(options: Options, round: int, rounds: int) -> bool:
    return round < options.switch * rounds


def peer(local: Local, options: Options) -> Script:
    """One round of one agent."""
    if first_stage(options, local.round, local.rounds) or len(local.plan.holders[local.me].modalities) == 1:
        metrics = local.learner.train(losses.unimodal)
        mix_slices(local, (yield slices(local)))
        return metrics
    remember_encoders(local)
    metrics = local.learner.train(
        losses.task, scale=lambda name: 1.0 if name.startswith(FUSION) else options.encoder_rate
    )
    mine = drift(local)
    sigma = options.sigma
    scale = float(local.memory.get(SCALE, 0.0)) if isinstance(sigma, str) else None
    inbox = yield with_drift(slices(local), mine, scale)
    sigmas = {p: sigma if isinstance(sigma, float) else common_scale(scale or 0.0, m) for p, m in inbox.items()}
    mix_alike(local, inbox, mine, sigmas)
    if scale is not None:
        remember_scale(local, inbox, mine)
    return metrics


def remember_encoders(local: Local) -> None:
    """Keep the encoders as they are when stage 2 begins."""
    if "encoders" not in local.memory:
        local.memory["encoders"] = local.learner.buffer.values.to("cpu", copy=True)


def drift(local: Local) -> list[float]:
    """b_i: per modality, the cosine distance of the trunk from the one remembered."""
    now, then = local.learner.buffer.values.cpu(), local.memory["encoders"]
    trunks = [r for r in local.learner.buffer.regions.values() if r.component.part == "trunk"]
    return [float(1 - cosine_similarity(now[r.start : r.stop], then[r.start : r.stop], dim=0)) for r in trunks]


def with_drift(exchange: Exchange, mine: list[float], scale: float | None = None) -> Exchange:
    facts: dict[str, Fact] = {"drift": mine}
    if scale is not None:
        facts["scale"] = scale
    send = {peer: Message(message.tensors, facts) for peer, message in exchange.send.items()}
    return Exchange(exchange.topic, send, exchange.expect, exchange.quorum, exchange.check)


def common_scale(mine: float, message: Message) -> float:
    """√(σ_i σ_j), the same at both ends; 0 where one has none."""
    theirs = message.meta.get("scale")
    return math.sqrt(mine * theirs) if isinstance(theirs, float) and 0 < theirs < math.inf else 0.0


def remember_scale(local: Local, inbox: Inbox, mine: list[float]) -> None:
    """Keep the median distance of my drift from those that came."""
    found = [squared_distance(mine, message.meta.get("drift")) for message in inbox.values()]
    if comparable := [float(each.sqrt()) for each in found if each is not None]:
        local.memory[SCALE] = torch.tensor(statistics.median(comparable), dtype=torch.float64)


def mix_alike(local: Local, inbox: Inbox, mine: list[float], sigmas: Mapping[PeerId, float]) -> None:
    """Mix with weights that fall with the distance of the drifts over the σ of a pair; the rest stays at home."""
    for key, row in local.plan.weights.items():
        weights = {p: w * likeness(mine, inbox[p].meta.get("drift"), sigmas[p]) for p, w in row.items() if p in inbox}
        weighted(local.learner.buffer.view(local.plan.regions[key]), copies(local, inbox, key, weights), weights)


def likeness(mine: list[float], theirs: object, sigma: float) -> float:
    """exp(−‖b_i − b_j‖² / σ²); 1 without a σ, 0 for a drift that cannot be compared."""
    if not sigma:
        return 1.0
    apart = squared_distance(mine, theirs)
    if apart is None:
        return 0.0
    return float((-apart / sigma**2).exp()) if apart else 1.0  # also where σ² is too small to be told from 0


def squared_distance(mine: list[float], theirs: object) -> Tensor | None:
    """‖b_i − b_j‖², () in double; None for a drift that cannot be compared."""
    if not isinstance(theirs, list) or len(theirs) != len(mine):
        return None
    if not all(isinstance(x, float) and abs(x) <= FURTHEST for x in theirs):
        return None
    between = torch.tensor(mine, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)
    return between.square().sum()


METHOD = Method(
    name="harmony",
    paper="MobiSys 2023 (Ouyang et al.), made decentralised",
    summary="gossip unimodal classifiers per modality, then fusion heads among alike agents",
    options=Options,
    scripts={Role.PEER: peer},
    sharing=lambda options, round, rounds: STAGE_1 if first_stage(options, round, rounds) else STAGE_2,
    networks=("fission", "monolithic"),
    gaps=True,
)

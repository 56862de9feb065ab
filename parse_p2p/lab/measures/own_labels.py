"""The accuracy of each agent on the test set that all have, as if labels were there as often as in its own training.

Samples of the test set are weighted by w(y) = p_agent(y) / p_test(y), the importance weights of label shift: inputs of
a class look alike everywhere, and only how frequent classes are differs (Masashi Sugiyama, Matthias Krauledat and
Klaus-Robert Müller, Covariate Shift Adaptation by Importance Weighted Cross Validation, Journal of Machine Learning
Research 8, 2007; for labels Zachary Lipton, Yu-Xiang Wang and Alexander Smola, arXiv 1802.03916, section 2). What comes
of it is Σ_y p_agent(y) · accuracy on y, over the classes that the test set has.
"""

import statistics
from collections.abc import Mapping

import torch

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Dataset
from parse_p2p.learning.learner import Learner
from parse_p2p.runtime.agent_state import AgentState


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """``own-labels`` in the mean over agents, ``own-labels.worst``, and ``own-labels.ID`` of each.

    Nothing where samples have no class, and of an agent none of whose classes is tested.
    """
    if not plan.schema.solved.one_class:
        return {}
    found = {me: value for me in plan.peers if (value := weighted(agent_states[me].learner)) is not None}
    if not found:
        return {}
    each = {f"own-labels.{me}": value for me, value in found.items()}
    return {"own-labels": statistics.mean(found.values()), "own-labels.worst": min(found.values()), **each}


def weighted(learner: Learner) -> float | None:
    """Of one agent, on the common test set where it has one beside its own; None where none of its classes is tested.

    An agent of a stream is weighted by what it has seen. A class of which the model can read no test sample counts as
    one that is not tested.
    """
    test = learner.test if learner.common is None else learner.common
    counts = torch.bincount(learner.data.targets, minlength=test.classes).tolist()
    tested = {label: score for label in range(test.classes) if (score := _accuracy(learner, test, label)) is not None}
    mine = sum(counts[label] for label in tested)
    return sum(counts[label] * score for label, score in tested.items()) / mine if mine else None


def _accuracy(learner: Learner, test: Dataset, label: int) -> float | None:
    """On the test samples of one class; None where there are none."""
    rows = (test.targets == label).nonzero()[:, 0]
    try:
        return learner.judge(test.select(rows)).score if len(rows) else None
    except ConfigError:  # none of them has a modality that the agent has
        return None

"""What the data of a run hold: redundant, unique and synergistic information on the class, in bits.

As ``parse-lab pid`` has it, of codes of the inputs themselves and of what trunks make of them, on the test set;
codebooks are made on each agent's training samples, so that over seeds splits, codebooks and training vary.
"""

import statistics
from collections.abc import Mapping
from copy import copy

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.lab.analysis.probes import one_thread
from parse_p2p.lab.analysis.slice_analysis import ATOMS, View, flat, pairs, pid
from parse_p2p.learning.learner import Learner
from parse_p2p.runtime.agent_state import AgentState

CODES = (4, 8)
"""For each source; few lose information, many find synergy by chance in few samples."""

SHORT = dict(zip(ATOMS, ("R", "U1", "U2", "S"), strict=True))


def measure(plan: RunPlan, agent_states: Mapping[str, AgentState]) -> dict[str, float]:
    """``R of inputs, 4 codes``, ``U1 of trunks, 8 codes`` and so on, means over agents; ``S by chance of …``: the null.

    Where agents have several pairs of sources each says which, as ``R of inputs (audio | motion), 4 codes``. Nothing
    where samples have no class, and of agents with one modality or without samples that have all of theirs.
    """
    if not plan.schema.solved.one_class:
        return {}
    last = plan.run.rounds - 1
    views = [View(_whole(agent_states[me].learner), plan.kind(me, last), plan.run.seed) for me in plan.peers]
    several = [v for v in views if len(v.modalities) > 1 and len(v.learner.data) and len(v.learner.test)]
    alone = len({pair for view in several for pair in pairs(view.modalities)}) == 1
    found: dict[str, list[float]] = {}
    with one_thread():
        for view in several:
            data, test = view.learner.data, view.learner.test
            for of, (fit, held) in {
                "inputs": (flat(data), flat(test)),
                "trunks": (view.trunks(data), view.trunks(test)),
            }.items():
                for k in CODES:
                    for pair in pairs(view.modalities):
                        record = pid(view, fit, held, pair, k)
                        which = "" if alone else f" ({record['one']} | {record['other']})"
                        for atom, short in SHORT.items():
                            found.setdefault(f"{short} of {of}{which}, {k} codes", []).append(record[atom])
                            chance = record[f"null_{atom}"]
                            found.setdefault(f"{short} by chance of {of}{which}, {k} codes", []).append(chance)
    return {name: statistics.mean(values) for name, values in found.items()}


def _whole(learner: Learner) -> Learner:
    """With the samples that have every modality, for only these show it; the agent itself keeps what it has."""
    narrowed = copy(learner)
    narrowed.data, narrowed.test = learner.data.whole(), learner.test.whole()
    return narrowed

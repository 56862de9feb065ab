"""What a run came to: accuracy per agent type beside the same agents trained alone, and what it cost."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Metrics, PeerId
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.launch.run_history import ArrivalSummary
from parse_p2p.methods.base import Method
from parse_p2p.runtime.simulator import simulate

Judged = Mapping[int, Mapping[str, Any]]
"""Of an agent: by round, ``accuracy`` and what ``early_stopping`` chooses by."""


@dataclass(frozen=True)
class TypeSummary:
    """Agents with the same modalities, or one that is tested on samples of its own; a coordinator has its own row.

    ``std`` is over the agents; ``alone`` is None where it was not run.
    """

    type: str
    agents: int
    mean: float
    std: float
    worst: float
    worst_agent: str
    alone: float | None
    alone_std: float | None
    ceiling: float | None


@dataclass(frozen=True)
class Summary:
    """``bytes_per_round`` crossed the wire in one round for each agent, a coordinator's messages included.

    ``seconds`` is the time the run took. ``by_agent``: each row is one agent, since each has its own test samples.
    With ``early_stopping`` accuracies are of the rounds that were ``chosen``, by agent, with the accuracy of the last.
    ``arrived`` is what arrived while they ran, by agent.
    ``metrics`` are those that the run file asks for: by name, then by agent. ``score`` is what the figures of the types
    are: accuracy, or what another task has in its place.
    """

    method: str
    rounds: int
    types: list[TypeSummary]
    bytes_per_round: float
    bytes_total: int
    seconds: float
    by_agent: bool = False
    metrics: Mapping[str, Mapping[PeerId, float]] = field(default_factory=dict)
    chosen: Mapping[PeerId, Mapping[str, float]] = field(default_factory=dict)
    score: str = CLASSIFICATION.score
    arrived: Mapping[PeerId, ArrivalSummary] = field(default_factory=dict)

    def plain(self) -> dict[str, object]:
        """For JSON; ``metrics``, ``chosen``, ``arrived`` and ``score`` only where there is something to say."""
        silent = {"metrics": {}, "chosen": {}, "score": CLASSIFICATION.score, "arrived": {}}
        return {name: value for name, value in asdict(self).items() if name not in silent or value != silent[name]}


def summarise(
    plan: RunPlan,
    accuracy: Mapping[PeerId, float],
    alone: Mapping[PeerId, float] | None,
    sent: int,
    rounds: int,
    seconds: float,
    scores: Mapping[PeerId, Mapping[str, float]] | None = None,
    rows: Mapping[PeerId, Judged] | None = None,
    arrived: Mapping[PeerId, ArrivalSummary] | None = None,
) -> Summary:
    """Accuracies are shares of the test set; ``sent`` is bytes on the wire of all agents in ``rounds`` rounds.

    ``scores`` are other metrics of each agent by name; of a class that it has no test sample of it has none.
    ``rows`` are accuracies of all rounds, for ``early_stopping``; ``arrived`` is what came while they ran.
    """
    chosen = {me: {**best, "last": accuracy[me]} for me, best in choose(plan, rows or {}).items()}
    accuracy = {**accuracy, **{me: best["accuracy"] for me, best in chosen.items()}}
    types: dict[str, list[PeerId]] = {}
    for me in plan.specs:
        if me in accuracy:
            kind = plan.kind(me, plan.run.rounds - 1)
            types.setdefault(kind if plan.data.dealt else f"{me}: {kind}", []).append(me)
    table = [_row(plan, kind, agents, accuracy, alone) for kind, agents in types.items()]
    each = sent / max(1, len(accuracy.keys() - {plan.coordinator})) / max(1, rounds)
    metrics: dict[str, dict[PeerId, float]] = {}
    for me, found in (scores or {}).items():
        for name, value in found.items():
            metrics.setdefault(name, {})[me] = value
    by_agent, score = not plan.data.dealt, plan.schema.solved.score
    return Summary(plan.run.method, rounds, table, each, sent, seconds, by_agent, metrics, chosen, score, arrived or {})


def choose(plan: RunPlan, rows: Mapping[PeerId, Judged]) -> dict[PeerId, dict[str, float]]:
    """``round`` and ``accuracy`` that each agent reports, of those that have samples to choose the round by."""
    found: dict[PeerId, dict[str, float]] = {}
    if (stopping := plan.run.early_stopping) is None:
        return found
    for me, judged in rows.items():
        whole = {at: row for at, row in judged.items() if row.get("accuracy") is not None}
        if (at := stopping.chosen(whole)) is not None:
            found[me] = {"round": at, "accuracy": whole[at]["accuracy"]}
    return found


def _row(
    plan: RunPlan,
    kind: str,
    agents: Sequence[PeerId],
    accuracy: Mapping[PeerId, float],
    alone: Mapping[PeerId, float] | None,
) -> TypeSummary:
    worst = min(agents, key=lambda me: accuracy[me])
    alone_there = [alone[me] for me in agents if me in alone] if alone is not None else None
    return TypeSummary(
        type=kind,
        agents=len(agents),
        mean=statistics.mean(accuracy[me] for me in agents),
        std=statistics.pstdev(accuracy[me] for me in agents),
        worst=accuracy[worst],
        worst_agent=worst,
        alone=statistics.mean(alone_there) if alone_there else None,
        alone_std=statistics.pstdev(alone_there) if alone_there else None,
        ceiling=plan.ceiling(worst),
    )


def train_alone(plan: RunPlan, progress: Callable[[int], None]) -> dict[PeerId, float]:
    """Accuracy of the same agents after as many rounds of the method ``local``, with the same seed and losses."""
    local: Method = plugins.load(plugins.METHODS, "local")
    options = {k: v for k, v in plan.options.model_dump().items() if k in local.options.model_fields}
    # a network that only makes sense with what others send has no agents alone: they get the default one
    network = plan.run.model.network if plan.run.model.network in local.networks else "auto"
    model = plan.run.model.model_copy(update={"network": network})
    lonely = RunPlan(plan.run.model_copy(update={"method": "local", "options": options, "model": model}))
    torch.set_num_threads(lonely.threads)
    try:
        agent_states = lonely.agent_states()
    except ConfigError:  # the agents' devices are on other hosts
        agent_states = RunPlan(_on_any_device(lonely.run)).agent_states()

    def watch(round: int, metrics: Mapping[PeerId, Metrics], ledger: object) -> None:
        if lonely.run.early_stopping is not None or round == lonely.run.rounds - 1:
            for p in agent_states:
                rows.setdefault(p.me, {})[round] = p.learner.evaluate()
        progress(round + 1)

    rows: dict[PeerId, dict[int, Mapping[str, float]]] = {}
    simulate(agent_states, lonely.run.rounds, watch=watch)
    best = choose(lonely, rows)
    return {me: best.get(me, judged[max(judged)])["accuracy"] for me, judged in rows.items()}


def _on_any_device(run: RunFile) -> RunFile:
    agents = run.agents
    if isinstance(agents, list):
        agents = [entry.model_copy(update={"device": None}) for entry in agents]
    return run.model_copy(update={"device": "auto", "agents": agents})

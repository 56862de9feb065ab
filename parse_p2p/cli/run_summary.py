"""What a run came to: read from its agents' logs, printed and kept."""

import json
from statistics import fmean

from rich.console import Console
from rich.markup import escape

from parse_p2p.cli import terminal
from parse_p2p.cli.progress import RunView, clock, size
from parse_p2p.cli.terminal import Columns
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.events import METRICS, End, Failed, Left
from parse_p2p.core.types import PeerId
from parse_p2p.launch.results import Summary, summarise, train_alone
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import AgentHistory, RunHistory


def missing(plan: RunPlan, history: RunHistory) -> dict[PeerId, str]:
    """Those that have not come to an end, or to a bad one, and what is known of each."""
    # of those who may come when they like nobody knows whether they will
    there = [me for me, span in plan.spans.items() if span or history.agents[me].rounds]
    return {me: why for me in there if (why := _missing(history.agents[me], plan.run.rounds))}


def _missing(agent: AgentHistory, rounds: int) -> str:
    match agent.end:
        case Failed():
            return agent.end.sentence
        case Left():
            return ""
        case End() if agent.end.round == rounds:
            return ""
    if not agent.state:
        return "has logged nothing here"
    return f"is not at its end: {agent.done} of {rounds} rounds are done, and it was last {agent.state}"


def over(plan: RunPlan, history: RunHistory) -> bool:
    """Whether nothing more is to come: all are at their end, or failed."""
    return all(isinstance(history.agents[me].end, Failed) for me in missing(plan, history))


def conclude(
    plan: RunPlan, folder: RunFolder, view: RunView, seconds: float, alone: bool, quiet: bool, keep: bool = True
) -> Summary:
    """What the run came to, beside the same agents ``alone``; ``keep`` writes it into the run's folder.

    Agents with data of their own are not trained alone here, for nobody else reads their data, nor where these were in
    the memory of a notebook.
    """
    baseline = None
    if alone and plan.data.at_hand and plan.run.method != "local":
        baseline = _baseline(plan, quiet)
    rounds = plan.run.rounds - view.first
    accuracy = view.accuracy()
    history = RunHistory.whole(plan, folder) if view.first else view.history  # the best round may be before a stop
    logged = {
        me: {at: row.model_dump(include=set(METRICS)) for at, row in history.agents[me].rounds.items()}
        for me in accuracy
    }
    summary = summarise(plan, accuracy, baseline, view.sent(), rounds, seconds, view.scores(), logged, history.arrived)
    if keep:
        folder.summary.write_text(json.dumps(summary.plain(), indent=1), encoding="utf-8")
    return summary


def _baseline(plan: RunPlan, quiet: bool) -> dict[PeerId, float]:
    """Accuracies of the same agents alone; a terminal shows how far their training is."""
    console = terminal.console()
    if quiet or not terminal.can_redraw(console):
        return train_alone(plan, lambda done: None)
    said = "training the same agents alone, to compare with"
    with console.status(said, spinner="line") as status:  # of ASCII, unlike the usual one
        return train_alone(plan, lambda done: status.update(f"{said}: round {done}/{plan.run.rounds}"))


def show(summary: Summary, folder: RunFolder, console: Console) -> None:
    """Print the summary of a run."""
    tested = "each agent's own test samples" if summary.by_agent else "the test set, each agent with its own modalities"
    console.print(f"\n{summary.score} on {tested}{'' if summary.by_agent else ' (mean ± std)'}\n")
    console.print(table(summary))
    if summary.chosen:
        last = fmean(each["last"] for each in summary.chosen.values())
        rounds = [int(each["round"]) for each in summary.chosen.values()]
        which = f"round {min(rounds) + 1}" + (f" to {max(rounds) + 1}" if min(rounds) < max(rounds) else "")
        said = f"after {which}, the best on each agent's own validation samples; after the last {last:.3f} in the mean"
        console.print(f"\n{said}", highlight=False, soft_wrap=True)
    if summary.metrics:
        console.print()
        console.print(metrics_table(summary))
    if summary.arrived:
        console.print(f"\nsamples that arrived, and the {summary.score} on them before they were trained on\n")
        console.print(arrived_table(summary))
    console.print(
        f"\n{size(summary.bytes_per_round)} on the wire for each agent in a round, {size(summary.bytes_total)} in all; "
        f"took {clock(summary.seconds)}\nrun folder: {folder.path}",
        highlight=False,
        soft_wrap=True,
    )


def table(summary: Summary) -> Columns:
    """Accuracy per agent type, as mean ± std over its agents, beside the same agents alone."""
    if summary.by_agent:
        return _by_agent(summary)
    ceilings = any(row.ceiling is not None for row in summary.types)
    alone = any(row.alone is not None for row in summary.types)
    names = [
        "agents with", "agents", *(["alone"] if alone else []), summary.method, *(["gain"] if alone else []),
        "worst agent", *(["ceiling"] if ceilings else []),
    ]  # fmt: skip
    found = Columns(names, first=["agents with", summary.method, *(["gain"] if alone else []), "agents"])
    for row in summary.types:
        cells = {
            "agents with": escape(row.type),
            "agents": str(row.agents),
            "alone": "" if row.alone is None else f"{row.alone:.3f} ± {row.alone_std or 0:.3f}",
            "gain": "" if row.alone is None else f"{row.mean - row.alone:+.3f}",
            "worst agent": f"{row.worst:.3f} ({row.worst_agent})",
            "ceiling": "" if row.ceiling is None else f"{row.ceiling:.3f}",
            summary.method: f"[bold]{row.mean:.3f}[/] ± {row.std:.3f}",
        }
        found.add_row(*(cells[name] for name in names))
    return found


def metrics_table(summary: Summary) -> Columns:
    """The mean of each metric over the agents that have it, and which of them has the lowest and the highest."""
    found = Columns(["metric", "mean", "lowest", "highest", "agents"])
    for name, values in summary.metrics.items():
        ends = [f"{values[me]:.3f} ({me})" for me in (end(values, key=values.__getitem__) for end in (min, max))]
        found.add_row(escape(name), f"[bold]{fmean(values.values()):.3f}[/]", *ends, str(len(values)))
    return found


def arrived_table(summary: Summary) -> Columns:
    """What arrived at each agent while it ran."""
    found = Columns(["agent", "arrived", summary.score, "drifts seen"])
    for me, each in summary.arrived.items():
        score = "" if each.score is None else f"[bold]{each.score:.3f}[/]"
        found.add_row(escape(me), str(each.samples), score, str(each.drifts))
    return found


def _by_agent(summary: Summary) -> Columns:
    found = Columns(["agent", summary.method], first=["agent", summary.method])
    for row in summary.types:
        found.add_row(escape(row.type), f"[bold]{row.mean:.3f}[/]")
    return found

"""From a run's folder to one plain structure, which the page, the live view and anybody else can draw.

``RunData.read`` takes in what was logged since the last time, ``plain`` gives the structure: dicts, lists, strings,
numbers and None alone. ``rounds`` are those that are shown: all, or every ``stride``-th up to the last that is planned.
Every list ``by round`` is as long, with None where nothing is known:

    name, folder, method, dataset, seed, planned, last    last: the last round that anybody logged
    score         what ``accuracy`` is called here: that of another task than classification is its score
    sketch_error  standard error of a cosine between what two agents did to a slice
    rounds, stride, config, command, versions, notes      notes: sentences on what is missing here
    agents[]      id, types [[from round, type]], here, state, samples, parameters, device, absent (rounds by plan),
                  final {accuracy, round}, by round: accuracy, loss, test_loss, seconds, alive, late, wire_out,
                  wire_in, and sent: the number of an entry of ``sends``; scores {metric: the latest, those of samples
                  that arrived under ``arrived/``}
    sends[]       [[position of the receiver in agents, number of an entry of ``payloads``], …]
    payloads[]    {slice: payload bytes}
    types{}       type → agents, by round: accuracy, worst, best, loss
    slices{}      slice → by round: bytes, and in all up to then: total; all else is REST
    consensus{}   slice → by round: before, after, bound (ρ·before), rho (None where theory says nothing of how the run
                  mixes), holders, agents (of whom there is a sketch)
    conflict{}    slice → by round: across, unimodal, multimodal (mean cosines of how agents moved it by themselves, see
                  ``lab/analysis/movements.py``), agents [with one modality, with several]
    graph         edges [[place, place]], places [[x, y]], directed; overlays {slice → by round: number in graphs}
    graphs[]      edges [[place, place]]
    events[]      {round, agent, time (seconds since the first), kind, event, note}; counts {event: how many}; left_out
    summary, pid  what the run's files of these names hold
    pictures      of a page that is saved: those of slices, see ``lab/analysis/slice_pictures.py``

Logs may be missing, cut off, or in part those of other hosts; nothing in them is trusted to be of the right type.
"""

import contextlib
import json
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from parse_p2p.config import run_file
from parse_p2p.config.roster import agent_ids
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import P2PError
from parse_p2p.core.events import ARRIVED, Event, Level, ModalitiesChanged, Resumed, Round, Start
from parse_p2p.core.types import PeerId
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.lab.analysis.movements import PAIR_ERROR, Cosines, Movements
from parse_p2p.lab.report.consensus_distances import ConsensusDistances
from parse_p2p.lab.report.theory import Laid, Theory
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.launch.run_history import RunHistory

MOST_ROUNDS = 400  # that are shown
MOST_EVENTS = 2000
LARGEST = 1e300  # numbers below it have sums that are numbers too
NUMBERS = ("accuracy", "loss", "test_loss", "seconds", "alive", "late", "wire_out", "wire_in")
ENDS = ("done", "left", "stopped", "failed", "killed")  # states of agents that run no more
REST = "headers, heartbeats"

Sent = tuple[tuple[int, int], ...]
Payload = tuple[tuple[str, int], ...]


class RunData:
    """One run, read as it grows; ``run`` is its file where that is not in the folder.

    Raises ConfigError where there is no run.
    """

    def __init__(self, path: Path, run: RunFile | None = None) -> None:
        self.folder = RunFolder(path)
        self.run = run or self.folder.read()
        self.stride = math.ceil(self.run.rounds / MOST_ROUNDS)
        self._trouble, self._theory = "", None
        try:
            self._theory = Theory(RunPlan(self.run), self.folder)
            self._kinds = {me: self._theory.plan.kind(me) for me in self._theory.plan.specs}
        except P2PError as error:  # its data are on another host, say
            self._trouble = f"The overlays of this run cannot be derived here: {error}."
            self._kinds = dict.fromkeys(agent_ids(self.run), "")
        self.ids = list(self._kinds)
        self._position = {me: i for i, me in enumerate(self.ids)}
        self._history = RunHistory(self.folder, self._kinds, self.run.rounds)
        self._sends: dict[PeerId, dict[int, Sent]] = {me: {} for me in self.ids}
        self.spread = ConsensusDistances()
        self.movements = Movements()
        self._several: dict[PeerId, bool] = {}
        self.last = -1
        self._payloads: dict[Payload, int] = {}
        self._events: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._bytes: dict[int, Counter[str]] = {}

    # reading

    def read(self) -> bool:
        """Take in what was logged since the last call; whether there was anything."""
        found = False
        for event in self._history.read():
            self._take(event)
            found = True
        if self._theory is not None and found:
            with contextlib.suppress(P2PError, OSError):
                self._theory.recall()
        return found

    def logged(self, me: PeerId) -> bool:
        """Whether an agent has a log here."""
        return self.folder.events(me).exists()

    def take(self, me: PeerId, event: Event) -> None:
        """Take in one event of an agent, wherever it was read."""
        self._take(self._history.take(me, event))

    def _take(self, event: Event) -> None:
        match event:
            case Round() if event.round < self.run.rounds:
                self._take_round(event)
            case Start():
                self._several[event.agent] = len(event.modalities or ()) > 1
                self.movements.forget(event.agent)
            case Resumed():
                self.movements.forget(event.agent)
            case ModalitiesChanged():
                self._several[event.agent] = len(event.modalities) > 1
        self._counts[event.name] += 1
        if event.level is not Level.DEBUG:
            row = {
                "round": max(0, self._history.agents[event.agent].done - 1) if event.at is None else event.at,
                "agent": event.agent,
                "time": _number(event.time) or 0.0,
                "kind": event.topic,
                "event": event.name,
                "note": event.says,
            }
            self._events.append(row)

    def _take_round(self, event: Round) -> None:
        round, sends = event.round, self._sends[event.agent]
        again = round in sends
        sends[round] = self._sent(event.sent)
        self.last = max(self.last, round)
        self._bytes.pop(round, None)
        new = not again and self._shown(round)  # who logs a round a second time has gone through the same once more
        if new:
            self.spread.add(round, event.sketch)
        self.movements.add(event.agent, round, self._several.get(event.agent, False), event.sketch, new)

    def _sent(self, sent: Mapping[PeerId, Mapping[str, int]]) -> Sent:
        known = ((self._position[peer], _payload(slices)) for peer, slices in sent.items() if peer in self._position)
        return tuple((peer, self._payloads.setdefault(payload, len(self._payloads))) for peer, payload in known)

    def _shown(self, round: int) -> bool:
        return (self.run.rounds - 1 - round) % self.stride == 0

    # the structure

    def plain(self) -> dict[str, Any]:
        rounds = [round for round in range(self.last + 1) if self._shown(round)]
        agents, sends = self._agents(rounds)
        ordered = sorted(self._events, key=lambda e: float(e["time"]))[:MOST_EVENTS]
        events = [{**event, "time": _since(event["time"], self._history.first)} for event in ordered]
        return self._head() | {
            "rounds": rounds,
            "agents": agents,
            "sends": sends,
            "payloads": [dict(payload) for payload in self._payloads],
            "types": self._types(rounds),
            "slices": self._slices(rounds),
            "events": events,
            "counts": dict(sorted(self._counts.items())),
            "left_out": len(self._events) - len(events),
            **self._laid(rounds),
            "summary": _json(self.folder.summary),
            "pid": _json(self.folder.path / "pid.json"),
        }

    def _head(self) -> dict[str, Any]:
        run = self.run
        return {
            "name": self.folder.path.resolve().name,
            "folder": str(self.folder.path),
            "method": run.method,
            "score": (CLASSIFICATION if run.data_schema is None else run.data_schema.solved).score,
            "dataset": Path(run.dataset).name,
            "seed": run.seed,
            "planned": run.rounds,
            "last": self.last,
            "stride": self.stride,
            "sketch_error": PAIR_ERROR,
            "config": run_file.dump(run),
            "command": shlex.join(["parse-agent", "--topology", str(self.folder.file)]),
            "versions": {"parse-p2p": version("parse-p2p"), "torch": version("torch"), "python": python_version()},
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        notes = [self._trouble] if self._trouble else []
        if away := [me for me, agent in self._history.agents.items() if not agent.state]:
            named = ", ".join(away[:8]) + (f" and {len(away) - 8} more" if len(away) > 8 else "")
            notes.append(f"There is no log here of {named}: not started yet, or on another host.")
        if self._theory is not None and (beyond := self._theory.beyond):
            notes.append(
                f"With {beyond} theory gives no ρ, which holds for weighted mixing by all at once after training."
            )
        if self.stride > 1:
            notes.append(f"One round in {self.stride} of {self.run.rounds} is drawn; sums are over all of them.")
        return notes

    def _agents(self, rounds: list[int]) -> tuple[list[dict[str, Any]], list[Sent]]:
        numbers: dict[Sent, int] = {}
        rows, over = [], _written(self.folder.summary)  # who was silent since then is no more
        for me, logged in self._history.agents.items():
            sent = [self._sends[me].get(round) for round in rounds]
            judged = {r: value for r, one in logged.rounds.items() if (value := _figure(one, "accuracy")) is not None}
            start = logged.start or Start()
            row = {
                "id": me,
                "types": [[first, self._type(me, kind)] for first, kind in sorted(logged.kinds.items())],
                "here": bool(logged.state),
                "state": _state(logged.state, logged.heard <= over),
                **{key: getattr(start, key) for key in ("samples", "parameters", "device")},
                "absent": [] if self._theory is None else self._theory.absent(me, rounds),
                "scores": _scores(logged.latest) | _arrived(logged.rounds.values()),
                "final": {"accuracy": judged[max(judged)], "round": max(judged)} if judged else None,
                "sent": [None if one is None else numbers.setdefault(one, len(numbers)) for one in sent],
            }
            shown = [logged.rounds.get(round) for round in rounds]
            rows.append(row | {key: [_figure(one, key) for one in shown] for key in NUMBERS})
        return rows, list(numbers)

    def _type(self, me: PeerId, kind: str) -> str:
        """What an agent senses, and its task where tasks differ."""
        task = self._kinds[me].partition(": ")[2]
        return f"{kind}: {task}" if task and ": " not in kind else kind

    def _types(self, rounds: list[int]) -> dict[str, Any]:
        types: dict[str, dict[str, Any]] = {}
        for i, round in enumerate(rounds):
            there = defaultdict(list)
            for me, logged in self._history.agents.items():
                if round in logged.rounds:
                    there[self._type(me, logged.kind_in(round))].append(logged.rounds[round])
            for kind, rows in there.items():
                blank = {key: [None] * len(rounds) for key in ("agents", "accuracy", "worst", "best", "loss")}
                row = types.setdefault(kind, blank)
                accuracy, losses = (
                    [value for one in rows if (value := _figure(one, key)) is not None] for key in ("accuracy", "loss")
                )
                row["agents"][i] = len(rows)
                row["accuracy"][i], row["loss"][i] = _mean(accuracy), _mean(losses)
                row["worst"][i], row["best"][i] = min(accuracy, default=None), max(accuracy, default=None)
        return types

    def _slices(self, rounds: list[int]) -> dict[str, Any]:
        messages = list(self._payloads)
        for round in range(self.last + 1):
            if round not in self._bytes:
                self._bytes[round] = self._sum(round, messages)
        found: dict[str, dict[str, list[int]]] = {}
        sums: Counter[str] = Counter()
        for round in range(self.last + 1):
            sums.update(self._bytes[round])
            for name, total in sums.items() if self._shown(round) else ():
                row = found.setdefault(name, {"bytes": [], "total": []})
                row["bytes"].append(self._bytes[round][name])
                row["total"].append(total)
        for row in found.values():  # a slice that came later crossed nothing before
            gap = [0] * (len(rounds) - len(row["bytes"]))
            row["bytes"][:0], row["total"][:0] = gap, gap
        return dict(sorted(found.items(), key=lambda item: (item[0] == REST, item[0])))

    def _sum(self, round: int, messages: list[Payload]) -> Counter[str]:
        """Payload of a round by slice, and what else its agents handed to the transport."""
        found: Counter[str] = Counter()
        sent = Counter(message for sends in self._sends.values() for _, message in sends.get(round, ()))
        for message, times in sent.items():
            for name, nbytes in messages[message]:
                found[name] += nbytes * times
        wire = sum(logged.rounds[round].wire_out for logged in self._history.agents.values() if round in logged.rounds)
        if (rest := wire - found.total()) > 0:
            found[REST] = rest
        return found

    def _laid(self, rounds: list[int]) -> dict[str, Any]:
        """Overlays by round, and how far apart agents were beside what theory allows."""
        theory = self._theory
        by_round = [{} if theory is None else theory.round(round) for round in rounds]
        names = sorted({*self.spread.names, *(name for laid in by_round for name in laid)})
        consensus: dict[str, Any] = {}
        for name in names:
            rows = [self._compared(name, round, laid.get(name)) for round, laid in zip(rounds, by_round, strict=True)]
            consensus[name] = {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
        return {
            "consensus": consensus,
            "conflict": {name: self._conflict(name, rounds) for name in sorted(self.movements.names)},
            "overlays": {name: [laid[name][0] if name in laid else None for laid in by_round] for name in names},
            "graphs": [] if theory is None else [list(map(list, edges)) for edges in theory.graphs],
            "graph": self._circle() if theory is None else theory.shape(),
        }

    def _compared(self, name: str, round: int, laid: Laid | None) -> dict[str, float | None]:
        before, after = self.spread.distance(round, "before", name), self.spread.distance(round, "after", name)
        rho = None if laid is None else laid[1]
        bound = None if rho is None or before is None else _digits(rho * before)
        agents = self.spread.agents(round, "after", name)
        holders = None if laid is None else laid[2]
        found = {"before": _digits(before), "after": _digits(after), "bound": bound, "rho": _digits(rho)}
        return found | {"holders": holders, "agents": agents}

    def _conflict(self, name: str, rounds: list[int]) -> dict[str, Any]:
        cosines = [self.movements.cosines(round, name) for round in rounds]
        sides = {key: [_digits(getattr(each, key)) for each in cosines] for key in Cosines._fields}
        return sides | {"agents": [list(self.movements.agents(round, name)) for round in rounds]}

    def _circle(self) -> dict[str, Any]:
        turns = [2 * math.pi * i / len(self.ids) for i in range(len(self.ids))]
        positions = [[round(math.cos(turn), 3), round(math.sin(turn), 3)] for turn in turns]
        return {"edges": [], "positions": positions, "directed": False}


def _state(state: str, over: bool) -> str:
    """What became of an agent; ``over``: it was last heard before the run's end."""
    if not state or state in ENDS:
        return state or "unknown"
    return "died" if over else "running"


def _payload(slices: Mapping[str, int]) -> Payload:
    return tuple(slices.items())


def _number(value: float | None) -> float | None:
    return value if value is not None and abs(value) < LARGEST else None


def _figure(row: Round | None, key: str) -> float | None:
    """A number of a round as it is drawn; None where there is none, or one beyond all measure."""
    value: float | None = getattr(row, key, None)
    return value if isinstance(value, int) else _digits(_number(value))


def _scores(row: Round | None) -> dict[str, float]:
    """The metrics of a round that the run file asks for, as far as they are numbers."""
    given = ((name, _digits(_number(value))) for name, value in ((row and row.scores) or {}).items())
    return {name: value for name, value in given if value is not None}


def _arrived(rows: Iterable[Round]) -> dict[str, float]:
    """What was measured on the samples that arrived last, before the model was trained on them."""
    found = next((row.arrived for row in reversed(list(rows)) if row.arrived), {})
    return {f"{ARRIVED}{name}": value for name, each in found.items() if (value := _digits(_number(each))) is not None}


def _since(time: float, began: float) -> float:
    return round(max(0.0, time - began), 2) if math.isfinite(began) else 0.0


def _digits(value: float | None) -> float | None:
    """As many as a picture shows."""
    return None if value is None else float(f"{value:.5g}")


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return _digits(sum(found) / len(found)) if found else None


def _written(path: Path) -> float:
    """When a file was written, in Unix seconds; before everything else where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return -math.inf


def _json(path: Path) -> Any:
    """What a file holds; None where there is none, or none yet."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return _finite(json.loads(path.read_text(encoding="utf-8")))
    return None


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

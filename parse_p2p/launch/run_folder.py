"""The folder of a run: the resolved run file, and for each agent its events and checkpoints.

runs/ring-parse-htad-s0/run.yaml
                        agents/a0/data.json
                        agents/a0/arrivals.jsonl
                        agents/a0/events.jsonl
                        agents/a0/checkpoints/round-000020.npz
                        addresses/a0.json
                        summary.json
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from parse_p2p.config import run_file
from parse_p2p.config.agent_data import AgentData
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data import tokenizer
from parse_p2p.data.base import Scale
from parse_p2p.launch import kept_data
from parse_p2p.runtime import announcements, checkpoint
from parse_p2p.runtime.agent_state import AgentState
from parse_p2p.runtime.arrivals.record import ArrivalRecord
from parse_p2p.runtime.scale_agreement import Agreed, unknown

RUNS = Path("runs")

DERIVED = ("data_schema", "fingerprint")
"""Keys of a run that follow from others, which are named first where they differ."""


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def file(self) -> Path:
        return self.path / "run.yaml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def events(self, me: PeerId) -> Path:
        return self.path / "agents" / me / "events.jsonl"

    def announced(self, me: PeerId) -> Path:
        """The changes that an agent announced."""
        return self.path / "agents" / me / "announced"

    def data(self, me: PeerId) -> Path:
        """Which samples an agent learns from, and what they are scaled by."""
        return self.path / "agents" / me / "data.json"

    def keep_data(self, me: PeerId, data: AgentData, agreed: bool = False) -> None:
        """Note which samples an agent has opened and their scale, once; where all agree on that, when it is ``agreed``.

        Raises ConfigError where it went on with others, or what was noted cannot be read.
        """
        if data.agrees and not agreed and not self.data(me).exists():
            return
        found = data.own_fingerprint(me)
        mine = partial(data.scales, me), partial(data.frequencies, me)
        before = kept_data.keep(self.data(me), found, *mine, anew=agreed).fingerprint
        if before != found:
            raise ConfigError(
                f"the data of {me} are not those that its run in {self.path} began with (fingerprint {found}, then "
                f"{before}): bring those back, or start anew in another folder"
            )
        for each in data.tokenizers(me):  # so that its model can be asked about texts
            tokenizer.keep(self.data(me).parent, each)

    def agreed(self, me: PeerId, data: AgentData) -> Agreed:
        """What an agent of this run agreed on with the others. Raises ConfigError where that is not kept, or broken."""
        if not self.data(me).exists():
            raise ConfigError(unknown(me))
        read = kept_data.read(self.data(me))
        kept, scales = read.scale, dict[Modality, Scale]()
        for m, shape in data.schema.shapes(data.agreed_modalities).items():
            try:
                scales[m] = kept_data.scale_of(kept[m], shape)
            except (KeyError, ValueError) as error:
                raise ConfigError(f"{self.data(me)} has no scale for {m!r} ({error}): start the run anew") from None
        if not data.counts_classes:
            return Agreed(scales)
        if len(read.classes or ()) != len(data.schema.names):
            raise ConfigError(f"{self.data(me)} does not say how frequent each class is: start the run anew")
        return Agreed(scales, frequencies=torch.tensor(read.classes, dtype=torch.float64))

    def keep_arrivals(self, agent_state: AgentState) -> None:
        """Have an agent note what it takes in while it runs, and know what it took in before.

        Raises ConfigError where that cannot be read.
        """
        if agent_state.arrivals is not None:
            agent_state.arrivals.record = ArrivalRecord(self.path / "agents" / agent_state.me / "arrivals.jsonl")

    def orders(self, me: PeerId) -> Path:
        """Where an agent looks for what it is to gain or lose."""
        return self.path / "agents" / me / "orders"

    def checkpoints(self, me: PeerId) -> Path:
        return self.path / "agents" / me / "checkpoints"

    def checkpoint_of(self, me: PeerId, round: int | None = None) -> int:
        """The round of an agent's newest checkpoint, or the one asked for. Raises ConfigError where there is none."""
        kept = checkpoint.rounds(self.checkpoints(me))
        if not kept:
            raise ConfigError(
                f"{self.path} has no checkpoint of {me}: wait for the end of its first round, or copy agents/{me} here "
                "from the host where it runs"
            )
        if round is not None and round not in kept:
            there = ", ".join(map(str, kept))
            raise ConfigError(f"{self.path} has no checkpoint of {me} after round {round}: there are those of {there}")
        return kept[-1] if round is None else round

    @property
    def addresses(self) -> Path:
        """Where agents that find each other by files look for them."""
        return self.path / "addresses"

    def read(self) -> RunFile:
        """The run file, with everything filled in.

        Raises ConfigError where there is no run, or one that another version wrote.
        """
        if not self.file.is_file():
            raise ConfigError(f"there is no run in {self.path}: give its folder, such as runs/ring-parse-htad-s0")
        return run_file.load(self.file, of_a_run=True)

    def open(self) -> RunPlan:
        """The plan of the run, with all changes that agents announced here. Raises ConfigError like ``read``."""
        return self.recall(RunPlan(self.read()))

    def recall(self, plan: RunPlan) -> RunPlan:
        """The plan with the changes that agents of this host have announced so far."""
        files = {me: self.announced(me) for me in plan.peers}
        return plan.with_changes(announcements.recalled(files, plan.sensed))

    def write(self, run: RunFile) -> None:
        """Keep the resolved run file; several agents may do so at once."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(f".{id(run)}.partial")
        partial.write_text(run_file.dump(run), encoding="utf-8")
        partial.rename(self.file)


def fresh(run: RunFile, out: Path | None) -> RunFolder:
    """A folder for a new run: the one asked for, or one named after the run. Raises ConfigError if it is taken."""
    if out is not None:
        if (out / "run.yaml").exists():
            raise ConfigError(f"--out {out} holds a run already: add --resume to go on with it, or name another folder")
        return RunFolder(out)
    taken = _numbered(run)
    return RunFolder(RUNS / (f"{_name(run)}-{max(taken) + 1}" if taken else _name(run)))


def meeting(run: RunFile) -> Path:
    """Where agents that are started one by one meet, unless they are told another folder."""
    return RUNS / _name(run)


def shared(run: RunFile, out: Path | None, me: PeerId) -> RunFolder:
    """The folder in which agents that are started one by one meet. Raises ConfigError if this one was there before."""
    folder = RunFolder(out or meeting(run))
    if folder.events(me).exists():
        raise ConfigError(f"{folder.path} holds a run of agent {me} already: add --resume, or name another with --out")
    if folder.file.exists():
        _refuse_other(folder, run)
    return folder


def existing(run: RunFile, out: Path | None) -> RunFolder:
    """The folder to resume: the one asked for, or the newest of this run. Raises ConfigError."""
    taken = _numbered(run)
    newest = RUNS / (f"{_name(run)}-{max(taken)}" if taken and max(taken) > 1 else _name(run))
    folder = RunFolder(out or newest)
    if not folder.file.exists():
        raise ConfigError(f"there is no run in {folder.path} to resume: name its folder with --out, or drop --resume")
    _refuse_other(folder, run)
    return folder


def newest_common(folder: RunFolder, spans: Mapping[PeerId, range], rounds: int) -> int:
    """The round from which all agents can go on together; ``spans`` are the rounds that each is there."""
    kept = {me: checkpoint.rounds(folder.checkpoints(me)) for me in spans}
    candidates = sorted({round for own in kept.values() for round in own}, reverse=True)

    def ready(me: PeerId, round: int) -> bool:
        """Whether it has that round, or needs none: it has left before, or comes only then or later."""
        span = spans[me]
        return round in kept[me] or round <= span.start or span.stop <= min(round, rounds - 1)

    common = (round for round in candidates if all(ready(me, round) for me in spans))
    if (round := next(common, None)) is None:
        raise ConfigError(f"{folder.path} has no round that every agent left a checkpoint of: start without --resume")
    return round


def _refuse_other(folder: RunFolder, run: RunFile) -> None:
    before = folder.read()
    # more rounds may be asked of an old run; anything else would make it another run
    if before.model_copy(update={"rounds": run.rounds}).digest() != run.digest():
        old, new = before.agreed(), run.agreed()
        keys = sorted(old, key=DERIVED.__contains__)
        odd = next((key for key in keys if old[key] != new[key] and key != "rounds"), "run")
        raise ConfigError(
            f"{folder.file} was made with another {odd} ({old[odd]!r}, now {new[odd]!r}): "
            "resume with the options it was started with, or name another folder with --out"
        )


def _name(run: RunFile) -> str:
    dataset = Path(run.dataset).name
    return f"{run.name}-{run.method}-{dataset}-s{run.seed}"


def _numbered(run: RunFile) -> list[int]:
    """The numbers of this run's folders; the first has none in its name."""
    pattern = re.compile(re.escape(_name(run)) + r"(?:-(\d+))?")
    found = [pattern.fullmatch(path.name) for path in RUNS.glob(f"{_name(run)}*") if (path / "run.yaml").exists()]
    return [int(match[1] or 1) for match in found if match]

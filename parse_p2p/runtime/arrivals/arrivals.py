"""Samples that arrive while an agent runs: taken in between rounds, scored before they are trained on, and recorded.

What an agent has in a round follows from its samples at the start and the record alone, so that it has the same after
a stop; only what the record does not know yet comes from the folder.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from parse_p2p.core import events
from parse_p2p.core.errors import ConfigError, DataWarning, cause, printable
from parse_p2p.core.rng import seeded
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Dataset, Scale, fingerprint, scaled
from parse_p2p.data.keeping.base import Keeping
from parse_p2p.data.kinds import padding_of
from parse_p2p.data.lazy import in_memory
from parse_p2p.data.streams import join
from parse_p2p.learning.drift.base import Detector, Drift, DriftOptions, shifts
from parse_p2p.learning.learner import Judgement, Learner
from parse_p2p.runtime.arrivals.record import ArrivalRecord, RefusedFile, Taken, pack, unpack
from parse_p2p.runtime.arrivals.watched_folder import WatchedFolder

FARTHEST = 1e6
"""Standard deviations from the mean of the start, beyond which training would end with numbers that are none."""

ARRIVED = "arrivals/samples"
"""In a state: the number of samples that arrived, where any did."""

Sense = Callable[[Dataset], Dataset]
"""What an agent reads of samples in a round."""


@dataclass
class Piece:
    """The samples of one file, scaled: ``judgement`` is the model's on them, before it was trained on any.

    ``errors`` are those of the judgement as the record has them, where something looks at them.
    """

    name: str
    data: Dataset
    fingerprint: str
    judgement: Judgement
    errors: str
    shift: Mapping[Modality, float]


@dataclass
class _Kept:
    """What an agent trains on: ``numbers`` count all samples that ever were from 0, those of the start first."""

    numbers: Tensor
    seen: int
    data: Dataset


@dataclass
class Arrivals:
    """What arrives at one agent. ``happened`` is what there is to log of the last round that began.

    ``start`` gives the training samples that it begins with, as the network takes them. ``read`` gives those of a file,
    or raises ConfigError where they cannot be used, and ``scales`` what they are scaled by.
    """

    me: PeerId
    seed: int
    folder: WatchedFolder
    keep: Keeping
    drift: Sequence[DriftOptions]
    start: Callable[[], Dataset]
    read: Callable[[Path], Dataset]
    scales: Callable[[], Mapping[Modality, Scale]]
    record: ArrivalRecord = field(default_factory=ArrivalRecord)
    happened: list[events.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known: dict[str, str] = {}  # the stamps of files that were taken in or refused
        self._unseen = ""  # why the folder could not be looked at
        self._noted = 0  # samples that arrived before a checkpoint, as it says
        self._at_start = 0  # samples
        self._kept: _Kept | None = None
        self._in_use: Dataset | None = None  # by the learner
        self._applied: Mapping[Modality, Scale] = {}
        self._start: Mapping[Modality, Scale] = {}  # mean and deviation of what the network takes
        self._detectors = self._new_detectors()  # raises ConfigError
        with contextlib.suppress(OSError):  # of which the first round tells
            self.folder.look()  # what does not change from now until the first round is complete

    def forget(self) -> None:
        """Begin anew with the record, as where samples are scaled otherwise from now on."""
        self._kept = None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has of this, by which ``expect`` finds whether the record is that of the same run."""
        arrived = self._noted if self._kept is None else self._kept.seen - self._at_start
        return {ARRIVED: torch.tensor(arrived)} if arrived else {}

    def expect(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a ``state``: a record that knows of fewer samples is refused in the next round."""
        self._noted = int(state[ARRIVED]) if ARRIVED in state else 0

    def kept_of(self, samples: int) -> int:
        """How many are trained on; ``samples`` are those of the start, for before the first round."""
        return len(self.keep.kept(0, 0, samples, self._draw(0))) if self._kept is None else len(self._kept.numbers)

    def restore(self, round: int, learner: Learner) -> None:
        """Have a learner train on what there was before a round, by the record alone.

        Raises ConfigError where what was taken in then is not there any more.
        """
        self._train_on(self._restored(round), learner)

    def begin(self, round: int, learner: Learner, sense: Sense) -> dict[str, float]:
        """Take in what is there as a round begins, and give metrics of it. The learner trains on what is kept.

        Raises ConfigError where what was taken in before a stop is not there any more.
        """
        self.happened = []
        if self._kept is None:
            self._kept = self._restored(round)
        if learner.data is not self._in_use:  # or a sensor that was broken has changed it
            self._train_on(self._kept, learner)
        again = [entry for entry in self.record.taken if entry.round == round]
        pieces = [self._again(entry, learner, sense) for entry in again]
        for piece in pieces:
            self._take(piece, learner)
            self._arrived(piece, round)
        for name, stamp in self._new(round).items():
            if (new := self._tried(name, stamp, round, learner, sense)) is not None:
                pieces.append(new)
                self._arrived(new, round)
        return self._metrics(pieces, round, learner, sense)

    # what was there before

    def _restored(self, round: int) -> _Kept:
        """What there was when a round began, by the record; of files only those are opened that are still needed."""
        start = self.start()
        self._applied = self.scales()
        measured = [m for m in start.inputs if padding_of(start.kinds, m) is None]  # tokens have no mean
        self._start = {m: Scale.of(start.having(m)) for m in measured}
        self._detectors = self._new_detectors()
        before = [entry for entry in self.record.taken if entry.round < round]
        kept = self._first(start)
        numbers, seen = kept.numbers, kept.seen
        for entry in before:
            places = self.keep.kept(len(numbers), seen, entry.samples, self._draw(seen))
            numbers = torch.cat([numbers, torch.arange(seen, seen + entry.samples)])[places]
            seen += entry.samples
            list(self._detect(entry.unpacked(), {}))
        self._at_start = len(start)
        if seen - len(start) < self._noted:
            raise ConfigError(
                f"{self.record.path or 'the record'} tells of {seen - len(start)} samples that {self.me} took in "
                f"before round {round + 1}, and its checkpoint of {self._noted}: bring the file back, or start anew in "
                "another folder"
            )
        self._known = {entry.name: entry.stamp for entry in self.record.entries}
        return _Kept(numbers, seen, self._rows(start, before, numbers))

    def _first(self, start: Dataset) -> _Kept:
        places = self.keep.kept(0, 0, len(start), self._draw(0))
        whole = torch.equal(places, torch.arange(len(start)))
        return _Kept(places, len(start), start if whole else start.select(places))

    def _rows(self, start: Dataset, entries: Sequence[Taken], numbers: Tensor) -> Dataset:
        """The samples of these numbers."""
        parts, places, first, done = [start], torch.full_like(numbers, -1), 0, 0
        for k, count in enumerate([len(start), *(entry.samples for entry in entries)]):
            mine = (numbers >= first) & (numbers < first + count)
            if k and mine.any():
                parts.append(scaled(self._opened(entries[k - 1]), self._applied))
            if not k or mine.any():
                places[mine] = numbers[mine] - first + done
                done += count
            first += count
        if len(parts) == 1 and torch.equal(places, torch.arange(len(start))):
            return start
        return join(parts).select(places)

    def _opened(self, entry: Taken) -> Dataset:
        """The samples that were taken in from a file. Raises ConfigError where it is gone, or holds others."""
        path = self.folder.path / entry.name
        said = f"{path}, of which {self.me} took in {entry.samples} samples in round {entry.round + 1}"
        if not path.exists():
            raise ConfigError(f"{said}, is gone: bring it back, or start anew in another folder")
        if (found := self._same(entry)) is None:
            raise ConfigError(f"{said}, holds others now: bring those back, or start anew in another folder")
        return found

    def _same(self, entry: Taken) -> Dataset | None:
        """What is in a file that was taken in, if that is what was in it then."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # which was noted then
            try:
                found = self.read(self.folder.path / entry.name)
            except ConfigError:
                return None
        return found if fingerprint([found]) == entry.fingerprint else None

    # what is new

    def _look(self, round: int) -> dict[str, str]:
        try:
            found, self._unseen = self.folder.look(), ""
        except OSError as error:
            why = f"the folder cannot be read ({error.strerror or error})"
            if why != self._unseen:
                self._refused(self.folder.path.name, why, round)
            found, self._unseen = {}, why
        return found

    def _new(self, round: int) -> dict[str, str]:
        """Complete files that nothing is known of, or that have changed since they were refused."""
        found = {}
        taken = {entry.name: entry for entry in self.record.taken}
        for name, stamp in self._look(round).items():
            if self._known.get(name) == stamp:
                continue
            self._known[name] = stamp
            if name not in taken:
                found[name] = stamp
            elif self._same(taken[name]) is None:
                why = (
                    "it has changed since its samples were taken in, which stay as they were: give new ones a new file"
                )
                self._refuse(name, stamp, why, round)
        return found

    def _tried(self, name: str, stamp: str, round: int, learner: Learner, sense: Sense) -> Piece | None:
        """A new file, taken in and recorded; None where it was refused."""
        try:
            with warnings.catch_warnings(record=True) as noted:
                warnings.simplefilter("always", DataWarning)
                piece = self._read(name, stamp, learner, sense)
            entry = Taken(round=round, name=name, stamp=stamp, samples=len(piece.data), fingerprint=piece.fingerprint,
                          errors=piece.errors)  # fmt: skip
            self._take(piece, learner)
        except ConfigError as error:
            self._refuse(name, stamp, str(error), round)
            return None
        except Exception as error:  # of whatever reads such files: what others drop in a folder ends no agent
            self._refuse(name, stamp, f"it cannot be read ({cause(error)})", round)
            return None
        self.record.add(entry)
        said = [str(each.message) for each in noted if issubclass(each.category, DataWarning)]
        self.happened += [events.DataNoted(why=printable(why)) for why in said]
        return piece

    def _read(self, name: str, stamp: str, learner: Learner, sense: Sense) -> Piece:
        if self.folder.stamp(name) is None:
            raise ConfigError("it is gone, or its name has signs that cannot be shown: rename it")
        found = self.read(self.folder.path / name)
        if self.folder.stamp(name) != stamp:
            raise ConfigError("it changed while it was read: give files their name when they are complete")
        for m, far in self._distances(scaled(found, self._applied)):
            if far > FARTHEST:
                raise ConfigError(
                    f"an input of {m!r} is {far:.3g} standard deviations from the start's, which nothing can be learnt "
                    "from: leave out the sample, or what marks that it is missing"
                )
        piece = self._judged(name, found, learner, sense)
        if not math.isfinite(piece.judgement.loss):
            raise ConfigError(f"the model's loss on it is {piece.judgement.loss}: look for extreme values in it")
        return piece

    def _distances(self, data: Dataset) -> Iterator[tuple[Modality, float]]:
        """The largest of an input from the mean of the start, in standard deviations; what is constant has none."""
        for m, start in self._start.items():
            x = in_memory(data.having(m)).double()
            if len(x) and start.mean is not None and start.deviation is not None:
                far = (x - start.mean).abs() / start.deviation
                yield m, float(torch.where(start.deviation > 0, far, 0.0).nan_to_num(math.inf, math.inf).max())

    def _again(self, entry: Taken, learner: Learner, sense: Sense) -> Piece:
        """What was taken in in this round before a stop."""
        return self._judged(entry.name, self._opened(entry), learner, sense)

    def _judged(self, name: str, found: Dataset, learner: Learner, sense: Sense) -> Piece:
        data = scaled(found, self._applied)
        judgement = learner.judge(sense(data))
        errors = pack(judgement.errors) if any(options.reads_errors for options in self.drift) else ""
        return Piece(name, data, fingerprint([found]), judgement, errors, shifts(self._start, data))

    def _take(self, piece: Piece, learner: Learner) -> None:
        """Train on it, with what else is kept. Raises ConfigError where the learner cannot, and leaves all as it is."""
        kept, count = self._kept, len(piece.data)
        assert kept is not None  # since a round has begun
        places = self.keep.kept(len(kept.numbers), kept.seen, count, self._draw(kept.seen))
        numbers = torch.cat([kept.numbers, torch.arange(kept.seen, kept.seen + count)])[places]
        with_it = _Kept(numbers, kept.seen + count, join([kept.data, piece.data]).select(places))
        self._train_on(with_it, learner)

    def _train_on(self, kept: _Kept, learner: Learner) -> None:
        learner.train_on(kept.data)
        self._kept, self._in_use = kept, learner.data

    def _arrived(self, piece: Piece, round: int) -> None:
        """Tell of it, and of a drift that it shows."""
        score = piece.judgement.score if math.isfinite(piece.judgement.score) else None
        self.happened.append(
            events.Arrived(round=round, file=piece.name, samples=len(piece.data), score=score, shift=dict(piece.shift))
        )
        for kind, found in self._detect(unpack(piece.errors, len(piece.data)), piece.shift):
            self.happened.append(
                events.DriftDetected(round=round, kind=kind, what=found.what, value=found.value, before=found.before)
            )

    def _refuse(self, name: str, stamp: str, why: str, round: int) -> None:
        self.record.add(RefusedFile(round=round, name=name, stamp=stamp, why=printable(why)))
        self._refused(name, why, round)

    def _refused(self, name: str, why: str, round: int) -> None:
        self.happened.append(events.ArrivalRefused(round=round, file=name, why=printable(why)))

    def _metrics(self, pieces: Sequence[Piece], round: int, learner: Learner, sense: Sense) -> dict[str, float]:
        if not pieces:
            return {}
        data = pieces[0].data if len(pieces) == 1 else join([piece.data for piece in pieces])
        judged = pieces[0].judgement if len(pieces) == 1 else learner.judge(sense(data))
        found = {data.task.key: judged.score, "loss": judged.loss}
        found |= {f"shift/{m}": far for m, far in shifts(self._start, data).items()}
        named = {f"{events.ARRIVED}{name}": value for name, value in found.items() if math.isfinite(value)}
        return {events.ARRIVING: float(len(data)), **named}

    # drift, and draws

    def _new_detectors(self) -> list[tuple[str, Detector]]:
        return [(options.kind, options.detector()) for options in self.drift]

    def _detect(self, errors: Tensor, shift: Mapping[Modality, float]) -> Iterator[tuple[str, Drift]]:
        for kind, detector in self._detectors:
            yield from ((kind, found) for found in detector.update(errors, shift))

    def _draw(self, seen: int) -> torch.Generator:
        return seeded(self.seed, "keep", self.me, seen)

"""Changes that nobody planned: an agent says in its card what it will have, and from which round on.

The round lies so far ahead that no other agent can have reached it before it has heard, for the announcing agent does
not go on until all who are there have acknowledged. An agent speaks of itself alone; what it once said it does not
take back.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.core.membership import Change, Membership, Modalities
from parse_p2p.core.types import Modality, PeerId

MOST = 64  # changes that one agent may announce in a run


class Member(Protocol):
    """Who owns what one agent knows of all agents' modalities."""

    @property
    def me(self) -> PeerId: ...

    membership: Membership


class Announcer:
    """One agent's own announcements, kept in ``file``, and what others announced; ``member`` learns of both.

    ``known`` are all modalities there are; ``orders`` is a file to which somebody may append what the agent is to
    gain or lose, one JSON object a line.
    """

    def __init__(self, member: Member, known: Modalities, file: Path, orders: Path) -> None:
        self._me = member.me
        self._member = member
        self._known = known
        self._file = file
        self._orders = orders
        self._done = orders.with_suffix(".done")  # how many of them have been obeyed
        self._wanted: list[Callable[[Modalities], Modalities]] = []
        self._coming: Modalities = ()
        self._theirs: dict[PeerId, list[str]] = {}
        self.mine = _lines(file)
        self._learn([_read(self._me, line, known) for line in self.mine])

    def _learn(self, changes: Sequence[Change]) -> list[Change]:
        """Those that are new."""
        before = self._member.membership
        self._member.membership = before.with_changes(changes)
        return [change for change in dict.fromkeys(changes) if change not in before.changes]

    def want(self, change: Callable[[Modalities], Modalities]) -> None:
        """Ask for a change of what I have."""
        self._wanted.append(change)

    def come(self, modalities: Modalities) -> None:
        """Ask to be there, with these modalities."""
        self._coming = modalities

    def look(self) -> list[str]:
        """Ask for what was ordered since the last look; a sentence for each order that is none."""
        refused = []
        lines, done = _lines(self._orders), int("".join(_lines(self._done)) or 0)
        for line in lines[done:]:
            try:
                self.want(order(line, self._known))
            except ConfigError as error:
                refused.append(str(error))
        if len(lines) > done:
            _write(self._done, str(len(lines)))
        return refused

    def announce(self, round: int, rounds: int, refused: list[str]) -> Change | None:
        """Fix what is asked for from this round on, or from the first after it without a change of mine.

        None where nothing new is; what cannot be is said in ``refused``.
        """
        wanted, self._wanted = self._wanted, []
        coming, self._coming = self._coming, ()
        if not wanted and not coming:
            return None
        taken = {change.round for change in self._member.membership.changes if change.agent == self._me}
        while round in taken:
            round += 1
        before = self._member.membership.of(self._me, round)
        after = coming or before
        for asked in wanted:
            after = asked(after)
        if after == before:
            return None
        if why := self._impossible(round, rounds, before or coming, after):
            refused.append(why)
            return None
        self.mine.append(f"{round}:{'+'.join(after)}")
        _write(self._file, "".join(f"{line}\n" for line in self.mine))
        change = Change(round, self._me, after)
        self._learn([change])
        return change

    def _impossible(self, round: int, rounds: int, before: Modalities, after: Modalities) -> str | None:
        if round >= rounds:
            return f"it could hold from round {round} on and there are {rounds}"
        if not before:
            return f"I am not there in round {round}, from which on it could hold"
        if not after:
            return "an agent cannot lose all its modalities: stop it instead"
        return f"no more than {MOST} changes can be announced in a run" if len(self.mine) >= MOST else None

    def heard(self, sender: PeerId) -> int:
        """How many announcements of this agent I know."""
        return len(self._theirs.get(sender, ()))

    def take(self, sender: PeerId, lines: Sequence[str]) -> list[Change]:
        """What is new in an agent's announcements. Raises MalformedFrame for what it could not have announced."""
        before = self._theirs.get(sender, [])
        if len(lines) > MOST or list(lines[: len(before)]) != before[: len(lines)]:
            raise MalformedFrame(f"{sender} takes back what it announced, or announces more than {MOST} changes")
        new = [_read(sender, line, self._known) for line in lines[len(before) :]]
        self._theirs[sender] = before + list(lines[len(before) :])
        return self._learn(new)


def recalled(files: Mapping[PeerId, Path], known: Modalities) -> Iterator[Change]:
    """What agents of this host have announced so far, as their files say."""
    for agent, file in files.items():
        for line in _lines(file):
            yield _read(agent, line, known)


def order(line: str, known: Collection[Modality]) -> Callable[[Modalities], Modalities]:
    """What an order makes of what an agent has. Raises ConfigError."""
    try:
        [(word, named)] = json.loads(line).items()
        names = {Modality(str(m)) for m in named}
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f'{line!r} is no order, such as {{"gain": ["audio"]}}') from None
    if odd := sorted(names - set(known)):
        raise ConfigError(f"{odd[0]!r} is no modality of this run: it has {', '.join(known)}")
    if word == "gain":
        return lambda now: tuple(sorted({*now, *names}))
    if word == "lose":
        return lambda now: tuple(m for m in now if m not in names)
    raise ConfigError(f"{word!r} is no order: gain and lose are")


def _read(agent: PeerId, line: str, known: Collection[Modality]) -> Change:
    number, _, named = line.partition(":")
    modalities = tuple(map(Modality, named.split("+")))
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise MalformedFrame(f"{agent} announces a change in round {number[:20]!r}")
    if list(modalities) != sorted(set(modalities)) or not set(modalities) <= set(known):
        raise MalformedFrame(f"{agent} announces modalities that are not of this run: {named[:80]!r}")
    return Change(int(number), agent, modalities)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def _write(path: Path, text: str) -> None:
    """Never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)

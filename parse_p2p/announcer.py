"""Changes that nobody planned: an agent says in its card what it will have, and from which round on.

The round lies so far ahead that no other agent can have reached it before it has heard, for the announcing agent does
not go on until all who are there have acknowledged. An agent speaks of itself alone; what it once said it does not
take back.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from parse_p2p.errors import ConfigError, MalformedFrame
from parse_p2p.membership import Change, Membership, Modalities
from parse_p2p.names import Modality, PeerId

MOST = 64  # changes that one agent may announce in a run
FAR = 2**31
GONE = "-"


class Announcer:
    """One agent's own announcements, kept in ``file``, and what others announced.

    ``known`` are all modalities there are; ``orders`` is a file to which somebody may append what the agent is to
    gain or lose, one JSON object a line.
    """

    def __init__(self, me: PeerId, membership: Membership, known: Modalities, file: Path, orders: Path) -> None:
        self._me = me
        self._membership = membership
        self._known = known
        self._file = file
        self._orders = orders
        self._obeyed = len(_lines(orders))  # what was ordered in an earlier life is done, or came too late
        self._theirs: dict[PeerId, list[str]] = {}
        self.mine = _lines(file)
        self.wanted: Modalities | None = None
        for line in self.mine:
            membership.add(_read(me, line, known))

    def want(self, change: Callable[[Modalities], Modalities]) -> None:
        """Ask for a change of what I have, or am to have by what was asked before."""
        self.wanted = change(self.latest if self.wanted is None else self.wanted)

    @property
    def latest(self) -> Modalities:
        """What I am to have in the end by what is known now."""
        return self._membership.of(self._me, FAR)

    def look(self) -> list[str]:
        """Obey what was ordered since the last look; a sentence for each order that cannot be."""
        refused = []
        lines = _lines(self._orders)
        for line in lines[self._obeyed :]:
            try:
                self.want(order(line, self._known))
                if not self.wanted:
                    raise ConfigError("an agent cannot lose all its modalities: stop it instead")
            except ConfigError as error:
                refused.append(str(error))
                self.wanted = self.wanted or None
        self._obeyed = len(lines)
        return refused

    def announce(self, round: int) -> Change | None:
        """Fix what is wanted, from this round on; None where nothing new is."""
        wanted, self.wanted = self.wanted, None
        if not wanted or wanted == self.latest or len(self.mine) >= MOST:
            return None
        last = max((c.round for c in self._membership.changes if c.agent == self._me), default=0)
        change = Change(max(round, last + 1), self._me, wanted)
        self._membership.add(change)
        self.mine.append(f"{change.round}:{'+'.join(wanted) or GONE}")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(f"{line}\n" for line in self.mine), encoding="utf-8")
        return change

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
        return [change for change in new if self._membership.add(change)]


def recall(membership: Membership, files: Mapping[PeerId, Path], known: Modalities) -> None:
    """Take in what agents of this host announced in an earlier life."""
    for agent, file in files.items():
        for line in _lines(file):
            membership.add(_read(agent, line, known))


def order(line: str, known: Collection[Modality]) -> Callable[[Modalities], Modalities]:
    """What an order makes of what an agent has. Raises ConfigError."""
    try:
        [(word, named)] = json.loads(line).items()
        names = {Modality(m) for m in named}
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
    modalities = () if named == GONE else tuple(map(Modality, named.split("+")))
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise MalformedFrame(f"{agent} announces a change in round {number[:20]!r}")
    if list(modalities) != sorted(set(modalities)) or not set(modalities) <= set(known):
        raise MalformedFrame(f"{agent} announces modalities that are not of this run: {named[:80]!r}")
    return Change(int(number), agent, modalities)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

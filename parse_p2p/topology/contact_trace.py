"""Contacts that were recorded: who met whom in which round, from a file of lines ``round,agent,agent``."""

from collections.abc import Iterator
from pathlib import Path

from parse_p2p.core.errors import ConfigError

Contact = tuple[int, str, str]
"""A round, counted from 0, and the two that meet in it."""


def read(path: Path) -> tuple[Contact, ...]:
    """The contacts of a file, in its order; empty lines, and a first line that begins with ``round``, are no contacts.

    Raises ConfigError naming the file, and the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise ConfigError(f"the trace {path} cannot be read: {reason}") from None
    return tuple(_contacts(path, text.split("\n")))


def _contacts(path: Path, lines: list[str]) -> Iterator[Contact]:
    for number, line in enumerate(lines, 1):
        fields = [field.strip().strip('"') for field in line.split(",")]
        if fields == [""] or (number == 1 and fields[0].lower() == "round"):
            continue
        if (fault := _fault(fields)) is not None:
            raise ConfigError(f"{path}:{number}: {fault}; write round,agent,agent, such as 0,a0,a1")
        yield int(fields[0]), fields[1], fields[2]


def _fault(fields: list[str]) -> str | None:
    if len(fields) != 3:
        return f"the number of fields is {len(fields)} and not three"
    if not (fields[0].isascii() and fields[0].isdecimal() and len(fields[0]) < 10):
        return f"the round {fields[0]!r} is no whole number from 0 up"
    if not all(fields):
        return "an agent has no name"
    return f"{fields[1]!r} meets itself" if fields[1] == fields[2] else None

"""What befell the agents of a run, in words: the events of a log that are more than the ordinary round."""

from collections.abc import Mapping
from typing import Any

LONGEST = 300  # characters of a note

SENTENCES: Mapping[str, tuple[str, str]] = {
    "fault": ("fault", "a fault of kind {kind} strikes"),
    "faults": ("fault", "done to its mail on purpose: {counts}"),
    "failed": ("fault", "failed: {why}"),
    "stray": ("fault", "something went wrong beside the run: {why}"),
    "missing": ("mail", "no mail from {peers}"),
    "refused": ("mail", "refused mail of {peer}: {why}"),
    "void": ("mail", "the round is void: {why}"),
    "knock": ("mail", "somebody did not get through the handshake"),
    "shut out": ("mail", "shut out {peer} for {seconds} s"),
    "lost": ("peers", "lost {peer}"),
    "found": ("peers", "found {peer}"),
    "absent": ("peers", "goes on without {peers}, planned to join in that round"),
    "waiting": ("peers", "waits for the coordinator {peer}, {seconds} s at most"),
    "on my own": ("peers", "trains on alone, without the coordinator {peer}"),
    "broker lost": ("peers", "lost the broker: {why}"),
    "broker found": ("peers", "found the broker {broker}"),
    "joined": ("change", "joined"),
    "left": ("change", "left"),
    "modalities": ("change", "has {modalities} from now on"),
    "sensor": ("change", "reads no numbers from {modalities}"),
    "announced": ("change", "announces {modalities} from that round on"),
    "heard of": ("change", "heard that {peer} will have {modalities}"),
    "order refused": ("change", "refused an order: {why}"),
    "resumed": ("life", "starts again from its checkpoint of that round"),
    "stopped": ("life", "was stopped"),
}
"""By event: the kind it is shown under, and the note."""

COUNTED = ("event", "agent", "time")


def entry(event: Mapping[str, Any], round: int) -> tuple[str, str] | None:
    """The kind and the note of an event that is worth showing; ``round`` is the one that it happened in."""
    name = str(event.get("event"))
    if name not in SENTENCES or (name in ("joined", "found", "broker found") and not round):
        return None  # at the beginning all find each other
    kind, note = SENTENCES[name]
    facts = {key: plain(value) for key, value in event.items()}
    facts["counts"] = ", ".join(f"{key} {value}" for key, value in facts.items() if key not in COUNTED)
    return kind, note.format_map(_Gaps(facts))[:LONGEST]


def plain(value: object) -> str:
    """A fact as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value[:64]))
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Gaps(dict[str, str]):
    """Facts of which some may be missing."""

    def __missing__(self, key: str) -> str:
        return "?"

"""Beside an agent's own source: the folder in which more of its samples appear while it runs."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from parse_p2p.config.run_file import options
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.keeping.all import All
from parse_p2p.data.keeping.base import Keeping
from parse_p2p.learning.drift.base import DriftOptions


def _of_kind(value: Any) -> Any:
    """A word stands for the kind of that name with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


def _several(value: Any) -> Any:
    """One or several."""
    if value in (None, "none"):
        return ()
    return tuple(map(_of_kind, value if isinstance(value, list | tuple) else [value]))


def _none_twice(chosen: tuple[DriftOptions, ...]) -> tuple[DriftOptions, ...]:
    kinds = [options.kind for options in chosen]
    if twice := [kind for kind in kinds if kinds.count(kind) > 1]:
        raise ValueError(f"{twice[0]} stands there twice: name it once")
    return chosen


class ArrivalOptions(BaseModel):
    """Keys of ``data`` at an agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    watch: Path = Field(description="the folder; each new file in it holds more samples of the source's kind")
    keep: Annotated[Keeping, BeforeValidator(_of_kind)] = Field(All(), description="which of all samples are kept")
    drift: Annotated[tuple[DriftOptions, ...], BeforeValidator(_several), AfterValidator(_none_twice)] = Field(
        (), description="what looks for a drift: adwin, shift, a mapping with its options, a list of them, or none"
    )


KEYS = frozenset(ArrivalOptions.model_fields)


def source_alone(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a source without those of what arrives."""
    return {key: value for key, value in values.items() if key not in KEYS}


def arrival_options(values: Mapping[str, Any], where: str) -> ArrivalOptions | None:
    """What ``data`` at an agent says of samples that arrive; None where no folder is watched. Raises ConfigError."""
    given = {key: value for key, value in values.items() if key in KEYS}
    if "watch" not in given:
        return None
    if not isinstance(given["watch"], str | Path) or given["watch"] == "":
        raise ConfigError(f"{where}.watch: a path is text, not {given['watch']!r}")
    chosen: ArrivalOptions = options(ArrivalOptions, given, where)
    return chosen


def problems(
    values: Mapping[str, Any], own: Mapping[str, Any], where: str, sources: Iterable[Path | None] = ()
) -> Iterator[str]:
    """What is wrong with what arrives, as far as it can be said without looking at the host.

    ``values`` are those of an agent's source, ``own`` as far as its entry says them, ``sources`` where its samples lie.
    """
    if "watch" not in values:
        unused = sorted(key for key in KEYS if key in own)
        yield from (f"{where}.{key}: no folder is watched: add watch, or leave it out" for key in unused)
        return
    try:
        chosen = arrival_options(values, where)
        assert chosen is not None
        for path in filter(None, sources):
            if chosen.watch.is_relative_to(path):
                yield f"{where}.watch: {chosen.watch} is the source {path}, or lies in it: watch another folder"
    except ConfigError as error:
        yield str(error)
    if values.get("lazy"):
        yield f"{where}.watch: samples that arrive are kept in memory, and this source is lazy: leave one out"

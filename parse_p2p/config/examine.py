"""Everything that is wrong with a run file, found without running it.

What is wrong in one place is set aside, and the rest is looked at as if it were not there, as far as that makes sense.
What a host lacks (a key, a free port, a GPU) only a run finds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from parse_p2p.config import roster, run_file
from parse_p2p.config.run_file import KeyLocations, Loc, RunFile, validated, wrong_options
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.plugins import PluginKind
from parse_p2p.methods.base import Method

ASIDE = {
    "checkpoint", "clocks", "device", "events", "faults", "keyring", "limits", "name", "partition", "resources",
    "rounds", "security", "seed", "test", "train",
}  # fmt: skip
"""Keys without which the rest of a file can be looked at."""

KEY = re.compile(r"([a-z_]+(?:\.\w+)*): ")
"""Begins a sentence about a key."""


def examine(path: Path, settings: Sequence[tuple[str, Any]] = ()) -> tuple[RunPlan | None, list[str]]:
    """The plan of a run file if nothing is wrong with it, and a sentence for everything that is."""
    try:
        raw, lines = run_file.parse(path)
        locations = run_file.complete(raw, path, settings, lines)
    except ConfigError as error:
        return None, [str(error)]
    run, wrong = validated(raw, locations)
    rest = _without_bad(raw)
    if run is None and raw.keys() - rest.keys() <= ASIDE | (raw.keys() - RunFile.model_fields.keys()):
        run, more = validated(rest, locations)
        wrong += more
    examination = _Examination(path, locations, wrong)
    fits, run = examination.plugins(run, rest)
    plan = None if run is None else examination.plan(run, fits)
    found = sorted(examination.found, key=lambda sentence: _line(path, sentence))
    return (None if found else plan), found


def _line(path: Path, sentence: str) -> int:
    """Where in the file a sentence points to; before all lines where it does not say."""
    number = sentence.removeprefix(f"{path}:").partition(":")[0]
    return int(number) if number.isdecimal() else 0


def _without_bad(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The keys in whose sections nothing is wrong."""
    bad = {str(loc[0]) for loc, _ in wrong_options(RunFile, raw)}
    if bad & {"rounds", "events"}:  # events are in rounds, and faults strike what agents gain by events
        bad |= {"events", "faults"}
    return {key: value for key, value in raw.items() if key not in bad}


class _Examination:
    """What was ``found`` so far: sentences, each with the file and the line where it is about a key."""

    def __init__(self, path: Path, locations: KeyLocations, found: Sequence[str]) -> None:
        self.found = list(found)
        self._path = path
        self._locations = locations

    def plugins(self, run: RunFile | None, raw: Mapping[str, Any]) -> tuple[bool, RunFile | None]:
        """Look at the plug-ins and their options.

        Returns whether the data can be opened, and the run without what is wrong there, if that is still one.
        """
        method: Method | None = self._plugin(plugins.load, raw, "method", plugins.METHODS)
        own = raw.get("dataset") == run_file.OWN
        data = None
        if raw.get("dataset") == run_file.IN_MEMORY:
            self._add(run_file.NOT_AT_HAND)
        elif not own:
            data = self._plugin(plugins.module, raw, "dataset", plugins.DATA)
        codec = self._plugin(plugins.load, raw, "codec", plugins.CODECS)
        options_fit = method is not None and self._fit(raw, "options", method.options)
        data_fits = own or (data is not None and self._fit(raw, "data", data.Options))
        if method is None or run is None:
            return data_fits, None
        instead: dict[str, Any] = {} if options_fit else {"options": {}}
        return data_fits, run.model_copy(update=instead | ({} if codec else {"codec": _default("codec")}))

    def _plugin(
        self, find: Callable[[PluginKind, str], Any], raw: Mapping[str, Any], key: str, kind: PluginKind
    ) -> Any:
        try:
            return find(kind, raw.get(key, _default(key)))
        except ConfigError as error:
            self._add(f"{key}: {error}")
            return None

    def _fit(self, raw: Mapping[str, Any], section: str, model: type[BaseModel]) -> bool:
        wrong = wrong_options(model, raw.get(section, {}))
        for loc, reason in wrong:
            self._add(f"{'.'.join(map(str, (section, *loc)))}: {reason}")
        return not wrong

    def plan(self, run: RunFile, data_fits: bool) -> RunPlan | None:
        """Look at how the keys of all sections go together."""
        method: Method = plugins.load(plugins.METHODS, run.method)
        problems, plan = list(roster.problems(run, method)), None
        if any(": graph: " in said for said in self.found):  # then no agent has neighbours
            data_fits = False
        elif not problems and (problem := _of_graph(run, method)):
            problems.append(problem)
        try:
            if not problems and data_fits:
                plan = RunPlan(run, refuse=False)
                problems += plan.problems()
                plan.endpoints  # noqa: B018 -- raises ConfigError
        except ConfigError as error:
            problems.append(str(error))
        for problem in problems:
            self._add(problem)
        return plan

    def _add(self, sentence: str) -> None:
        named = KEY.match(sentence)
        loc: Loc = tuple(int(part) if part.isdecimal() else part for part in named[1].split(".")) if named else ()
        if named and loc[0] in RunFile.model_fields:
            sentence = f"{self._locations.where(loc)}: {sentence[named.end() :]}"
        else:
            sentence = f"{self._path}: {sentence}"
        if sentence not in self.found:
            self.found.append(sentence)


def _of_graph(run: RunFile, method: Method) -> str | None:
    """What is wrong with the graph of agents with whom nothing is."""
    try:
        roster.read_roster(run, method)
    except ConfigError as error:
        return str(error) if KEY.match(str(error)) else f"graph: {error}"
    return None


def _default(key: str) -> str:
    return str(RunFile.model_fields[key].default)

"""A source of samples: a file, a folder or code, and how it is to be read."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from parse_p2p.config import run_file
from parse_p2p.config.run_file import options
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.data.base import Dataset

SOURCES = replace(plugins.DATA, attribute="recognises")
"""Data sets that lie in a file or folder, by whose path they know it."""


@dataclass(frozen=True)
class Source:
    """A source of samples: the ``kind`` of file or code and its options, as they stand in a run file at ``where``."""

    values: Mapping[str, Any]
    where: str = field(compare=False)

    @property
    def path(self) -> Path | None:
        """The file or folder, of a source that has one. Raises ConfigError for what is no path."""
        path = self.values.get("path")
        if path is not None and (not isinstance(path, str | Path) or path == ""):
            raise ConfigError(f"{self.where}.path: a path is text, not {path!r}")
        return None if path is None else Path(path)

    def problems(self) -> Iterator[str]:
        """What is wrong with the options, as far as it can be said without looking for the file.

        A path may be given later, where the agent is started.
        """
        try:
            kind = str(self.values.get("kind", "auto"))
            kinds = plugins.names(SOURCES) if kind == "auto" else [kind]
            models = [self._module(each).Options for each in kinds]
            if self.path is not None or not any("path" in model.model_fields for model in models):
                if kind != "auto":
                    chosen_options(models[0], self._given, self.where)
                return
            known = {key for model in models for key in model.model_fields}
            for key in self._given:
                if key not in known:
                    yield f"{self.where}.{key}: there is no such key here; {nearest(str(key), known)}"
        except ConfigError as error:
            yield str(error)

    def like(self, path: Path) -> "Source":
        """A source of the same kind and with the same options. Raises ConfigError for a kind that reads no path."""
        kind = str(self.values.get("kind", "auto"))
        kind = self._recognised() if kind == "auto" else kind
        if "path" not in self._module(kind).Options.model_fields:
            raise ConfigError(f"{self.where}.watch: the kind {kind!r} reads no file: leave one of them out")
        return replace(self, values={**self.values, "kind": kind, "path": str(path)})

    def whole(self, path: Path) -> bool:
        """Whether a file is not cut off, as far as its kind can tell without reading what is in it."""
        return bool(getattr(self._module(str(self.values["kind"])), "whole", lambda path: True)(path))

    def check(self) -> None:
        """Raise ConfigError for options that are wrong, or a file that is not there; nothing is opened."""
        self._module_and_options()
        if self.path is not None and not os.path.exists(self.path):
            raise ConfigError(f"{self.where}: {self.path} does not exist on this host: correct the path")

    def open(self, seed: int) -> Dataset:
        """Read the samples. Raises ConfigError."""
        module, chosen = self._module_and_options()
        found: Dataset = module.open(chosen, seed)
        return found

    def _module_and_options(self) -> tuple[Any, BaseModel]:
        kind = str(self.values.get("kind", "auto"))
        module = self._module(self._recognised() if kind == "auto" else kind)
        if self.path is None and "path" in module.Options.model_fields:
            raise ConfigError(f"{self.where} says no path: add it, or start the agent with --data PATH")
        return module, chosen_options(module.Options, self._given, self.where)

    @property
    def _given(self) -> dict[str, Any]:
        return {key: value for key, value in self.values.items() if key != "kind"}

    def _module(self, kind: str) -> Any:
        try:
            return plugins.module(plugins.DATA, kind)
        except ConfigError as error:
            raise ConfigError(f"{self.where}.kind: {error}") from None

    def _recognised(self) -> str:
        """The kind of source that recognises the path."""
        known = plugins.names(SOURCES)
        if self.path is None:
            raise ConfigError(f"{self.where}: give a path, or the kind of the source: {', '.join(known)}")
        if not os.path.exists(self.path):
            raise ConfigError(f"{self.where}: {self.path} does not exist on this host: correct the path")
        found = [name for name in known if plugins.load(SOURCES, name)(self.path)]
        if len(found) != 1:
            several = f"it could be {' or '.join(found)}" if found else "no kind of source recognises it"
            raise ConfigError(f"{self.where}: {self.path}: {several}; say which: kind: {', '.join(found or known)}")
        return found[0]


def from_command_line(text: str) -> dict[str, Any]:
    """The options of a source as a command line gives them: its path, or a mapping. Raises ConfigError."""
    if not text.lstrip().startswith("{"):
        return {"path": os.path.abspath(os.path.expanduser(text))}
    return run_file.with_absolute_paths(run_file.setting(f"data={text}")[1])


def open_named(name: str, values: Mapping[str, Any], where: str, seed: int) -> Dataset:
    """The samples of a data set that is found by its name. Raises ConfigError."""
    module = plugins.module(plugins.DATA, name)
    dataset: Dataset = module.open(chosen_options(module.Options, values, where), seed)
    return dataset


def chosen_options(model: type[BaseModel], values: Mapping[str, Any], where: str) -> BaseModel:
    """The options of a data set. Raises ConfigError also for a path to what might never end, such as a pipe."""
    chosen: BaseModel = options(model, values, where)
    for name in model.model_fields:
        path = getattr(chosen, name)
        if isinstance(path, Path) and os.path.exists(path) and not (path.is_file() or path.is_dir()):
            raise ConfigError(f"{where}.{name}: {path} is neither a file nor a folder: correct the path")
    return chosen

"""Agents with sources of their own, each of which its own process alone opens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from parse_p2p.config import arrivals
from parse_p2p.config.arrivals import ArrivalOptions
from parse_p2p.config.roster import agent_ids
from parse_p2p.config.run_file import OWN, RunFile
from parse_p2p.config.sections import MixEntry, PartitionEntry
from parse_p2p.config.source import Source
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import (
    Dataset,
    Scale,
    fingerprint,
    scaled,
)
from parse_p2p.data.kinds import tokenizers
from parse_p2p.data.schema import DataSchema, conform, scales, united
from parse_p2p.data.splits import held_out
from parse_p2p.data.tokenizer import Tokenizer

Part = tuple[Dataset, Dataset]
"""Samples to train on and samples to test with."""


class OwnData:
    """Agents with sources of their own: ``source`` says where an agent's samples are.

    The run file's ``data`` holds what their sources have in common; ``{id}`` in a path stands for an agent's id.
    """

    dealt = False
    at_hand = False
    ceiling = None

    def __init__(
        self,
        run: RunFile,
        coordinator: PeerId | None = None,
        samples: Mapping[PeerId, Dataset] | None = None,
        common: Dataset | None = None,
    ) -> None:
        self._given = run
        if samples and run.data_schema is None:
            self._given = run.model_copy(
                update={"data_schema": united({str(me): each for me, each in samples.items()})}
            )
        self._coordinator = coordinator
        self._common = common
        self._own = own_sources(run)
        self._opened = {(me, False): dataset for me, dataset in (samples or {}).items()}
        self._agreed: dict[PeerId, Mapping[Modality, Scale]] = {}
        self._frequencies: dict[PeerId, Tensor] = {}

    @cached_property
    def run(self) -> RunFile:
        if self._given.fingerprint is not None or (self._given.common_test is None and self._common is None):
            return self._given
        return self._given.model_copy(update={"fingerprint": self._fingerprint})

    @property
    def schema(self) -> DataSchema:
        if self._given.data_schema is None:
            raise ConfigError(
                "data_schema: agents with data of their own have to agree on modalities and classes: add what "
                "parse-agent data schema SOURCE prints"
            )
        return self._given.data_schema

    def source(self, me: PeerId, to_test: bool = False) -> Source | None:
        """Where an agent's samples are, or those that it tests with if they are apart."""
        own, test = self._own.get(me, ({}, None))
        if to_test and test is None:
            return None
        values = arrivals.source_alone(self._given.data | own) | (test or {} if to_test else {})
        where = f"agents: {me}.{'test_data' if to_test else 'data'}"
        return Source({key: _for(me, value) for key, value in values.items()}, where) if values else None

    def arrivals(self, me: PeerId) -> ArrivalOptions | None:
        return None if me == self._coordinator else arrivals.arrival_options(self._values(me), f"agents: {me}.data")

    def _values(self, me: PeerId) -> dict[str, Any]:
        """What there is to say of an agent's source, and what arrives beside it."""
        values = self._given.data | self._own.get(me, ({}, None))[0]
        return {key: _for(me, value) for key, value in values.items()}

    def arrived(self, me: PeerId, modalities: Sequence[Modality], path: Path) -> Dataset:
        source = self._needed(me).like(path)
        source.check()  # before it is opened: a pipe might never end
        if not source.whole(path):
            raise ConfigError(f"{path} is cut off: give files their name when they are complete")
        found = source.open(self._given.seed)
        mine = conform(found, self.schema, modalities, found.name).sensed()
        return self._given.train.of_all(mine, self.frequencies(me))

    def apart(self) -> frozenset[Path]:
        common = [] if self._given.common_test is None else [self._common_source]
        return frozenset(source.path for source in (*self.sources(), *common) if source.path is not None)

    def sources(self) -> Iterator[Source]:
        """Those of all agents, as far as the run file has them."""
        both = (self.source(me, to_test) for me in agent_ids(self._given) for to_test in (False, True))
        return filter(None, both)

    def share(self, me: PeerId, modalities: Sequence[Modality]) -> Part:
        """An agent's own samples: all to train on where it has others to test with, else with a share to test with."""
        train, rest = self._divided(me, modalities)
        test = self._conforming(me, True, modalities).sensed() if rest is None else rest
        if not len(train) or not len(test):
            raise ConfigError(
                f"the data of {me}: none to {'test with' if len(train) else 'train on'} has a modality of it"
            )
        refuse_untried(me, train, test)
        mine = self._scales(me, train)
        return self._given.train.of_all(scaled(train, mine), self.frequencies(me)), scaled(test, mine)

    @property
    def agreed_modalities(self) -> tuple[Modality, ...]:
        return tuple(sorted(m for m, each in self.schema.modalities.items() if each.scale == "all"))

    @property
    def counts_classes(self) -> bool:
        return self._given.train.counts_classes

    @property
    def agrees(self) -> bool:
        return self.counts_classes or bool(self.agreed_modalities)

    def use_agreed(self, me: PeerId, scales: Mapping[Modality, Scale], frequencies: Tensor | None) -> None:
        self._agreed[me] = scales
        if frequencies is not None:
            self._frequencies[me] = frequencies

    def frequencies(self, me: PeerId) -> Tensor | None:
        return self._frequencies.get(me)

    def training(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset:
        return self._divided(me, modalities)[0]

    def scales(self, me: PeerId) -> Mapping[Modality, Scale]:
        held = self._open(me, to_test=False)
        fitting = [m for m, shape in self.schema.shapes(list(self.schema.modalities)).items()
                   if m in held.modalities and held.shape(m) == shape]  # fmt: skip
        known = {m: self._of_all(me, m) for m in self.agreed_modalities}  # an agent may gain one
        return known | self._scales(me, self._divided(me, fitting)[0])

    def _divided(self, me: PeerId, modalities: Sequence[Modality]) -> tuple[Dataset, Dataset | None]:
        """What an agent trains on, and what is left of it to test with; None where that is apart."""
        mine = self._conforming(me, False, modalities)
        if self.source(me, to_test=True) is not None:
            return mine.sensed(), None
        run = self._given
        with _named(me):
            # first divided and then without those that lack all: what is a test sample stays one when modalities change
            train, test = held_out(mine, run.test, run.test_by, run.test_groups, run.seed)
        return train.sensed(), test.sensed()

    def _scales(self, me: PeerId, train: Dataset) -> dict[Modality, Scale]:
        given, agreed = scales(self.schema), self.agreed_modalities
        return {m: self._of_all(me, m) if m in agreed else given[m] or Scale.of(train.having(m)) for m in train.inputs}

    def _of_all(self, me: PeerId, modality: Modality) -> Scale:
        """What all agents agreed on, as this one knows it."""
        if modality not in self._agreed.get(me, {}):
            raise ConfigError(
                f"data_schema.modalities.{modality}.scale: all is known only to agents that ran: give a mean and "
                f"deviation, or run them, for the samples of {me}"
            )
        return self._agreed[me][modality]

    def public_of(self, coordinator: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        return self.share(coordinator, modalities)[0]

    def common(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        if self._given.common_test is None and self._common is None:
            return None
        opened, found = self._opened_common, self._fingerprint
        if self.run.fingerprint != found:
            raise ConfigError(
                f"common_test: {opened.name!r} holds other samples here than where the run began (fingerprint {found}, "
                f"there {self.run.fingerprint}): give every host the same copy"
            )
        mine = conform(opened, self.schema, modalities, f"common_test ({opened.name})").sensed()
        if not len(mine):
            raise ConfigError(
                f"common_test: none of its samples has {' or '.join(modalities)}, which {me} has: add some"
            )
        return scaled(mine, self._scales(me, self._divided(me, modalities)[0]))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint([self._opened_common])

    @cached_property
    def _opened_common(self) -> Dataset:
        if self._common is not None:
            return self._common
        return self._common_source.open(self._given.seed)

    @property
    def _common_source(self) -> Source:
        return Source(arrivals.source_alone(self._given.data) | (self._given.common_test or {}), "common_test")

    def problems(self) -> Iterator[str]:
        run = self._given
        self.schema  # noqa: B018 -- raises ConfigError
        self.run  # noqa: B018 -- likewise
        agents = agent_ids(run)
        for me in self._own.keys() - set(agents):
            yield f"agents.data.{me}: there is no agent {me!r}: {nearest(me, agents)}"
        for me in agents:
            source, test = self.source(me), self.source(me, to_test=True)
            for found in filter(None, (source, test)):
                yield from found.problems()
            own = self._own.get(me, ({}, None))[0]
            if me != self._coordinator:
                paths = (None if each is None else each.path for each in (source, test))
                yield from arrivals.problems(self._values(me), own, f"agents: {me}.data", paths)
            elif "watch" in own:
                yield f"agents: {me}.data.watch: the public samples of a coordinator stay as they are: leave it out"
            if source is not None and source == test:
                yield f"agents: {me}.test_data says no other source than its data: give it a path of its own"
        if run.public is not None:
            yield "public: where agents have data of their own, give the coordinator its data at its entry instead"
        if run.partition != PartitionEntry():
            yield "partition: agents have data of their own, and nothing is dealt: leave it out"
        if run.common_test is not None and run.stream is not None:
            yield "common_test: every task of a stream has other labels: leave out stream or common_test"

    def own_fingerprint(self, me: PeerId) -> str | None:
        return fingerprint(self._opened[key] for key in ((me, False), (me, True)) if key in self._opened)

    def tokenizers(self, me: PeerId) -> Iterable[Tokenizer]:
        return tokenizers(self._opened[me, False].kinds) if (me, False) in self._opened else ()

    def check_source(self, me: PeerId) -> None:
        for source in (self._needed(me), self.source(me, to_test=True)):
            if source is not None:
                source.check()
        if (more := self.arrivals(me)) is not None:
            self._needed(me).like(more.watch)
            if not more.watch.is_dir():
                raise ConfigError(f"agents: {me}.data.watch: there is no folder {more.watch} on this host: make it")

    def _conforming(self, me: PeerId, to_test: bool, modalities: Sequence[Modality]) -> Dataset:
        opened = self._open(me, to_test)
        return conform(opened, self.schema, modalities, f"the data of {me} ({opened.name})")

    def _open(self, me: PeerId, to_test: bool) -> Dataset:
        if (me, to_test) not in self._opened:
            source = self.source(me, to_test=True) if to_test else self._needed(me)
            assert source is not None
            with _named(me):
                self._opened[me, to_test] = source.open(self._given.seed)
        return self._opened[me, to_test]

    def _needed(self, me: PeerId) -> Source:
        if (source := self.source(me)) is not None:
            return source
        if me == self._coordinator:
            raise ConfigError(
                f"agents: the coordinator {me} has no data to be tested on: add data: {{path: ...}} to its entry"
            )
        raise ConfigError(
            f"agents: {me} has no data: add data: {{path: ...}} to its entry, or start it with --id {me} --data PATH"
        )


def with_source(run: RunFile, me: PeerId, values: dict[str, Any]) -> RunFile:
    """The run with another source for one agent, whose own options stay where the source has none.

    Raises ConfigError where agents have no sources of their own.
    """
    if run.dataset != OWN:
        raise ConfigError(f"--data: the run deals {run.dataset!r} to its agents: set dataset: {OWN} and a data_schema")
    if isinstance(run.agents, MixEntry):
        sources = run.agents.data | {me: run.agents.data.get(me, {}) | values}
        return run.model_copy(update={"agents": run.agents.model_copy(update={"data": sources})})
    entries = [e.model_copy(update={"data": (e.data or {}) | values}) if e.id == me else e for e in run.agents]
    return run.model_copy(update={"agents": entries})


def refuse_untried(me: PeerId, train: Dataset, test: Dataset) -> None:
    """Raise ConfigError where an agent cannot be tested, or would be with a modality that it never learns from."""
    if not len(test):
        raise ConfigError(
            f"agents: no test sample has {' or '.join(test.modalities)}, which {me} is to have: raise test, or give it "
            "another modality"
        )
    for m in train.modalities:
        if not train.has(m).any():
            raise ConfigError(
                f"agents: no training sample of {me} has {m!r}: leave it out of its modalities, or give it such samples"
            )


def own_sources(run: RunFile) -> dict[PeerId, tuple[dict[str, Any], dict[str, Any] | None]]:
    """What agents' entries say of their data, and of those that they test with, if anything."""
    if isinstance(run.agents, MixEntry):
        return {PeerId(me): (values, None) for me, values in run.agents.data.items()}
    return {PeerId(entry.id): (entry.data or {}, entry.test_data) for entry in run.agents}


@contextmanager
def _named(me: PeerId) -> Iterator[None]:
    """Errors about an agent's own data say whose they are."""
    try:
        yield
    except ConfigError as error:
        said = str(error)
        raise ConfigError(said if said.startswith(f"agents: {me}") else f"the data of {me}: {said}") from error


def _for(me: PeerId, value: Any) -> Any:
    return value.replace("{id}", me) if isinstance(value, str) else value

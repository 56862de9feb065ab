"""Where the samples of each agent come from: a data set that all hosts have, dealt out, or a source of its own.

Both know the schema of the data, on which networks and overlays are built, without opening anything where the run file
has it. Samples are read by the process that needs them: of agents with sources of their own, each by its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parse_p2p.config.arrivals import ArrivalOptions
from parse_p2p.config.own_data import OwnData, Part, own_sources, refuse_untried
from parse_p2p.config.run_file import IN_MEMORY, NOT_AT_HAND, OWN, RunFile
from parse_p2p.config.source import open_named
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import (
    Dataset,
    Scale,
    as_the_others,
    fingerprint,
    refuse_unlike,
    relative,
    scaled,
    split,
)
from parse_p2p.data.kinds import tokenizers
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.data.row_digests import shared_rows
from parse_p2p.data.schema import DataSchema, conform, scales, schema_of
from parse_p2p.data.splits import held_out
from parse_p2p.data.tokenizer import Tokenizer

Samples = Dataset | Mapping[PeerId, Dataset]
"""In memory: one set for all agents, or one for each."""


class AgentData(Protocol):
    """The data of a run's agents. Raises ConfigError, wherever it has to read them, for what cannot be used."""

    @property
    def run(self) -> RunFile:
        """The run file with all that its agents agree on of their data."""

    @property
    def schema(self) -> DataSchema:
        """Modalities, shapes and classes."""

    @property
    def ceiling(self) -> Callable[[frozenset[Modality]], float] | None:
        """The best accuracy that any model can reach with some modalities, where a closed form is known."""

    @property
    def dealt(self) -> bool:
        """Whether there is one pool of samples, of which any process may open everything."""

    @property
    def at_hand(self) -> bool:
        """Whether this process may and can open the samples of all agents."""

    @property
    def agreed_modalities(self) -> tuple[Modality, ...]:
        """Those scaled by the samples of all agents, of which each sees its own alone; sorted."""

    @property
    def agrees(self) -> bool:
        """Whether agents that see their own samples alone have to agree on scales, or how frequent classes are."""

    @property
    def counts_classes(self) -> bool:
        """Whether that is how frequent classes are."""

    def use_agreed(self, me: PeerId, scales: Mapping[Modality, Scale], frequencies: Tensor | None) -> None:
        """Scale and weigh an agent's samples from now on so, where it is for all agents to agree on."""

    def frequencies(self, me: PeerId) -> Tensor | None:
        """How frequent each class is among all agents' training samples, (C,), where the run's weights follow that."""

    def training(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset:
        """What an agent trains on, as it is."""

    def share(self, me: PeerId, modalities: Sequence[Modality]) -> Part:
        """An agent's samples, with these modalities only, scaled."""

    def scales(self, me: PeerId) -> Mapping[Modality, Scale]:
        """What ``share`` scales an agent's test samples by, for every modality that its data hold."""

    def arrivals(self, me: PeerId) -> ArrivalOptions | None:
        """Where more of an agent's samples appear while it runs, and what becomes of them; None where nowhere."""

    def arrived(self, me: PeerId, modalities: Sequence[Modality], path: Path) -> Dataset:
        """The samples of a file that appeared there, as they are."""

    def apart(self) -> frozenset[Path]:
        """Files of all agents' sources, which do not arrive wherever they lie."""

    def public_of(self, coordinator: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        """The coordinator's data set with these modalities, scaled: nobody's private sample is in it."""

    def common(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        """What every agent is tested with beside its own samples, where there is such: scaled as those of this one."""

    def own_fingerprint(self, me: PeerId) -> str | None:
        """Of an agent's own samples, once they were opened; None where it has none of its own."""

    def tokenizers(self, me: PeerId) -> Iterable[Tokenizer]:
        """Those that made the tokens of an agent's samples, once they were opened, as far as they are known."""

    def problems(self) -> Iterator[str]:
        """What the run file asks of the data and cannot be, each a sentence."""

    def check_source(self, me: PeerId) -> None:
        """Raise ConfigError where an agent's own source is not on this host; nothing is opened."""


class Divided(NamedTuple):
    """A data set that all agents share, scaled as far as they have the same scale: by ``scales``."""

    train: Dataset
    test: Dataset
    public: Dataset | None
    scales: Mapping[Modality, Scale]


class SharedData:
    """One data set that every host has, dealt to the agents by a partition.

    ``train`` is what the agents train on, all together, ``test`` the test set; ``coordinator`` is none of ``peers``.
    """

    dealt = True
    agrees = False
    counts_classes = False
    agreed_modalities: tuple[Modality, ...] = ()

    def __init__(
        self, run: RunFile, peers: Sequence[PeerId], coordinator: PeerId | None, samples: Dataset | None = None
    ) -> None:
        self._given = run
        self._peers = peers
        self._coordinator = coordinator
        self._samples = samples

    @cached_property
    def run(self) -> RunFile:
        if self._given.data_schema is not None and self._given.fingerprint is not None:
            return self._given
        found = {"data_schema": self.schema, "fingerprint": self._fingerprint}
        return self._given.model_copy(update=found)

    @cached_property
    def schema(self) -> DataSchema:
        return self._given.data_schema or schema_of(self._opened, "all")

    @property
    def at_hand(self) -> bool:
        return self._samples is not None or self._given.dataset != IN_MEMORY

    @property
    def ceiling(self) -> Callable[[frozenset[Modality]], float] | None:
        return self.test.ceiling if self.at_hand else None

    @property
    def train(self) -> Dataset:
        return self._parts.train

    @property
    def test(self) -> Dataset:
        return self._parts.test

    @property
    def public(self) -> Dataset | None:
        return self._parts.public

    @property
    def _scaled_by(self) -> Mapping[Modality, Scale]:
        """What ``train`` and ``test`` are scaled by."""
        return self._parts.scales

    def public_of(self, coordinator: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        if self.public is None:
            return None
        mine = self._dealt(coordinator, modalities)
        return scaled(mine, self._scales_of_own(mine))

    def instead(self, train: Dataset, test: Dataset) -> "SharedData":
        """The same data with these samples to train on, dealt anew, and to test with; scaled as those of this one."""
        found = SharedData(self._given, self._peers, self._coordinator, self._samples)
        for name in ("run", "schema", "_opened", "_named_public", "_fingerprint"):  # what costs time, and is the same
            if name in vars(self):
                vars(found)[name] = vars(self)[name]
        found._parts = self._parts._replace(train=train, test=test)
        return found

    @cached_property
    def shares(self) -> dict[PeerId, NDArray[np.int64]]:
        """The rows of ``train`` that each agent holds."""
        entry = self._given.partition
        if entry.kind not in PARTITIONS:
            near = nearest(entry.kind, PARTITIONS)
            raise ConfigError(f"partition.kind: there is no partition {entry.kind!r}: {near}")
        rng = np.random.default_rng(self._given.seed)
        rows = PARTITIONS[entry.kind](self.train, len(self._peers), rng, entry.alpha)
        return dict(zip(self._peers, rows, strict=True))

    def use_agreed(self, me: PeerId, scales: Mapping[Modality, Scale], frequencies: Tensor | None) -> None:
        pass  # every process has the samples of all

    def frequencies(self, me: PeerId) -> Tensor | None:
        return self._frequencies if self._given.train.counts_classes else None

    @cached_property
    def _frequencies(self) -> Tensor:
        weights = self.train.weighed().double()
        counts = torch.zeros(self.train.classes, dtype=torch.float64)
        for rows in self.shares.values():
            at = torch.from_numpy(rows)
            counts.index_add_(0, self.train.targets[at], relative(weights[at]))
        return counts / counts.sum()

    def training(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset:
        return self._dealt(me, modalities)

    def arrivals(self, me: PeerId) -> ArrivalOptions | None:
        return None  # nobody has a source of its own

    def arrived(self, me: PeerId, modalities: Sequence[Modality], path: Path) -> Dataset:
        raise NotImplementedError

    def apart(self) -> frozenset[Path]:
        return frozenset()

    def share(self, me: PeerId, modalities: Sequence[Modality]) -> Part:
        """An agent's training samples and the test set; a coordinator trains on the public samples, if any."""
        train = self._dealt(me, modalities)
        test = self.test.select(range(len(self.test)), modalities).sensed()
        if len(train):  # of a coordinator that trains on nothing
            refuse_untried(me, train, test)
        own = self._scales_of_own(train)
        return self._given.train.of_all(scaled(train, own), self.frequencies(me)), scaled(test, own)

    def scales(self, me: PeerId) -> Mapping[Modality, Scale]:
        own = self._scales_of_own(self._dealt(me, self.train.modalities))
        return {m: own[m] if self._by_own(m) else scale for m, scale in self._scaled_by.items()}

    def _dealt(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset:
        """The samples an agent trains on, scaled as far as all agents have the same scale."""
        if me == self._coordinator:
            mine = self.train.select([]) if self.public is None else self.public
            return mine.select(range(len(mine)), modalities)
        dealt = self.train.select(self.shares[me], modalities)
        train = dealt.sensed()
        if len(dealt) and not len(train):
            raise ConfigError(f"agents: of the samples dealt to {me} none has {' or '.join(modalities)}: deal more")
        return train

    def _scales_of_own(self, train: Dataset) -> dict[Modality, Scale]:
        return {m: Scale.of(train.having(m)) if self._by_own(m) else Scale() for m in train.inputs}

    def common(self, me: PeerId, modalities: Sequence[Modality]) -> Dataset | None:
        return None  # the test set is common to all

    def problems(self) -> Iterator[str]:
        if self._given.common_test is not None:
            yield f"common_test: all agents are tested with the test share of {self._given.dataset!r}: leave it out"
        if any(own or test for own, test in own_sources(self._given).values()):
            yield (
                f"dataset: an agent has data of its own, and {self._given.dataset!r} is dealt to all: set dataset: "
                f"{OWN}, or leave out the data of agents"
            )
        if self._given.fingerprint is None:  # else they were dealt before
            self.shares  # noqa: B018 -- raises ConfigError

    def own_fingerprint(self, me: PeerId) -> str | None:
        return None

    def tokenizers(self, me: PeerId) -> Iterable[Tokenizer]:
        return tokenizers(self._opened.kinds)

    def check_source(self, me: PeerId) -> None:
        self._check()

    def _check(self) -> None:
        if not self.at_hand:
            raise ConfigError(NOT_AT_HAND)

    @cached_property
    def _opened(self) -> Dataset:
        run = self._given
        found = self._samples
        if found is None:
            self._check()
            found = open_named(run.dataset, run.data, "data", run.seed)
        if run.data_schema is None:
            return found
        return conform(found, run.data_schema, list(run.data_schema.modalities), f"the data set {found.name!r}")

    @cached_property
    def _named_public(self) -> Dataset | None:
        public = self._given.public
        if public is None or public.dataset is None:
            return None
        return open_named(public.dataset, public.data, "public.data", self._given.seed)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(each for each in (self._opened, self._named_public) if each is not None)

    @cached_property
    def _parts(self) -> "Divided":
        run = self._given
        if run.fingerprint not in (None, self._fingerprint):
            raise ConfigError(
                f"the data set {run.dataset!r} holds other samples here than where the run began (fingerprint "
                f"{self._fingerprint}, there {run.fingerprint}): give every host the same copy"
            )
        train, test = held_out(self._opened, run.test, run.test_by, run.test_groups, run.seed)
        of_all = self._scales(train)
        train, test = scaled(train, of_all), scaled(test, of_all)
        if run.public is None:
            return Divided(train, test, None, of_all)
        if run.public.share is not None:
            private, public = split(train, run.public.share, run.seed)
            return Divided(private, test, public, of_all)
        named = self._named_public
        assert named is not None  # since a public set is a share or has a name
        refuse_unlike(named, train)
        self._refuse_leaks(named)
        named = as_the_others(named.select(range(len(named)), train.modalities), train)
        return Divided(train, test, scaled(named, self._scales(named)), of_all)

    def _refuse_leaks(self, public: Dataset) -> None:
        """Raise ConfigError where the coordinator would be shown samples that agents hold or are tested with."""
        if leaked := shared_rows(public, self._opened, self._opened.modalities):
            raise ConfigError(
                f"public.dataset: {leaked} of the {len(public)} samples of {public.name!r} are in the agents' data "
                f"{self._opened.name!r} too, and so would be no secret: name another set, or keep a part of this one "
                "from all agents with public: {share: 0.15}"
            )

    def _scales(self, samples: Dataset) -> dict[Modality, Scale]:
        """Those of all agents together; of a modality that each scales by its own samples nothing is changed."""
        given = scales(self.schema)
        return {
            m: given[m] or (Scale() if self._by_own(m) else Scale.of(samples.having(m))) for m in samples.modalities
        }

    def _by_own(self, modality: Modality) -> bool:
        return self.schema.modalities[modality].scale == "own"


def agent_data(
    run: RunFile,
    peers: Sequence[PeerId],
    coordinator: PeerId | None,
    samples: Samples | None = None,
    common: Dataset | None = None,
) -> AgentData:
    """The data of a run's agents, or ``samples`` in place of what the run file says; no peer is ``coordinator``.

    ``common`` is in place of ``common_test``, where ``samples`` are those of each agent.
    """
    if isinstance(samples, Mapping):
        return OwnData(run.model_copy(update={"dataset": OWN}), coordinator, samples, common)
    if common is not None:
        raise ConfigError("common_test: its samples are given for agents whose own are given too: leave it out")
    return OwnData(run, coordinator) if run.dataset == OWN else SharedData(run, peers, coordinator, samples)

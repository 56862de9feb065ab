"""Mean and deviation of all agents' training samples, which nobody sees, agreed on before the first round.

By push-sum (Kempe, Dobra and Gehrke 2003): each agent begins with the sums over its own samples, splits what it has in
equal parts over itself and its neighbours, and reads means off as ratios. Twice, first the means and then the squares
around them. Sums are weighed by the number of samples, so every ratio is a mean of the agents' own means: what all have
in common, such as a large offset, cancels from the start.

What crosses a link is the sum of all that ever went over it, so a lost message is made good by the next, and more goes
over it only after something came, so nobody gives all to a neighbour that is gone (see ``methods/exchanges/push_sum``).
That a feature is the same everywhere is told by its least and largest value, for no sum could.

Where the run asks for it the agents agree on how frequent each class is too: the mean of the samples' indicators of
their class, in the first phase.
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from parse_p2p.core.errors import ConfigError, PeerError, SpecMismatch
from parse_p2p.core.events import ScaleAgreed
from parse_p2p.core.message import Message, check_tensors
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.data.base import Dataset, Scale, relative
from parse_p2p.data.lazy import Input, finite, parts
from parse_p2p.data.schema import LEAST
from parse_p2p.learning.learner import Learner
from parse_p2p.methods.base import Exchange, Inbox, Script
from parse_p2p.topology.spectrum import exchanges_to

TOLERANCE = 1e-6
SPARE = 10  # exchanges more, in which lost messages are made good
MOST = 1000  # exchanges of one phase
PATIENCE = 5  # messages in a row that may be missing before a neighbour is waited for no longer

SAMPLES = 2.0**53  # of one agent at most
LARGEST = torch.finfo(torch.float32).max  # of any input
NOTHING = -2 * LARGEST  # the largest value of no samples
BEYOND = 1e100  # no sum is that large

SUMS, RANGE, AGREED = "scale/sums", "scale/range", "scale/agreed"
"""The tensors of messages, as the logs name them."""

CLASSES = Modality("/classes")
"""What stands for the classes where sums are listed by modality; no modality is called so."""


Scales = Mapping[Modality, Scale]
"""By what each modality is scaled."""


@dataclass(frozen=True)
class Agreed:
    """What was agreed on, and from how many samples of all agents that comes, as far as one was there to count.

    ``frequencies`` (C,), float64 with the sum 1, are those of the classes, where they were asked for.
    """

    scales: Scales
    samples: Mapping[Modality, int] = field(default_factory=dict)
    frequencies: Tensor | None = None

    def event(self, round: int) -> ScaleAgreed:
        """What the log says of it."""
        frequencies = None if self.frequencies is None else self.frequencies.tolist()
        return ScaleAgreed(round=round, samples=dict(self.samples), frequencies=frequencies, scaled=bool(self.scales))


@dataclass(frozen=True)
class Agreement:
    """What one of ``agents`` needs to agree with the others.

    ``shapes`` are those of one sample of each modality in question, ``exchanges`` is the number in each of two phases,
    ``samples`` opens the agent's own training samples, as they are, and ``apply`` has its learner learn from them as
    was agreed, and gives the public samples, where the agent has such. ``classes`` are as many as the agents count; 0
    where they count none.
    """

    me: PeerId
    agents: int
    neighbours: frozenset[PeerId]
    exchanges: int
    shapes: Mapping[Modality, tuple[int, ...]]
    samples: Callable[[], Dataset]
    apply: Callable[[Agreed, Learner], Dataset | None]
    classes: int = 0

    @property
    def payload(self) -> int:
        """Bytes that the agent sends, in double.

        Of each modality two blocks of sums (2 + F,) and the ranges (2F,), of the classes one block and the ranges.
        """
        features = sum(shape[0] for shape in self.shapes.values())
        counted = 24 * self.classes + 16 if self.classes else 0
        return len(self.neighbours) * self.exchanges * (32 * (features + len(self.shapes)) + counted)


Vector = NDArray[np.float64]

Steps = Generator[Exchange, Inbox, Agreed]
"""A script that agrees."""


def exchanges(graph: nx.Graph) -> float:
    """How many each phase takes on a graph of all agents, a whole number; infinite where it falls apart."""
    found = exchanges_to(graph, TOLERANCE)
    return math.ceil(found) + SPARE if 0 < found < math.inf else found


def agree(agreement: Agreement) -> Steps:
    """Agree with all who begin with me. Raises PeerError where no neighbour was ever heard."""
    inputs = _inputs(agreement)
    first = _PushSum(agreement, "mean", {m: _sums(x) for m, x in inputs.items()}, LARGEST, _ranges(inputs))
    yield from first.run()
    means, heard = {m: _ratio(block) for m, block in first.blocks().items()}, first.heard
    frequencies, found = _frequencies(means.pop(CLASSES, None)), dict[Modality, Tensor]()
    if means:
        squares = {m: _sums(inputs[m], mean) for m, mean in means.items()}
        second = _PushSum(agreement, "deviation", squares, 4 * LARGEST**2)
        yield from second.run()
        found, heard = second.blocks(), heard and second.heard
    if agreement.neighbours and not heard:
        raise PeerError(
            f"{agreement.me} heard of no neighbour while all agreed on what inputs are scaled by: go on with --resume, "
            "or give a mean and deviation in data_schema"
        )
    deviations = {m: torch.where(first.constant(m), 0.0, _ratio(block).sqrt()) for m, block in found.items()}
    samples = {m: _samples(block, agreement.agents) for m, block in found.items()}
    scales = {m: _scale(agreement, m, found[m][1] > 0, means[m], deviations[m]) for m in means}
    return Agreed(scales, samples, frequencies)


def unknown(me: PeerId) -> str:
    """A sentence on an agent that was not there when the others agreed."""
    return (
        f"{me} was stopped before it had agreed with the others on what inputs are scaled by: start all anew, or give "
        "a mean and deviation in data_schema"
    )


def send(agreement: Agreement, agreed: Agreed, newcomers: Collection[PeerId]) -> Script:
    """Send what was agreed on to those who come later."""
    numbers = {f"{AGREED}/{m}": _numbers(agreed.scales[m], shape[0]) for m, shape in agreement.shapes.items()}
    if agreed.frequencies is not None:
        numbers[f"{AGREED}/{CLASSES}"] = agreed.frequencies
    yield Exchange("scale/agreed", dict.fromkeys(sorted(newcomers), Message(numbers)))
    return {}


def hear(agreement: Agreement, others: Collection[PeerId]) -> Steps:
    """Hear what the others agreed on: of each number the median, so that one that lies alone changes nothing.

    Raises PeerError where nobody says it.
    """
    classes = f"{AGREED}/{CLASSES}"
    sizes = {f"{AGREED}/{m}": (1 + 2 * shape[0],) for m, shape in agreement.shapes.items()}
    if agreement.classes:
        sizes[classes] = (agreement.classes,)

    def check(sender: PeerId, message: Message) -> None:
        check_tensors(sender, message, sizes, dtype=torch.float64, largest=2 * LARGEST)
        for name, x in message.tensors.items():
            if bool((x[0 if name == classes else (1 + len(x)) // 2 :] < 0).any()):
                raise SpecMismatch(
                    f"{name} from {sender} has a {'frequency' if name == classes else 'deviation'} below 0"
                )

    inbox = yield Exchange("scale/agreed", {}, frozenset(others), check=check)
    if not inbox:
        raise PeerError(
            f"nobody said what {agreement.me}, which comes later, is to scale inputs by: start all anew, or give "
            "a mean and deviation in data_schema"
        )
    said = {name: torch.stack([m.tensors[name] for m in inbox.values()]).median(0).values for name in sizes}
    scales = dict[Modality, Scale]()
    for m, shape in sorted(agreement.shapes.items()):
        numbers = said[f"{AGREED}/{m}"]
        scales[m] = _scale(agreement, m, numbers[0] > 0, *torch.split(numbers[1:], shape[0]))
    return Agreed(scales, frequencies=_frequencies(said.get(classes)))


class _PushSum:
    """One phase: an agent's mass, and what went over each of its links.

    The mass is a block [weight, samples, sums] (2 + F,) for each modality, one after another; the weights of all agents
    are 1 in the beginning, so that their mean tells how many samples there are. ``largest`` is what the mean of a sum
    can be, in size, and ``ranges`` (2F,) for each modality its largest values and the negative of its least.
    """

    def __init__(
        self,
        agreement: Agreement,
        phase: str,
        own: Mapping[Modality, Tensor],
        largest: float,
        ranges: Mapping[Modality, Tensor] | None = None,
    ) -> None:
        self._agreement = agreement
        self._phase = phase
        self._largest = largest
        self._sizes = {m: len(block) for m, block in own.items()}
        # in numpy, whose small sums take a fraction of the time
        self._mass: Vector = torch.cat(list(own.values())).numpy()
        self._ranges: Vector | None = None if ranges is None else torch.cat(list(ranges.values())).numpy()
        sizes = np.array(list(self._sizes.values()))
        self._weights = sizes.cumsum() - sizes  # where each block begins
        self._numbers = np.delete(np.arange(sizes.sum()), [*self._weights, *(self._weights + 1)])
        self._counted = np.repeat(self._weights + 1, sizes - 2)  # where the samples of each of these numbers are
        self._given = {peer: np.zeros_like(self._mass) for peer in sorted(agreement.neighbours)}
        self._taken = {peer: np.zeros_like(self._mass) for peer in self._given}
        self._turn = set(self._given)
        self._missing = dict.fromkeys(self._given, 0)
        self.heard = False

    def run(self) -> Generator[Exchange, Inbox, None]:
        for k in range(self._agreement.exchanges):
            self._give()
            expected = frozenset(peer for peer, missing in self._missing.items() if missing < PATIENCE)
            send = {peer: self._message(peer) for peer in self._given}
            # nobody is further from a neighbour than one exchange, and a neighbour may use few topics
            inbox = yield Exchange(f"scale/{self._phase}/{k % 2}", send, expected, check=self._check)
            for peer in expected:
                self._missing[peer] = 0 if peer in inbox else self._missing[peer] + 1
            for peer in sorted(inbox):
                self._take(peer, inbox[peer])

    def blocks(self) -> dict[Modality, Tensor]:
        """My share of the mass of each modality."""
        return self._by_modality(self._mass, self._sizes.values())

    def constant(self, modality: Modality) -> Tensor:
        """Which features have one value alone, (F,)."""
        assert self._ranges is not None
        mine = self._by_modality(self._ranges, (2 * (size - 2) for size in self._sizes.values()))
        return mine[modality].view(2, -1).sum(0) <= 0

    def _by_modality(self, vector: Vector, sizes: Iterable[int]) -> dict[Modality, Tensor]:
        return dict(zip(self._sizes, torch.split(torch.from_numpy(vector), list(sizes)), strict=True))

    def _give(self) -> None:
        """Put an equal share of the mass on every link where it is my turn."""
        share = self._mass / (1 + len(self._given))
        for peer in self._turn:
            self._given[peer] = self._given[peer] + share
            self._mass = self._mass - share
        self._turn.clear()

    def _message(self, peer: PeerId) -> Message:
        ranges = {} if self._ranges is None else {RANGE: torch.from_numpy(self._ranges)}
        return Message({SUMS: torch.from_numpy(self._given[peer]), **ranges})

    def _check(self, sender: PeerId, message: Message) -> None:
        """Refuse what is no sum over samples, or grew by what is none. Raises SpecMismatch."""
        sizes = {name: tuple(x.shape) for name, x in self._message(sender).tensors.items()}
        check_tensors(sender, message, sizes, dtype=torch.float64, largest=BEYOND)
        total = message.tensors[SUMS].numpy()
        growth = total - self._taken[sender]
        if not self._could_be(total) or not (self._older(growth) or self._could_be(growth)):
            raise SpecMismatch(f"{SUMS} from {sender} could be no sums over samples")
        if bool((growth[self._weights] > self._agreement.agents).any()):
            raise SpecMismatch(f"{SUMS} from {sender} adds more weight than all agents have")

    def _could_be(self, mass: Vector) -> bool:
        """Whether there are no samples without a weight, and no sums without samples."""
        weights, samples = mass[self._weights], mass[self._weights + 1]
        numbers, most = mass[self._numbers], mass[self._counted] * self._largest
        least = 0.0 if self._ranges is None else -most
        counted = (weights >= 0) & (samples >= 0) & (samples <= SAMPLES * weights)
        return bool(counted.all() and ((least <= numbers) & (numbers <= most)).all())

    def _older(self, growth: Vector) -> bool:
        """Whether a message is older than one that was taken, as one that came twice."""
        return bool((growth[self._weights] < 0).any())

    def _take(self, peer: PeerId, message: Message) -> None:
        """Add what is new in a neighbour's sums."""
        self.heard = True
        total = message.tensors[SUMS].numpy()
        growth = total - self._taken[peer]
        if self._older(growth):
            return
        self._taken[peer] = total
        self._mass = self._mass + growth
        if growth.any():
            self._turn.add(peer)
        if self._ranges is not None:
            self._ranges = np.maximum(self._ranges, message.tensors[RANGE].numpy())


def _inputs(agreement: Agreement) -> dict[Modality, Input]:
    """My own inputs of each modality, N = 0 where I have none. Raises ConfigError for no number."""
    data, found = agreement.samples(), dict[Modality, Input]()
    for m, shape in sorted(agreement.shapes.items()):
        found[m] = data.having(m) if m in data.inputs else torch.zeros(0, *shape)
        if not finite(found[m]):
            raise ConfigError(f"the data of {agreement.me}: {m!r} holds a value that is no finite number: leave it out")
    if agreement.classes:
        weights = relative(data.weighed().double())
        found[CLASSES] = (one_hot(data.targets, agreement.classes) * weights[:, None]).float()
    return found


def _some(x: Input) -> Iterator[Tensor]:
    """Some samples at a time, (B, F, steps)."""
    return (rows.reshape(len(rows), rows.shape[1], -1) for rows in parts(x))


def _sums(x: Input, around: Tensor | None = None) -> Tensor:
    """[1, N, Σx] or, ``around`` a mean (F,), [1, N, Σ(x − mean)²] of x (N, F, ...): (2 + F,), float64.

    Every sample counts once, by the mean over its steps.
    """
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    for rows in _some(x):
        values = rows.double() if around is None else (rows.double() - around[:, None]) ** 2
        total += values.mean(2).sum(0)
    return torch.cat([torch.tensor([1.0, len(x)], dtype=torch.float64), total])


def _ranges(inputs: Mapping[Modality, Input]) -> dict[Modality, Tensor]:
    """The largest values of each modality and the negative of its least, (2F,)."""
    found = dict[Modality, Tensor]()
    for m, x in inputs.items():
        found[m] = torch.full((2 * x.shape[1],), NOTHING, dtype=torch.float64)
        for rows in _some(x):
            found[m] = torch.maximum(found[m], torch.cat([rows.amax((0, 2)), -rows.amin((0, 2))]).double())
    return found


def _frequencies(shares: Tensor | None) -> Tensor | None:
    """Shares (C,) that sum to 1; all 0 of no samples, and None of classes that nobody counts."""
    return None if shares is None else shares / max(float(shares.sum()), LEAST)


def _ratio(block: Tensor) -> Tensor:
    """The mean of the sums over the samples, (F,); 0 where there are none."""
    return block[2:] / block[1] if block[1] > 0 else torch.zeros_like(block[2:])


def _samples(block: Tensor, agents: int) -> int:
    return round(float(block[1] / block[0] * agents))


def _scale(agreement: Agreement, m: Modality, known: bool | Tensor, mean: Tensor, deviation: Tensor) -> Scale:
    """None of what nobody has a sample of."""
    if not known:
        return Scale.none()
    # what is divided by a deviation has to stay a number, whoever sent it
    return Scale.given(mean.tolist(), torch.where(deviation < LEAST, 0.0, deviation).tolist(), len(agreement.shapes[m]))


def _numbers(scale: Scale, features: int) -> Tensor:
    """[1, means, deviations] (1 + 2F,), float64; all 0 where there is no scale."""
    if scale.mean is None or scale.deviation is None:
        return torch.zeros(1 + 2 * features, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), scale.mean.flatten(), scale.deviation.flatten()])

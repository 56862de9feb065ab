"""What an agent's log says: a class an event, with its fields, how loud it is, and its sentence.

An event is written as one JSON object a line (``event_log``) under the name of its class, ``BrokerLost`` as
``broker-lost``; an event with a sentence carries its level and the sentence too. So a reader can show events of which
it has no class: a plug-in's own ``class Happened(Event)``, in any file, is logged and shown as those here are.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality, PeerId

LONGEST = 300  # characters of a sentence
NAMED = 64  # members of a list that a sentence names

OF_THE_LINE = ("event", "level", "says")  # what a line has beside the facts, the agent and the time

RoundNumber = Annotated[int, Field(ge=0, lt=1 << 32)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]

_known: dict[str, type["Event"]] = {}  # by the name in the log


class Level(StrEnum):
    """How loud an event is: for the log alone, for the report too, or for the screen as well."""

    DEBUG = "debug"
    INFO = "info"
    NOTICE = "notice"


class Topic(StrEnum):
    """What an event is about."""

    LIFE = "life"
    PEERS = "peers"
    MESSAGES = "messages"
    CHANGE = "change"
    FAULT = "fault"
    OTHER = "other"


class Event(BaseModel):
    """Something that happened to an agent. Subclasses have its facts as fields.

    ``topic`` says what it is about, ``loud`` its level, ``becomes`` what the agent is doing from then on,
    ``template`` its sentence. ``reported`` names the fields that a broker is told (see ``discovery.mqtt``); an event
    without any is not reported.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    topic: ClassVar[Topic] = Topic.OTHER
    loud: ClassVar[Level | None] = None
    becomes: ClassVar[str | None] = None
    template: ClassVar[str] = ""
    reported: ClassVar[tuple[str, ...]] = ()

    agent: PeerId = PeerId("")  # whose log it is in; the log fills these two in
    time: float = Field(0.0, allow_inf_nan=False)  # Unix seconds

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Raises ConfigError for a name that is an event of the package, and for facts whose names are the log's."""
        super().__pydantic_init_subclass__(**kwargs)
        common = Event.model_fields.keys()
        own = cls.model_fields.keys() - common | cls.__annotations__.keys() & common
        if taken := sorted(own & _reserved()):
            raise ConfigError(f"the event {cls.__qualname__}: the log has a {taken[0]!r} of its own; rename that fact")
        other = _known.get(cls.key(), cls)
        if other.__module__ == __name__ and cls.__module__ != __name__:
            raise ConfigError(f"the event {cls.__qualname__} has the name of one of {__name__}: rename it")
        _known[cls.key()] = cls

    @classmethod
    def key(cls) -> str:
        """The name of the class as the log writes it."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @property
    def name(self) -> str:
        """What the log calls this event."""
        return self.key()

    @property
    def level(self) -> Level:
        """How loud it is; an event without a sentence is for the log alone."""
        return self.loud or (Level.INFO if self.sentence else Level.DEBUG)

    @property
    def sentence(self) -> str:
        """What happened, with the agent as its subject: ``lost its neighbour a1``.

        By default ``template`` with the facts put in; empty where there is no more to say than those.
        """
        return self.template and self.template.format_map({name: _said(value) for name, value in self})

    @property
    def state(self) -> str | None:
        """What the agent is doing from then on, where the event changes that."""
        return self.becomes

    @property
    def says(self) -> str:
        """The sentence, no longer than a line of the report."""
        return self.sentence[:LONGEST]

    @property
    def at(self) -> int | None:
        """The round that it is about, where it says so."""
        found = getattr(self, "round", None)
        return found if type(found) is int and found >= 0 else None

    def line(self) -> dict[str, Any]:
        """The event as the log keeps it."""
        facts = self.model_dump(mode="json", exclude={"agent", "time"}, exclude_none=True)
        said = {"level": str(self.level), "says": self.says} if self.says else {}
        return {"event": self.name, "agent": self.agent, "time": self.time, **facts, **said}


def _reserved() -> frozenset[str]:
    """Names that no fact of an event may have: what a line has beside the facts, and what every event can."""
    return frozenset(dir(Event)) | {"event", *Event.model_fields}


def apart(facts: Mapping[str, Any], event: type[Event]) -> dict[str, Any]:
    """Facts of a plug-in to stand beside those of an event, with ``own_`` before the names that are taken."""
    taken = _reserved() | event.model_fields.keys()
    return {f"own_{name}" if name in taken else name: value for name, value in facts.items()}


def read(line: object) -> Event | None:
    """The event that a line of a log holds, of class Other where its own is not known here.

    None where it holds none: something else than an event, or facts of other types than the event's.
    """
    if not isinstance(line, dict) or not isinstance(line.get("event"), str):
        return None
    known = _known.get(line["event"], Other)
    facts = {key: value for key, value in line.items() if known is Other or key not in OF_THE_LINE}
    with contextlib.suppress(ValidationError):
        return known.model_validate(facts)
    if known.__module__ != __name__:  # a plug-in's whose facts JSON does not give back as they were
        with contextlib.suppress(ValidationError):
            return Other.model_validate(line)
    return None


def shipped() -> list[type[Event]]:
    """The events of the package, in the order of this file."""
    return [event for event in _known.values() if event.__module__ == __name__ and event is not Other]


def _said(value: Any) -> Any:
    """A fact in a sentence."""
    return listed(value) if isinstance(value, list) else value


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


class Other(Event):
    """An event of a plug-in whose class is not known to who reads the log; it tells its level and sentence itself."""

    model_config = ConfigDict(frozen=True, strict=False, extra="allow")

    kept_name: str = Field(validation_alias="event", exclude=True)
    kept_level: Any = Field(None, validation_alias="level", exclude=True)
    kept_sentence: str = Field("", validation_alias="says", exclude=True)

    @property
    def name(self) -> str:
        return self.kept_name

    @property
    def level(self) -> Level:
        return next((level for level in Level if level == self.kept_level), Level.DEBUG)

    @property
    def sentence(self) -> str:
        return self.kept_sentence


# an agent's run


class Start(Event):
    """The agent has its model and its data."""

    topic = Topic.LIFE
    becomes = "waiting for peers"

    modalities: list[Modality] = Field([], description="what it senses")
    parameters: Count | None = Field(None, description="of its model")
    samples: Count | None = Field(None, description="training samples")
    rounds: Count | None = Field(None, description="of the run")
    device: str | None = Field(None, description="where it computes")
    pid: Count | None = Field(None, description="its process")


class Resumed(Event):
    """It goes on from a checkpoint, in this round."""

    topic = Topic.LIFE
    becomes = "waiting for peers"
    template = "starts again from its checkpoint of that round"

    round: RoundNumber


class Joined(Event):
    """All neighbours are up, and it takes part from this round on."""

    topic = Topic.CHANGE
    becomes = "running"
    template = "has joined"

    round: RoundNumber
    neighbours: list[PeerId] = []

    @property
    def level(self) -> Level:
        return Level.NOTICE if self.round else Level.DEBUG  # at the beginning all join


class Round(Event):
    """A round is over. A method's own metrics stand beside these keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    topic = Topic.LIFE
    becomes = "running"
    reported = ("round", "loss", "accuracy", "seconds", "alive", "wire_out", "wire_in")

    round: RoundNumber
    loss: float | None = Field(None, description="mean of the training loss over the round's steps")
    accuracy: float | None = Field(
        None, description="or another task's score: on the test set, with the agent's own modalities"
    )
    test_loss: float | None = Field(None, description="likewise")
    validation: float | None = Field(None, description="accuracy or score on the samples that `early_stopping` keeps")
    validation_loss: float | None = Field(None, description="likewise")
    scores: dict[str, float] | None = Field(None, description="what `metrics` of the run file asks for, likewise")
    arriving: Count | None = Field(None, description="samples that arrived, see [streams](../how-to/streams.md)")
    arrived: dict[str, float] | None = Field(
        None, description="score and `loss` on those before the model was trained on them; `shift/…` of their inputs"
    )
    lr: float | None = Field(None, description="learning rate of the round")
    seconds: float = Field(0.0, description="how long the round took")
    exchange: float | None = Field(None, description="the part of it in which the method waited for an exchange")
    memory: dict[str, Count] | None = Field(None, description="bytes in use: `host`, and of the GPU where there is one")
    alive: Count = Field(0, description="neighbours that are present")
    late: Count = Field(0, description="messages so far that arrived after their round")
    sent: dict[PeerId, dict[str, Count]] = Field({}, description="payload in bytes by neighbour and slice")
    wire_out: Count = Field(0, description="bytes sent in the round, headers and heartbeats included")
    wire_in: Count = Field(0, description="bytes received in the round")
    sketch: Any = Field(
        None,
        description="short random projections of the slices `before` and `after` the exchange, for consensus distances",
    )


METRICS = ("loss", "accuracy", "test_loss", "validation", "validation_loss")
"""Those of a round's metrics that every method has."""

SCORE = "test/"
"""Before the name of what ``metrics`` of the run file asks for, among a round's metrics."""

ARRIVING, ARRIVED = "arriving", "arrived/"
"""The number of samples that arrived, and before the name of what was measured on them, likewise."""


def metrics(found: Mapping[str, float]) -> dict[str, Any]:
    """A round's metrics as its facts, with ``own_`` before a method's own whose names a round has already."""
    common: dict[str, Any] = {name: value for name, value in found.items() if name in METRICS}
    for key, prefix in (("scores", SCORE), ("arrived", ARRIVED)):
        if scores := {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}:
            common[key] = scores
    if ARRIVING in found:
        common[ARRIVING] = int(found[ARRIVING])
    own = {name: value for name, value in found.items()
           if name not in (*METRICS, ARRIVING) and not name.startswith((SCORE, ARRIVED))}  # fmt: skip
    return common | apart(own, Round)


class Void(Event):
    """Fewer answers than the method's quorum came: the round is taken back."""

    topic = Topic.MESSAGES
    loud = Level.NOTICE
    template = "takes the round back: {why}"

    round: RoundNumber
    why: str


class End(Event):
    """All rounds are done."""

    topic = Topic.LIFE
    becomes = "done"
    reported = ("round",)

    round: RoundNumber


class Left(Event):
    """It leaves the run early, as `events:` of the run file says."""

    topic = Topic.CHANGE
    becomes = "left"
    loud = Level.NOTICE
    reported = ("round",)
    template = "has left"

    round: RoundNumber


class Stopped(Event):
    """It was asked to stop, and left a checkpoint."""

    topic = Topic.LIFE
    becomes = "stopped"
    template = "was stopped"

    round: RoundNumber


class Failed(Event):
    """It ended with an error."""

    topic = Topic.FAULT
    becomes = "failed"
    template = "failed: {why}"

    why: str


class TaskFailed(Event):
    """A background task failed; the agent goes on."""

    topic = Topic.FAULT
    template = "goes on after a background task failed: {why}"

    why: str


class Placed(Event):
    """A launcher has placed the agent on a host."""

    topic = Topic.LIFE

    host: str
    node: str
    again: bool = Field(description="whether it was elsewhere before")


# peers


class Found(Event):
    """A first sign of a neighbour."""

    topic = Topic.PEERS
    reported = ("round", "peer")
    template = "found its neighbour {peer}"

    round: RoundNumber
    peer: str

    @property
    def level(self) -> Level:
        return Level.INFO if self.round else Level.DEBUG  # at the beginning all find each other


class Lost(Event):
    """A neighbour was silent for `clocks.lost` seconds, or its link ended."""

    topic = Topic.PEERS
    loud = Level.NOTICE
    reported = ("round", "peer")
    template = "lost its neighbour {peer}"

    round: RoundNumber
    peer: str


class Absent(Event):
    """Neighbours that were to join in this round did not come up within `clocks.join` seconds."""

    topic = Topic.PEERS
    loud = Level.NOTICE
    template = "goes on without {peers}, planned to join in that round"

    round: RoundNumber
    peers: list[PeerId]


class Waiting(Event):
    """The coordinator is gone, and is waited for."""

    topic = Topic.PEERS
    loud = Level.NOTICE
    template = "waits for the coordinator {peer}, {seconds:g} s at most"

    round: RoundNumber
    peer: str
    seconds: float

    @property
    def state(self) -> str:
        return f"waiting for {self.peer}"


class Alone(Event):
    """The coordinator did not come back in time: the client trains alone."""

    topic = Topic.PEERS
    loud = Level.NOTICE
    template = "trains on alone, without the coordinator {peer}"

    round: RoundNumber
    peer: str


class BrokerLost(Event):
    """The MQTT broker is gone."""

    topic = Topic.PEERS
    template = "lost the broker: {why}"

    why: str


class BrokerFound(Event):
    """The MQTT broker is there, or back."""

    topic = Topic.PEERS
    template = "found the broker {broker}"

    broker: str
    again: bool = Field(False, description="whether it was lost before")

    @property
    def level(self) -> Level:
        return Level.INFO if self.again else Level.DEBUG


# messages


class Missing(Event):
    """The messages of these neighbours did not arrive in time."""

    topic = Topic.MESSAGES
    template = "had no message from {peers}"

    round: RoundNumber
    peers: list[PeerId]


class Refused(Event):
    """A message was refused; at most ten lines for a peer and kind."""

    topic = Topic.MESSAGES
    loud = Level.NOTICE
    template = "refused a message of {peer}: {why}"

    round: RoundNumber | None = None
    peer: str
    kind: str = Field(description="`malformed`, `refused`, `slow`, `wrong run`, `address` or `presence`")
    why: str


class HandshakeFailed(Event):
    """A connection of something that speaks another protocol, has no key, or says nothing."""

    topic = Topic.MESSAGES
    template = "refused a connection that did not get through the handshake"

    round: RoundNumber


class Blocked(Event):
    """A peer sent too many refused messages, and is not read for so long."""

    topic = Topic.MESSAGES
    template = "does not read {peer} for {seconds:g} s"

    round: RoundNumber
    peer: str
    seconds: float


# changes while running


class ModalitiesChanged(Event):
    """It has these modalities from this round on."""

    topic = Topic.CHANGE
    loud = Level.NOTICE
    reported = ("round", "modalities")

    round: RoundNumber
    modalities: list[Modality]

    @property
    def sentence(self) -> str:
        return f"has {'+'.join(self.modalities[:NAMED])} from now on"


class DataNoted(Event):
    """Its samples are perhaps not read as they are meant."""

    topic = Topic.LIFE
    loud = Level.NOTICE
    template = "says of its data: {why}"

    why: str


class Arrived(Event):
    """It has taken in the samples of a file that appeared in the folder that it watches."""

    topic = Topic.CHANGE

    round: RoundNumber
    file: str
    samples: Count
    score: float | None = Field(None, description="of the task, before the model was trained on them")
    shift: dict[Modality, float] = Field({}, description="how far inputs are from the start's, in standard deviations")

    @property
    def sentence(self) -> str:
        score = "" if self.score is None else f", with a score of {self.score:.3f} before it is trained on them"
        return f"takes in {self.samples} samples of {self.file}{score}"


class ArrivalRefused(Event):
    """It has refused a file that appeared in the folder that it watches, or cannot look there."""

    topic = Topic.CHANGE
    loud = Level.NOTICE
    template = "does not take in {file}: {why}"

    round: RoundNumber
    file: str
    why: str


class DriftDetected(Event):
    """Samples that arrived are others than those before them, as one of `drift` says."""

    topic = Topic.CHANGE
    loud = Level.NOTICE

    round: RoundNumber
    kind: str = Field(description="which of `drift` says so")
    what: str = Field(description="`errors`, or the inputs of a modality")
    value: float
    before: float

    @property
    def sentence(self) -> str:
        return f"sees a drift of its {self.what}: {self.value:.3g}, and {self.before:.3g} before ({self.kind})"


class ScaleAgreed(Event):
    """It agreed with all others on what inputs are scaled by; how many samples that comes from, if it was there.

    ``frequencies`` are those of the classes, where the agents counted them.
    """

    topic = Topic.LIFE

    round: RoundNumber
    samples: dict[Modality, Count] = {}
    frequencies: list[float] | None = None
    scaled: bool = True

    @property
    def sentence(self) -> str:
        counted = ", ".join(f"{count} of {m}" for m, count in list(self.samples.items())[:NAMED])
        by_scale = "scales its inputs as all agents do" + (f", by samples of all: {counted}" if counted else "")
        by_class = "minds how frequent classes are among all agents"
        said = {by_scale: self.scaled, by_class: self.frequencies is not None}
        return " and ".join(sentence for sentence, holds in said.items() if holds)


class SensorFailed(Event):
    """These modalities give no numbers any more."""

    topic = Topic.CHANGE
    loud = Level.NOTICE
    template = "reads no numbers from {modalities}"

    round: RoundNumber
    modalities: list[Modality]


class ChangeAnnounced(Event):
    """It has announced that it will have these modalities from this round on."""

    topic = Topic.CHANGE

    round: RoundNumber
    modalities: list[Modality]

    @property
    def sentence(self) -> str:
        return f"announces {listed(self.modalities) or 'that it leaves'} from that round on"


class ChangeHeard(Event):
    """A peer announced a change."""

    topic = Topic.CHANGE

    round: RoundNumber
    peer: str
    modalities: list[Modality]
    late: bool = Field(description="whether that round is over already")

    @property
    def sentence(self) -> str:
        return f"heard that {self.peer} will have {listed(self.modalities) or 'left'}"


class OrderRefused(Event):
    """What `parse-agent tell` asked for was refused."""

    topic = Topic.CHANGE
    template = "refused an order: {why}"

    round: RoundNumber
    why: str


# faults on purpose


class Fault(Event):
    """A fault of the run file is about to strike the agent's process. The fault's own facts stand beside these keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    topic = Topic.FAULT
    loud = Level.NOTICE
    template = "is struck by a fault of kind {kind}"

    kind: str = Field(description="the fault's name")
    position: Count = Field(description="its place in `faults:`")
    round: RoundNumber
    ends: bool = Field(False, description="whether it kills the process")
    restart: float | None = Field(None, description="seconds after which a killed process is started again")

    @property
    def state(self) -> str:
        return "killed" if self.ends else "stopped by a fault"


class FaultCounts(Event):
    """What was done to its messages on purpose, in the end and before it is killed."""

    topic = Topic.FAULT

    counts: dict[str, Count] = Field(description="messages by kind of fault")

    @property
    def sentence(self) -> str:
        counts = ", ".join(f"{kind} {count}" for kind, count in self.counts.items())
        return f"had this done to its messages on purpose: {counts}"

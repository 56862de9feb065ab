"""The public names of the package, each with the module it lives in: the one table of them.

Type checkers and editors read this file, and so does ``__init__.py`` when a name is first asked for.
"""

from parse_p2p.api import Run, run
from parse_p2p.core.errors import (
    ConfigError,
    DataWarning,
    Interrupted,
    JoinTimeout,
    MalformedFrame,
    P2PError,
    PeerError,
    QuorumLost,
    SpecMismatch,
    TrainingError,
    WireError,
    WrongRun,
)
from parse_p2p.core.events import Event, Level
from parse_p2p.core.message import Fact, Message, Shapes, check_tensors
from parse_p2p.core.mixers.base import Mixer
from parse_p2p.core.mixers.weighted import weighted
from parse_p2p.core.rng import seeded
from parse_p2p.core.slices import (
    Component,
    Group,
    Holder,
    Region,
    Sharing,
    SliceKey,
    both,
    everyone,
    having,
    multimodal,
    nobody,
    same_shape,
    same_type,
    unimodal,
)
from parse_p2p.core.types import Kind, Metrics, Modality, PeerId, Role, TensorMap
from parse_p2p.learning import losses, objective
from parse_p2p.learning.learner import Adjust, Learner, LossTerm, Objective
from parse_p2p.learning.metrics.base import Predictions
from parse_p2p.learning.optimisers.base import Optimiser
from parse_p2p.learning.schedules.base import Schedule
from parse_p2p.methods import federation, gossip
from parse_p2p.methods.base import Check, Exchange, Inbox, Local, Method, Script, Stretch
from parse_p2p.serving.load import load
from parse_p2p.serving.trained import TrainedModel
from parse_p2p.topology.overlay import Plan
from parse_p2p.wire.codecs.base import Codec, tensor_bytes

__version__: str
__all__ = [
    "Adjust",
    "Check",
    "Codec",
    "Component",
    "ConfigError",
    "DataWarning",
    "Event",
    "Exchange",
    "Fact",
    "Group",
    "Holder",
    "Inbox",
    "Interrupted",
    "JoinTimeout",
    "Kind",
    "Learner",
    "Level",
    "Local",
    "LossTerm",
    "MalformedFrame",
    "Message",
    "Method",
    "Metrics",
    "Mixer",
    "Modality",
    "Objective",
    "Optimiser",
    "P2PError",
    "PeerError",
    "PeerId",
    "Plan",
    "Predictions",
    "QuorumLost",
    "Region",
    "Role",
    "Run",
    "Schedule",
    "Script",
    "Shapes",
    "Sharing",
    "SliceKey",
    "SpecMismatch",
    "Stretch",
    "TensorMap",
    "TrainedModel",
    "TrainingError",
    "WireError",
    "WrongRun",
    "both",
    "check_tensors",
    "everyone",
    "federation",
    "gossip",
    "having",
    "load",
    "losses",
    "multimodal",
    "nobody",
    "objective",
    "run",
    "same_shape",
    "same_type",
    "seeded",
    "tensor_bytes",
    "unimodal",
    "weighted",
]

"""What an encoder or a network of one's own is written with.

An encoder is a module with ``build(shape, options) -> torch.nn.Module``, a network one with ``NETWORK``, which is a
``Build``, a weighting one with ``WEIGHTING``, a class derived from ``Weighting``. A run finds an encoder by its name if
it lies in ``encoders/``, a weighting in ``weighting/``, a network in this folder, and all by their dotted names from
anywhere else. Any other module is an encoder too, as ``kind: mypackage.module:Name``.
``Component``, ``Kind`` and ``Modality`` come from ``parse_p2p``.
"""

from parse_p2p.models.base import (
    Build,
    ModelOptions,
    Network,
    Outputs,
    as_buffers,
    initialise,
    key_of,
    module_dict,
    trainable,
)
from parse_p2p.models.encoder import EncoderOptions, trunk
from parse_p2p.models.parameter_buffer import ParameterBuffer, Parts
from parse_p2p.models.weighting.base import Weigher, Weighting

__all__ = [
    "Build",
    "EncoderOptions",
    "ModelOptions",
    "Network",
    "Outputs",
    "ParameterBuffer",
    "Parts",
    "Weigher",
    "Weighting",
    "as_buffers",
    "initialise",
    "key_of",
    "module_dict",
    "trainable",
    "trunk",
]

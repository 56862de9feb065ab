"""Which samples an agent keeps while more arrive: a file of this folder with such a class as ``KEEPING`` is a way.

Samples are chosen by their places alone, so that what was kept can be found again without opening what was not.
"""

from typing import ClassVar

import torch
from torch import Tensor

from parse_p2p.core import plugins
from parse_p2p.core.plugin_options import ByKind


class Keeping(ByKind):
    """``keep`` of a source that is watched: the options of one way to choose."""

    plugin_kind: ClassVar = plugins.KEEPINGS

    def kept(self, held: int, seen: int, count: int, draw: torch.Generator) -> Tensor:
        """The places of the samples to keep, int64, of ``held`` samples followed by ``count`` new ones.

        ``seen`` are all before the new ones, kept or not; what is drawn is drawn from ``draw``.
        """
        raise NotImplementedError

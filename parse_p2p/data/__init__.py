"""What a data set of one's own is written with.

A data set is a module with ``Options``, a pydantic model, and ``open(options, seed) -> Dataset``. A run finds it by
its name if it lies in this folder, or by its dotted name from anywhere else.
"""

from parse_p2p.data.base import Batch, Dataset, Rows, packaged_file, split, split_groups, standardise
from parse_p2p.data.kinds import Embedding, Tokens, TokenShape
from parse_p2p.data.sources.python import samples

__all__ = [
    "Batch",
    "Dataset",
    "Embedding",
    "Rows",
    "TokenShape",
    "Tokens",
    "packaged_file",
    "samples",
    "split",
    "split_groups",
    "standardise",
]

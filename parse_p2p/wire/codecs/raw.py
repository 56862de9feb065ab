"""The tensor's own bytes: nothing is lost and nothing is copied."""

import torch
from torch import Tensor

from parse_p2p.wire.codecs.base import Codec, tensor_bytes


def decode(data: memoryview, count: int) -> Tensor:
    return torch.frombuffer(data, dtype=torch.float32, count=count)


CODEC = Codec("raw", True, tensor_bytes, lambda count: 4 * count, decode)

"""Half the bytes: float32 rounded to bfloat16 (8 bits of mantissa, the full range of exponents)."""

import torch
from torch import Tensor

from parse_p2p.wire.codecs.base import Codec, tensor_bytes


def encode(tensor: Tensor) -> memoryview:
    return tensor_bytes(tensor.to(torch.bfloat16))


def decode(data: memoryview, count: int) -> Tensor:
    return torch.frombuffer(data, dtype=torch.bfloat16, count=count).float()


CODEC = Codec("bf16", False, encode, lambda count: 2 * count, decode)

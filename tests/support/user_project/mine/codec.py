"""Half the bytes: a number is a whole one from −32767 to 32767 times the largest of its tensor."""

import torch
from torch import Tensor

from parse_p2p import Codec, MalformedFrame, tensor_bytes

STEPS = 32767


def encode(tensor: Tensor) -> memoryview:
    if not tensor.numel():
        return memoryview(b"")
    scale = tensor.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    whole = (tensor / scale * STEPS).round().to(torch.int16)
    return memoryview(bytes(tensor_bytes(scale)) + bytes(tensor_bytes(whole)))


def length(count: int) -> int:
    return 4 + 2 * count if count else 0


def decode(data: memoryview, count: int) -> Tensor:
    if not count:
        return torch.empty(0)
    if len(data) != length(count):
        raise MalformedFrame(f"{count} numbers take {length(count)} bytes, and {len(data)} came")
    scale = torch.frombuffer(bytearray(data[:4]), dtype=torch.float32)
    return scale * torch.frombuffer(bytearray(data[4:]), dtype=torch.int16).float() / STEPS


CODEC = Codec("whole", False, encode, length, decode)

"""Every codec that is found: its length, what comes back, and that nothing is hidden by it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parse_p2p.core import plugins
from parse_p2p.core.message import Message
from parse_p2p.wire.framing import Assembler, Header, pack, unpack

NAMES = plugins.known(plugins.CODECS)
LOSS = 0.1  # of the norm, for normal numbers; a codec that loses more needs a method that feeds its errors back


@pytest.fixture(params=NAMES)
def codec(request):
    return plugins.load(plugins.CODECS, request.param)


def there_and_back(codec, tensor):
    return codec.decode(memoryview(bytearray(codec.encode(tensor))), tensor.numel())


def normal(count, scale=1.0):
    return scale * torch.randn(count, generator=torch.Generator().manual_seed(count))


def test_the_shipped_codecs_are_found():
    assert {"raw", "bf16"} <= set(NAMES)


def test_a_codec_is_found_under_its_own_name(codec):
    assert plugins.load(plugins.CODECS, codec.name) is codec


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 10_001])
def test_the_length_is_known_before(codec, count):
    data = codec.encode(normal(count))
    assert isinstance(data, memoryview) and len(data) == data.nbytes == codec.length(count)


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 10_001])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_what_comes_back(codec, count, scale):
    tensor = normal(count, scale)
    found = there_and_back(codec, tensor)
    assert found.shape == (count,) and found.dtype == torch.float32
    if codec.lossless:
        assert torch.equal(found, tensor)
    else:
        assert (found - tensor).norm() <= LOSS * tensor.norm()


def test_no_numbers_are_no_bytes_and_arrive(codec):
    assert codec.length(0) == 0 and len(codec.encode(torch.empty(0))) == 0
    [packed] = pack(Header("run", "a0", 0, "x"), Message({"none": torch.empty(0), "one": torch.ones(1)}), codec)
    message = Assembler([codec]).add(*unpack(packed))
    assert message.tensors["none"].shape == (0,) and message.tensors["one"].tolist() == pytest.approx([1], abs=LOSS)


def test_doubles_travel_as_they_are_beside_what_the_codec_makes_of_the_rest(codec):
    double = normal(300).double() + 1e-13
    message = Message({"double": double, "single": normal(5)})
    [packed] = pack(Header("run", "a0", 0, "x"), message, codec)
    assert [len(frame) for frame in packed[1:]] == [8 * 300, codec.length(5)]
    found = Assembler([codec]).add(*unpack(packed)).tensors
    assert found["double"].dtype == torch.float64 and torch.equal(found["double"], double)
    assert found["single"].dtype == torch.float32
    assert "double" not in NAMES, "no run is set to it"


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_stays_so(codec, odd):
    """A receiver must be able to refuse it."""
    tensor = normal(300)
    tensor[[0, 7, 299]] = odd
    found = there_and_back(codec, tensor)
    assert torch.equal(found[[0, 7, 299]].isnan(), tensor[[0, 7, 299]].isnan())
    assert not found[[0, 7, 299]].isfinite().any()
    if math.isinf(odd):
        assert found[[0, 7, 299]].tolist() == 3 * [odd]


def test_encoding_changes_nothing_and_is_repeatable(codec):
    tensor = normal(1000)
    before = tensor.clone()
    assert bytes(codec.encode(tensor)) == bytes(codec.encode(tensor.clone()))
    assert torch.equal(tensor, before)


def test_what_lies_scattered_in_memory_is_gathered(codec):
    tensor = normal(1000)[::3]
    assert bytes(codec.encode(tensor)) == bytes(codec.encode(tensor.clone()))


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_lossless_is_lossless_for_all_bits(numbers):
    tensor = torch.tensor(numbers, dtype=torch.float32)
    for codec in (plugins.load(plugins.CODECS, name) for name in NAMES):
        if codec.lossless:
            assert torch.equal(there_and_back(codec, tensor).view(torch.int32), tensor.view(torch.int32))


@settings(deadline=None)
@given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32, allow_subnormal=False), min_size=1, max_size=50))
def test_bf16_is_within_half_a_unit_of_its_last_place(numbers):
    tensor = torch.tensor(numbers, dtype=torch.float32)
    found = there_and_back(plugins.load(plugins.CODECS, "bf16"), tensor)
    assert ((found - tensor).abs() <= tensor.abs() * 2.0**-8).all()

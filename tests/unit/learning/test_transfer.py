"""What goes to the host is a copy that nothing changes afterwards; on a CPU what comes to the device is as it was."""

import pytest
import torch
from plans import finished, learner, plan

from parse_p2p.core.message import Message
from parse_p2p.learning import losses
from parse_p2p.learning.transfer import to_device, to_host
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.framing import Header, pack

TENSORS = {
    "flat": torch.arange(6.0),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "every other": torch.arange(12.0)[::2],
    "double": torch.arange(3, dtype=torch.float64),
    "count": torch.tensor(7),
    "yes": torch.tensor(True),
    "none": torch.zeros(0, 4),
    "parameter": torch.nn.Parameter(torch.ones(3)),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_copy_on_the_host_is_equal_and_a_tensor_of_its_own(name):
    tensor = TENSORS[name]
    copy = to_host({name: tensor})[name]
    assert torch.equal(copy, tensor) and copy.dtype == tensor.dtype and not copy.requires_grad
    assert not copy.numel() or copy.data_ptr() != tensor.data_ptr()


def test_tensors_come_to_the_device_they_are_on_without_a_copy():
    came = to_device(TENSORS, torch.device("cpu"))
    assert all(came[name] is tensor for name, tensor in TENSORS.items())


def test_frames_that_are_on_their_way_do_not_change_while_the_agent_trains_on():
    agent = learner()
    message = Message(agent.cut(agent.buffer.regions))
    frames = [frame for packed in pack(Header("run", "a0", 0, "slices"), message, raw.CODEC) for frame in packed]
    before = [bytes(frame) for frame in frames]
    del message  # the wire alone holds the memory now
    for round in range(2):
        agent.begin(round, 4)
        agent.train(losses.task)
        agent.cut(agent.buffer.regions)
        agent.state()
    assert [bytes(frame) for frame in frames] == before


def test_a_state_is_that_of_the_moment_it_was_taken():
    agent_states, _ = finished(plan(method="harmony"), 2)
    for agent_state in agent_states.values():
        state = agent_state.state()
        before = {name: tensor.clone() for name, tensor in state.items()}
        agent_state.learner.begin(2, 4)
        agent_state.learner.train(losses.task)
        assert all(torch.equal(before[name], tensor) for name, tensor in state.items())
        assert not torch.equal(agent_state.state()["parameters"], before["parameters"])

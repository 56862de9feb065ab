"""What TensorBoard would read."""

import struct

import plans
import pytest
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.cli import app
from parse_p2p.lab.commands.tensorboard import export
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder


def scalars(folder):
    """By tag, (step, value) of every record of a TFRecord file: length, its checksum, the record, its checksum."""
    (file,) = folder.iterdir()
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += 16 + length
    return found


def test_every_round_of_every_agent_is_there(tmp_path):
    accuracy = {}
    plan = plans.plan(rounds=2)
    record(plan, RunFolder(tmp_path / "run"),
           lambda round, scores, *rest: accuracy.update({round: scores["a0"]["accuracy"]}))  # fmt: skip
    for _ in range(2):  # again, and nothing is there twice
        export(RunFolder(tmp_path / "run"), tmp_path / "board")
    assert len(list((tmp_path / "board").iterdir())) == 7
    found = scalars(tmp_path / "board" / f"a0 ({plan.kind('a0')})")
    assert found["accuracy"] == [(step, pytest.approx(accuracy[step - 1])) for step in (1, 2)]
    sent = [points[0] for tag, points in found.items() if tag.startswith("bytes/")]
    assert sum(value for step, value in sent if step == 1) == plan.overlays(0).plan("a0").payload()


def test_where_there_is_no_run_it_says_so(tmp_path):
    failed = CliRunner().invoke(app, ["tensorboard", str(tmp_path)])
    assert isinstance(failed.exception, ConfigError) and "there is no run in" in str(failed.exception)

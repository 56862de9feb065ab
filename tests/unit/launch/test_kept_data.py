"""What is kept of an agent's data comes back to the last bit, is written once, and is refused where it is broken."""

import json

import numpy as np
import plans
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Scale
from parse_p2p.launch import kept_data
from parse_p2p.launch.kept_data import AppliedScale, KeptData, scale_of
from parse_p2p.launch.run_folder import RunFolder

SHAPES = st.sampled_from([(3,), (2, 5), (1, 2, 2)])
NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(data=st.data(), shape=SHAPES)
def test_a_scale_comes_back_from_json_to_the_last_bit(data, shape):
    x = torch.from_numpy(data.draw(arrays(np.float32, (4, *shape), elements=NUMBERS)))
    scale = Scale.of(x)
    kept = KeptData(fingerprint=None, scale={"audio": AppliedScale.of(scale)})
    again = KeptData.model_validate(json.loads(json.dumps(kept.model_dump(mode="json"))))
    back = scale_of(again.scale["audio"], shape)
    assert torch.equal(back.mean, scale.mean) and torch.equal(back.deviation, scale.deviation)
    assert torch.equal(back(x), scale(x))


def test_what_is_left_as_it_is_has_no_numbers():
    assert AppliedScale.of(Scale.none()) is None
    x = torch.ones(2, 3)
    assert scale_of(None, (3,))(x) is x


def test_too_few_numbers_are_no_scale():
    with pytest.raises(ValueError, match="1 numbers for 3"):
        scale_of(AppliedScale(mean=(0.0,), deviation=(1.0,)), (3,))


def test_it_is_written_once_and_kept(tmp_path):
    path, asked = tmp_path / "agents/a0/data.json", []

    def scales():
        asked.append(1)
        return {"audio": Scale.given([1.0], [2.0], 1)}

    first = kept_data.keep(path, "0a", scales)
    assert first.fingerprint == "0a" and first.scale["audio"] == AppliedScale(mean=(1.0,), deviation=(2.0,))
    assert kept_data.keep(path, "other", scales) == first and asked == [1]
    assert [each.name for each in path.parent.iterdir()] == ["data.json"]


BROKEN = ["", "{", "[]", "{}", "[" * 10**5, '{"fingerprint": 1, "scale": {}}',
          '{"fingerprint": null, "scale": {"a": 1}}',
          '{"fingerprint": null, "scale": {"a": {"mean": [NaN], "deviation": [1]}}}',
          '{"fingerprint": null, "scale": {"a": {"mean": [1], "deviation": [-1]}}}',
          '{"fingerprint": null, "scale": {"a": {"mean": [1, 2], "deviation": [1]}}}',
          '{"fingerprint": null, "scale": {"a": {"mean": [], "deviation": []}}}',
          '{"fingerprint": null, "scale": {}, "more": 1}']  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_broken_is_one_sentence(tmp_path, text):
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"data\.json cannot be read") as refused:
        kept_data.keep(path, None, dict)
    assert "\n" not in str(refused.value) and path.read_text() == text


def test_a_run_keeps_what_its_agents_inputs_were_scaled_by(tmp_path):
    plan, folder = plans.plan({"audio": 2}), RunFolder(tmp_path)
    folder.keep_data("a0", plan.data)
    kept = kept_data.read(folder.data("a0"))
    assert kept.fingerprint is None and set(kept.scale) == {"audio", "motion"}
    wanted = plan.data.scales("a0")["audio"]
    assert torch.equal(scale_of(kept.scale["audio"], (16,)).mean, wanted.mean)

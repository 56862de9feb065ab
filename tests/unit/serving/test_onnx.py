"""The ONNX graph says what the model says: of raw samples, of any number of them, for every network."""

import numpy as np
import pytest
import torch
from trained import NETWORKS, asked, recorded

import parse_p2p
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.serving import onnx

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def test_there_is_a_run_for_every_network():
    assert set(NETWORKS) == set(plugins.known(plugins.NETWORKS))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_graph_of_every_network_says_what_the_network_says(tmp_path, network):
    plan, agents = recorded(tmp_path, **NETWORKS[network], rounds=1)
    for me in list(agents)[::2] + list(agents)[-1:]:  # of either type, and of a centralised method the coordinator
        model, x = parse_p2p.load(tmp_path, me), asked(plan, me)
        onnx.write(model, tmp_path)
        session = runtime.InferenceSession(tmp_path / onnx.FILE)
        for rows in (1, len(next(iter(x.values())))):
            few = {m: each[:rows].numpy() for m, each in x.items()}
            (said,) = session.run([model.task.output], few)
            assert np.allclose(said, model.predict(few), rtol=0, atol=1e-6), me


@pytest.mark.parametrize("layout", ["vector", "image"])
def test_a_graph_of_trunks_with_norms_says_what_they_say(tmp_path, layout):
    samples = {"views": "left-right", "layout": layout}
    kinds = {"dataset": "digits4", "data": samples, "encoder": {"norm": "layer"}, "partition": {"kind": "dirichlet"}}
    plan, _ = recorded(tmp_path, {"left": 1, "left+right": 1}, **kinds, rounds=1)
    model, x = parse_p2p.load(tmp_path, "a1"), {m: each[:40].numpy() for m, each in asked(plan, "a1").items()}
    onnx.write(model, tmp_path)
    (said,) = runtime.InferenceSession(tmp_path / onnx.FILE).run([model.task.output], x)
    assert np.allclose(said, model.predict(x), rtol=0, atol=1e-5)


def test_a_network_that_a_graph_does_not_hold_is_refused(tmp_path, monkeypatch):
    recorded(tmp_path, mix={"audio": 2})
    model = parse_p2p.load(tmp_path, "a0")
    plain = model.network.forward

    def by_number_of_rows(inputs):
        outputs = plain(inputs)
        return outputs if len(inputs["audio"]) == onnx.ROWS[0] else plain({"audio": -inputs["audio"]})

    monkeypatch.setattr(model.network, "forward", by_number_of_rows)
    with pytest.raises(ConfigError, match="the ONNX graph of the network 'fission' says something else"):
        onnx.write(model, tmp_path)

    def without_a_counterpart(inputs):
        return plain({"audio": torch.linalg.svd(inputs["audio"])[0] @ inputs["audio"]})

    monkeypatch.setattr(model.network, "forward", without_a_counterpart)
    with pytest.raises(ConfigError, match="the network 'fission' has no ONNX graph"):
        onnx.write(model, tmp_path)
    assert not list(tmp_path.glob("*.onnx*"))

"""Runs whose samples stay in their files end as those that read them whole, to the last bit."""

import os
import shutil

import numpy as np
import plans
import pytest
import running

from parse_p2p.config.run_file import OWN
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.sources import npy
from parse_p2p.lab.analysis.slice_analysis import View
from parse_p2p.lab.experiments.recorded_simulation import record
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.simulator import simulate
from parse_p2p.serving import exported
from parse_p2p.serving.evaluation import evaluate
from parse_p2p.serving.load import load

pytestmark = pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")

ROWS = 120
MIX = {"vector": 1, "series+photo": 1, "vector+series+photo": 1}
OPTIONS = {"weight": "w", "layout": {"series": "channels-last"}}


def site(folder, seed=0, rows=ROWS, gaps=True):
    """Vectors, series and pictures of three classes; some samples lack the vector or the series."""
    rng, y = np.random.default_rng(seed), np.arange(rows) % 3
    vector = 2 * y[:, None] + rng.normal(5, 3, (rows, 4))
    series = (y[:, None, None] + rng.normal(size=(rows, 9, 2))).astype(np.float32)
    photo = (60 * y[:, None, None, None] + rng.integers(0, 99, (rows, 8, 9, 3))).astype(np.uint8)
    if gaps:
        vector[::11], series[5::13] = np.nan, np.nan
    arrays = {"vector": vector, "series": series, "photo": photo, "y": y, "groups": np.arange(rows) // 8,
              "w": rng.uniform(0.1, 3, rows)}  # fmt: skip
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def planned(folder, lazy, mix=MIX, **changes):
    data = {**OPTIONS, "path": str(folder), "lazy": lazy}
    return plans.plan(mix, **{"dataset": "npy", "data": data, "rounds": 2, "graph": "complete"} | changes)


def scaled_by(scale):
    shapes = {"vector": [4], "series": [2, 9], "photo": [3, 8, 9]}
    kinds = {m: {"kind": m.replace("photo", "image"), "shape": shape, "scale": scale} for m, shape in shapes.items()}
    return {"modalities": kinds, "classes": ["0", "1", "2"]}


KINDS = {
    "every class": {},
    "groups": {"test_by": "group", "partition": {"kind": "group"}},
    "own scales": {"data_schema": scaled_by("own"), "partition": {"kind": "dirichlet"}},
    "unscaled": {"data_schema": scaled_by("none")},
    "early stopping": {"early_stopping": {"validation": 0.3}, "train": {"batch": 8, "class_weights": "balanced"}},
    "broken": {"faults": [{"kind": "sensor", "agents": ["a2"], "modality": "photo", "round": 1}]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_as_one_that_reads_everything(tmp_path, kind):
    folder, ended = site(tmp_path / "site"), []
    for lazy in (True, False):
        plan = planned(folder, lazy, **KINDS[kind])
        ended.append((plan, *plans.finished(plan)))
    (lazily, ours, scores), (whole, theirs, expected) = ended
    for p in ours.values():
        kept = [x for data in (p.learner.data, p.learner.test) for x in data.inputs.values()]
        assert all(isinstance(x, LazyInput) for x in kept) or (kind == "broken" and p.me == "a2")
    assert plans.differing(ours, theirs) == [] and scores == expected
    assert lazily.run.fingerprint == whole.run.fingerprint
    for me in ours:
        assert ours[me].learner.evaluate() == theirs[me].learner.evaluate()
        assert ours[me].learner.branch_accuracy() == theirs[me].learner.branch_accuracy()


@pytest.mark.parametrize("method", ["fedcmi", "creamfl"])
def test_methods_with_public_samples_do_too(tmp_path, method):
    folder, mix = site(tmp_path / "site", rows=60, gaps=False), {"vector": 1, "series+photo": 1}
    (ours, scores), (theirs, expected) = (
        plans.finished(planned(folder, lazy, mix, method=method)) for lazy in (True, False)
    )
    assert plans.differing(ours, theirs) == [] and scores == expected


@pytest.mark.parametrize("scale", ["own", "all"])
def test_agents_with_sources_of_their_own_do_too(tmp_path, scale):
    for k, me in enumerate(("a0", "a1", "test")):
        site(tmp_path / me, seed=k, rows=60)
    entries = [
        {"id": "a0", "modalities": ["vector"]},
        {"id": "a1", "modalities": ["vector", "photo"], "test_data": {"path": str(tmp_path / "test")}},
    ]
    ended = []
    for lazy in (True, False):
        data = {**OPTIONS, "path": str(tmp_path / "{id}"), "lazy": lazy}
        plan = plans.plan(agents=entries, dataset=OWN, data=data, data_schema=scaled_by(scale), rounds=2)
        ended.append((*plans.finished(plan), [plan.data.own_fingerprint(me) for me in plan.peers]))
    (ours, *found), (theirs, *expected) = ended
    assert plans.differing(ours, theirs) == [] and found == expected
    assert all(isinstance(x, LazyInput) for p in ours.values() for x in p.learner.test.inputs.values())


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path):
    folder = site(tmp_path / "site")
    whole, _ = plans.finished(planned(folder, False, rounds=3))
    first, _ = plans.finished(planned(folder, True, rounds=3), rounds=1)
    plan = planned(folder, True, rounds=3)
    second = plan.agent_states()
    for p in second:
        p.restore(first[p.me].state())
    simulate(second, 3, start=1)
    assert plans.differing(whole, {p.me: p for p in second}) == []


def test_models_and_what_is_said_of_them_are_the_same(tmp_path):
    folder, said, written = site(tmp_path / "site"), [], []
    for lazy in (True, False):
        plan, out = planned(folder, lazy), tmp_path / f"run-{lazy}"
        agents = {p.me: p.learner for p in record(plan, RunFolder(out))}
        model = load(out, "a2")
        samples = npy.open(npy.Options(path=folder, lazy=lazy, **OPTIONS), 0)
        exported.write(model, exported.fresh(tmp_path / f"exported-{lazy}"))
        written.append({f.name: f.read_bytes() for f in (tmp_path / f"exported-{lazy}").glob("*.safetensors")})
        answers = model.predict({"vector": np.load(folder / "vector.npy")[1:9].astype(np.float32)})
        view = View(agents["a2"], plan.kind("a2"), 0)
        trunks = {m: values.tolist() for m, values in view.trunks(view.learner.test).items()}
        said.append([evaluate(model, samples, "mine"), answers.tolist(), trunks, str(view.trained_latents)])
    assert said[0] == said[1] and written[0] == written[1] and written[0]


def test_more_rows_than_a_batch_are_never_held(tmp_path, monkeypatch):
    folder, counts, read = site(tmp_path / "site", gaps=False), [], npy.NpyReader.read

    def counting(reader, rows):
        counts.append(len(rows))
        return read(reader, rows)

    monkeypatch.setattr(npy.NpyReader, "read", counting)
    monkeypatch.setattr("parse_p2p.data.lazy.PIECE", 4 * 3 * 8 * 9 * 5)  # five pictures
    monkeypatch.setattr("parse_p2p.learning.learner.EVALUATION_BATCH", 10)
    for m in ("vector", "series"):
        (folder / f"{m}.npy").unlink()
    data = {"weight": "w", "path": str(folder), "lazy": True}
    ended, _ = plans.finished(planned(folder, True, {"photo": 2}, data=data, train={"batch": 7}))
    ended["a0"].learner.evaluate(), ended["a0"].learner.branch_accuracy()
    assert len(counts) > 100 and max(counts) == 10


def test_a_file_that_is_cut_short_between_rounds_ends_the_run_in_a_sentence(tmp_path):
    folder = site(tmp_path / "site")

    def cut(round, metrics, ledger):
        os.truncate(folder / "photo.npy", 200)

    with pytest.raises(
        ConfigError, match=r"^array 'photo' of .*site cannot be read \(it was cut short\); put back the"
    ):
        plans.finished(planned(folder, True), watch=cut)


def test_parse_agent_says_so_with_its_exit_code_and_resumes(tmp_path):
    folder, out = site(tmp_path / "site"), tmp_path / "run"
    shutil.copytree(folder, tmp_path / "kept")
    plan = planned(folder, True, {"vector": 2}, rounds=4, faults=[{"kind": "delay", "seconds": 0.1}])
    with running.started(running.write(plan, tmp_path), out, "--no-alone") as process:
        running.until_round(out, "a0", 0)
        os.truncate(folder / "vector.npy", 1000)
        code, printed = running.ended(process)
    assert code == 2 and "Traceback" not in printed
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: array 'vector' of {folder} cannot be read (it was cut short); put back the file")
    shutil.copytree(tmp_path / "kept", folder, dirs_exist_ok=True)
    code, printed = running.everything(tmp_path / "world.yaml", out, "--resume")
    assert code == 0, printed
    expected, _ = plans.finished(planned(folder, False, {"vector": 2}, rounds=4))
    assert running.differing(running.saved(plan, out), running.states(expected.values())) == []

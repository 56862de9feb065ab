"""The examples of the docs work: the method of how-to/method.md is DSGD-Task to the last bit, the notebook runs."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import voices
import yaml
from paths import ROOT
from plans import dealt, plan

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.lab.experiments import experiment
from parse_p2p.models.encoder import EncoderOptions, trunk
from parse_p2p.runtime.simulator import simulate
from parse_p2p.topology import generators

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
EXPERIMENT = {
    "base": str(ROOT / "topologies" / "ring.yaml"),
    "axes": {"method": ["parse", "local"]},
    "baseline": "parse",
}
RUN = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 4, "motion": 4}}}


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


YAML = [pytest.param(text, id=f"{page.stem}-{i}") for page in PAGES for i, text in enumerate(blocks(page, "yaml"))]


def trained(**changes):
    built = plan(**changes)
    agent_states = built.agent_states()
    simulate(agent_states, built.run.rounds)
    return {p.me: p.learner.buffer.values for p in agent_states}


def written(tmp_path, monkeypatch, name, code):
    """A module of a package outside ours."""
    (tmp_path / "examples").mkdir(exist_ok=True)
    (tmp_path / "examples" / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return f"examples.{name}"


def test_the_example_method_is_dsgd_task(tmp_path, monkeypatch):
    [code] = blocks(DOCS / "how-to" / "method.md", "python")
    example = trained(method=written(tmp_path, monkeypatch, "dsgd", code))
    shipped = trained(method="dsgd-task", options={"orthogonal": 0.0, "synergy": "joint"})
    assert all(torch.equal(example[me], shipped[me]) for me in shipped)


def test_the_optimiser_schedule_and_metric_of_the_training_page_are_used(tmp_path, monkeypatch):
    numbers, *codes = blocks(DOCS / "how-to" / "training.md", "python")
    exec(compile(numbers, "training.md", "exec"), found := {})
    assert -5 < found["air"].score < 1 and found["air"].task.name == "regression"
    names = ("optimiser", "schedule", "metric", "sure")
    optimiser, schedule, metric, sure = (
        written(tmp_path, monkeypatch, *each) for each in zip(names, codes, strict=True)
    )
    train = {"optimiser": optimiser, "factor": 0.25, "schedule": schedule}
    agent = (
        plan({"audio+motion": 2}, train=train, metrics=[metric], model={"weighting": sure}).agent_states()[0].learner
    )
    weighing = agent.outputs(agent.test)
    assert not torch.equal(agent.model.prediction(weighing), weighing.logits())
    agent.begin(1, 4)
    assert agent.rate == agent.options.lr / 2 and 1 / 16 < agent.evaluate()["test/confidence"] < 1


def test_the_examples_in_python_run_from_the_first_line_to_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks(DOCS / "how-to" / "notebook.md", "python"):
        exec(compile(code, "notebook.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.svg", "overlays.svg"}
    assert names["run"].accuracy > 0.6 and round(names["run"].gap, 3) == 0.305
    assert set(names["accuracy"]) == {"local", "dsgd-task", "parse"} and len(names["last"]) == 8
    assert "'smell', which the data set 'htad' does not hold" in capsys.readouterr().out


def test_the_example_of_the_page_on_streams_shows_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = DOCS / "how-to" / "streams.md"
    [code] = blocks(page, "python")
    exec(compile(code, "streams.md", "exec"), {})
    assert f"```\n{capsys.readouterr().out}```" in page.read_text(encoding="utf-8")
    assert '"event": "drift-detected"' in Path("watched/agents/north/events.jsonl").read_text()


def test_the_examples_of_the_page_on_trained_agents_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks(DOCS / "how-to" / "use-a-model.md", "python"):
        exec(compile(code, "use-a-model.md", "exec"), names)
    model = names["model"]
    assert model.modalities == {"audio": (36,), "motion": (16,)}
    assert model.predict(names["x"]).shape == (8, 7) and set(model.labels(names["x"])) <= set(model.classes)


def test_the_five_lines_of_the_readme_run(capsys):
    [code] = blocks(ROOT / "README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    accuracy, sent, gap = map(float, capsys.readouterr().out.split())
    assert accuracy > 0.6 and sent > 1e6 and round(gap, 3) == 0.305


def test_the_arrays_of_the_data_page_can_be_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saves, *_ = blocks(DOCS / "how-to" / "data.md", "python")
    exec(compile(saves, "data.md", "exec"), {})
    built = plan(dataset="npz", data={"path": "mine.npz"}, partition={"kind": "group"})
    assert dealt(built).train.modalities == ("audio", "motion") and dealt(built).train.classes == 4
    assert {len(np.unique(dealt(built).train.groups[rows])) for rows in dealt(built).shares.values()} >= {1}


def test_the_files_of_the_data_page_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *saves, recordings, _ = blocks(DOCS / "how-to" / "data.md", "python")
    for code in saves:
        exec(compile(code, "data.md", "exec"), {})
    Path("recordings.py").write_text(recordings, encoding="utf-8")
    runs = [yaml.safe_load(text) for text in blocks(DOCS / "how-to" / "data.md", "yaml")]
    opened = {}
    for run in [{"dataset": "npy", "data": {"path": "site"}}, *(run for run in runs if "dataset" in run)]:
        module = plugins.module(plugins.DATA, run["dataset"])
        opened[run["dataset"]] = module.open(module.Options(**run["data"]), seed=0)
    assert {name: (dataset.class_names, len(dataset)) for name, dataset in opened.items()} == {
        "npy": (("fall", "rest", "run", "walk"), 400),
        "npz": (("rest", "walk", "run", "fall"), 400),
        "csv": (("rest", "walk"), 400),
        "media": (("cat", "dog"), 40),
        "python": (("rest", "walk"), 200),
    }
    assert opened["csv"].shape("motion") == (3, 2) and opened["csv"].shape("audio") == (2,)
    assert opened["media"].shape("photo") == (1, 32, 32) and opened["media"].shape("sound") == (1, 4000)


def test_the_data_set_of_the_data_page_is_one(tmp_path, monkeypatch):
    *_, code = blocks(DOCS / "how-to" / "data.md", "python")
    module = plugins.module(plugins.DATA, written(tmp_path, monkeypatch, "views", code))
    once, again = (module.open(module.Options(samples=50), seed=3) for _ in range(2))
    assert once.modalities == ("left", "right") and len(once) == 50 and once.shape("left") == (8,)
    assert torch.equal(once.inputs["left"], again.inputs["left"])


def test_the_texts_of_the_page_on_texts_are_learnt(tmp_path, monkeypatch):
    for name in ("tokenizers", "pyarrow"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    [code] = blocks(DOCS / "how-to" / "text.md", "python")
    exec(compile(code, "text.md", "exec"), names := {})
    assert names["run"].accuracy > 0.9 and names["said"] == ["liked", "disliked"]


def test_the_encoder_and_the_codec_of_the_network_page_are_such(tmp_path, monkeypatch):
    encoder_code, codec_code, _ = blocks(DOCS / "how-to" / "network.md", "python")
    flat = trunk((3, 5), EncoderOptions(kind=written(tmp_path, monkeypatch, "flat", encoder_code), width=7))
    assert flat(torch.zeros(2, 3, 5)).shape == (2, 7)
    fp16 = plugins.load(plugins.CODECS, written(tmp_path, monkeypatch, "fp16", codec_code))
    sent = torch.tensor([0.5, -2.0, 1e-3])
    data = fp16.encode(sent)
    assert len(data) == fp16.length(3) and torch.allclose(fp16.decode(data, 3), sent, rtol=1e-3)


def test_the_module_of_the_page_on_own_models_is_an_encoder(tmp_path, monkeypatch):
    page = DOCS / "how-to" / "own-model.md"
    code, packaged = blocks(page, "python")
    assert packaged.endswith(inspect.getsource(voices.Voice)), "what scripts/voices.py measures is what is shown"
    assert f'weights: "{voices.WEIGHTS}"' in page.read_text(encoding="utf-8")
    first, second, *_ = (yaml.safe_load(text)["model"] for text in blocks(page, "yaml"))
    kind = f"{written(tmp_path, monkeypatch, 'spectral', code)}:Spectral"
    assert first["encoder"]["kind"].endswith(":Spectral") and second["encoders"]["audio"]["kind"] == "torch.nn:Flatten"
    encoder = trunk((3, 20), EncoderOptions(kind=kind, args=first["encoder"]["args"]))
    assert encoder(torch.zeros(2, 3, 20)).shape == (2, 24)
    assert trunk((16,), EncoderOptions(kind="torch.nn:Flatten"))(torch.ones(2, 16)).tolist() == [[1] * 16] * 2


def test_the_event_of_the_network_page_is_one(tmp_path, monkeypatch):
    *_, code = blocks(DOCS / "how-to" / "network.md", "python")
    greeted = importlib.import_module(written(tmp_path, monkeypatch, "happening", code)).Greeted(peer="a1")
    assert (greeted.name, greeted.level, greeted.says) == ("greeted", "notice", "greeted a1")


def test_the_page_of_graphs_names_every_family():
    text = (DOCS / "how-to" / "graphs.md").read_text(encoding="utf-8")
    [listed] = re.findall(r"a family \((.*?)\)", text, re.DOTALL)
    assert sorted(re.findall(r"`(.*?)`", listed)) == sorted(generators.FAMILIES)


@pytest.mark.parametrize("text", YAML)
def test_every_yaml_block_has_keys_that_there_are(text, tmp_path):
    raw = yaml.safe_load(text)
    if {"axes", "tune", "base"} & raw.keys():
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT | raw | {"base": EXPERIMENT["base"]}))
        for combination in (chosen := experiment.load(tmp_path / "mine.yaml")).combinations():
            experiment.Job(chosen, combination, 0).run()
    else:
        run_file.resolve(RUN | raw, tmp_path / "docs.yaml")


def test_the_label_spaces_of_the_data_page_can_be_planned(tmp_path):
    [text] = [text for text in blocks(DOCS / "how-to" / "data.md", "yaml") if "tasks:" in text]
    built = RunPlan(run_file.resolve(yaml.safe_load(text), tmp_path / "docs.yaml"))
    assert {spec.task for spec in built.specs.values()} == {"coarse", "fine"}

"""The examples of the docs work: the method of docs/methods.md is DSGD-Task to the last bit, the notebook runs."""

import re

import torch
from paths import ROOT
from plans import plan

from parse_p2p.runtime.simulator import simulate

DOCS = ROOT / "docs"


def trained(**changes):
    built = plan(**changes)
    agent_states = built.agent_states()
    simulate(agent_states, built.run.rounds)
    return {p.me: p.learner.buffer.values for p in agent_states}


def test_the_example_method_is_dsgd_task(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "methods.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "dsgd.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    example = trained(method="examples.dsgd")
    shipped = trained(method="dsgd-task", options={"orthogonal": 0.0})
    assert all(torch.equal(example[me], shipped[me]) for me in shipped)


def test_the_examples_in_python_run_from_the_first_line_to_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "notebook.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, "notebook.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.svg", "overlays.svg"}
    assert names["run"].accuracy > 0.6 and round(names["run"].gap, 3) == 0.305
    assert set(names["accuracy"]) == {"local", "dsgd-task", "parse"} and len(names["last"]) == 8
    assert "'smell', which the data set 'htad' does not hold" in capsys.readouterr().out

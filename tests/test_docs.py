"""The example in docs/methods.md is a method that works: it is DSGD-Task to the last bit."""

import re
from pathlib import Path

import torch
from worlds import world

from parse_p2p.simulate import simulate

DOCS = Path(__file__).parent.parent / "docs"


def trained(**changes):
    built = world(**changes)
    participants = built.participants()
    simulate(participants, built.run.rounds)
    return {p.me: p.learner.arena.values for p in participants}


def test_the_example_method_is_dsgd_task(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "methods.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "dsgd.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    example = trained(method="examples.dsgd")
    shipped = trained(method="dsgd-task", options={"orthogonal": 0.0})
    assert all(torch.equal(example[me], shipped[me]) for me in shipped)

"""PARSE as its paper has it: that of ``parse`` with other losses, and no loss that is not the paper's."""

import plans
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from parse_p2p.core import plugins
from parse_p2p.learning.objective import slice_terms
from parse_p2p.methods import parse, parse_paper

PAPER = {"branch": 1.0, "contrast": 1.0, "orthogonal": 0.0, "align": 0.0, "modality": 0.0, "teach": 0.0,
         "synergy": "joint"}  # fmt: skip


def info_nce(a, b, temperature):
    """Symmetric, in nats: a sample's other modality against those of all others (arXiv 1807.03748)."""
    scores = normalize(a) @ normalize(b).T / temperature
    own = torch.arange(len(a))
    return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


@pytest.mark.parametrize("kind", ["audio", "audio+motion"])
def test_its_loss_is_that_of_the_sum_of_each_head_and_the_contrast_and_no_more(kind):
    learner = plans.learner(kind)
    batch = learner.data.batch(torch.arange(16))
    outputs = learner.model(batch.inputs)
    found = sum(term(learner.model, batch, outputs) for term in slice_terms(parse_paper.Options()))
    wanted = cross_entropy(sum(outputs.branches.values()), batch.targets)
    redundant = [cross_entropy(z, batch.targets) for n, z in outputs.views.items() if n.startswith("redundant.")]
    others = [cross_entropy(z, batch.targets) for n, z in outputs.views.items() if not n.startswith("redundant.")]
    wanted = wanted + sum(redundant) / len(redundant) + sum(others)
    if kind != "audio":
        one, other = (zs["redundant"] for zs in outputs.latents.values())
        wanted = wanted + info_nce(one, other, 0.2)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_it_shares_as_parse_does():
    found = plugins.load(plugins.METHODS, "parse-paper")
    assert found.name == "parse-paper" and found.paper == "arXiv 2601.10012" and found.networks == ("fission",)
    for scope in ("everyone", "same-type"):
        ours, theirs = (m.Options(redundant_scope=scope) for m in (parse, parse_paper))
        assert found.sharing(theirs, 0, 1) == parse.METHOD.sharing(ours, 0, 1)


def test_it_is_parse_with_these_losses_to_the_bit_and_not_parse_as_it_is():
    mix = {"audio": 1, "audio+motion": 2}
    ends = [
        plans.finished(plans.plan(mix, rounds=2, **changes))[0]["a0"].learner.buffer.values.clone()
        for changes in ({"method": "parse-paper"}, {"method": "parse", "options": PAPER}, {"method": "parse"})
    ]
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])

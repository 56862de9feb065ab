"""A plan that cannot be run is refused when it is made, before anything is written; one that is made never changes."""

import sys
from types import SimpleNamespace

import pytest
import torch
from plans import plan

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.membership import Change


@pytest.mark.parametrize("overlay", ["per-slice", "induced"])
def test_a_partition_that_cannot_be_is_refused_whatever_the_overlay(overlay):
    with pytest.raises(ConfigError, match="group"):
        plan(overlay=overlay, partition={"kind": "group"})
    with pytest.raises(ConfigError, match="did you mean 'dirichlet'"):
        plan(overlay=overlay, partition={"kind": "dirichlit"})


def test_a_change_that_is_announced_makes_another_plan_and_leaves_this_one_as_it_is():
    before = plan(events=[])
    me = next(me for me, spec in before.specs.items() if spec.modalities == ("audio",))
    after = before.with_changes([Change(2, me, ("audio", "motion"))])
    assert before.senses(me, 2) == ("audio",) and after.senses(me, 2) == ("audio", "motion")
    assert after.kind(me, 1) == "audio" and after.kind(me, 2) == "audio+motion"
    assert before.overlays(2).members[me].modalities == ("audio",)
    assert after.overlays(2).members[me].modalities == ("audio", "motion")
    assert after.data is before.data, "data are read once"


def test_what_an_agent_learns_while_it_runs_is_its_own():
    made = plan(events=[])
    one, other = (made.agent_state(me) for me in made.peers[:2])
    one.membership = one.membership.with_changes([Change(2, other.me, ())])
    assert not one.present(other.me, 2) and other.present(other.me, 2)
    assert other.me not in one.overlays(2).members and other.me in other.overlays(2).members
    assert made.membership.of(other.me, 2)


def test_an_encoder_that_was_written_anew_is_laid_out_as_it_is_now(monkeypatch):
    def regions(width):
        def build(shape, options):
            sizes = (torch.Size(shape).numel(), width, options.width)
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(*sizes[:2]), torch.nn.Linear(*sizes[1:]))

        monkeypatch.setitem(sys.modules, "changing.encoder", SimpleNamespace(build=build))
        made = plan(model={"encoder": {"kind": "changing.encoder"}})
        me = made.peers[0]
        return sum(region.size for region in made.holders[me].regions.values()), made.agent_state(
            me
        ).learner.buffer.size

    for width in (8, 16):
        laid_out, has = regions(width)
        assert laid_out == has


def test_agents_that_differ_in_an_encoder_alone_are_laid_out_apart():
    """Those that are equal have the same layout, which is why it is made once for all of them."""
    agents = [
        {"id": me, "modalities": ["audio"], "encoders": {"audio": {"width": w}}}
        for me, w in {"a": 4, "b": 4, "c": 9}.items()
    ]
    made = plan(agents=agents, method="local")
    a, b, c = ({name: region.size for name, region in made.holders[me].regions.items()} for me in made.peers)
    assert a == b != c
    held = sum(made.agent_state(me).learner.buffer.size for me in made.peers)
    assert held == sum(map(sum, (a.values(), b.values(), c.values())))

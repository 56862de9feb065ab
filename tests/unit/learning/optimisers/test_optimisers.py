"""Optimisers: torch's to the last bit, without its compiler, by any name, and gone on with as if nothing had been."""

import subprocess
import sys
from types import ModuleType

import pytest
import torch
from plans import differing, finished, learner, plan
from pydantic import ValidationError
from torch import nn

from parse_p2p.core import plugins
from parse_p2p.core.types import Modality, PeerId
from parse_p2p.learning import losses
from parse_p2p.learning.learner import Training
from parse_p2p.learning.optimisers import memory
from parse_p2p.runtime import checkpoint
from parse_p2p.runtime.modality_handover import carry
from parse_p2p.runtime.simulator import simulate

OURS = [
    ({"momentum": 0.9, "weight_decay": 0.01}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    ({"momentum": 0, "weight_decay": 0}, torch.optim.SGD, {}),
    ({"optimiser": "adam", "betas": [0.8, 0.9]}, torch.optim.Adam, {"betas": (0.8, 0.9)}),
    ({"optimiser": "adam", "weight_decay": 0.1, "eps": 0.5}, torch.optim.Adam, {"weight_decay": 0.1, "eps": 0.5}),
    ({"optimiser": "adamw"}, torch.optim.AdamW, {}),
    ({"optimiser": "torch.optim.RMSprop", "momentum": 0.5}, torch.optim.RMSprop, {"momentum": 0.5}),
    ({"optimiser": "torch.optim.Adagrad"}, torch.optim.Adagrad, {}),
    ({"optimiser": "torch.optim.Rprop", "etas": [0.4, 1.3]}, torch.optim.Rprop, {"etas": (0.4, 1.3)}),
]


@pytest.mark.parametrize(("train", "theirs", "options"), OURS)
def test_every_step_is_torchs_to_the_last_bit(train, theirs, options):
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    stepping, ends = Training.model_validate(train).stepping, []
    for make in (lambda groups: stepping.make(groups, 0.2), lambda groups: theirs(groups, lr=0.2, **options)):
        weight, other = nn.Parameter(start.clone()), nn.Parameter(start[0].clone())
        optimiser = make([{"params": [weight], "lr": 0.1, "component": "one"}])
        optimiser.add_param_group({"params": [other], "component": "two"})
        for step in range(4):
            optimiser.zero_grad()
            ((weight @ other) ** 2).sum().mul(step + 1).backward()
            optimiser.step()
        assert weight.requires_grad and weight.grad is not None
        ends.append((weight.detach(), other.detach()))
    for mine, wanted in zip(*ends, strict=True):
        assert torch.equal(mine, wanted) and not torch.equal(mine, start)


EVERY_METHOD = """
import sys
sys.path.insert(0, sys.argv[1])
import plans
import parse_p2p.launch.preload
import parse_p2p.launch.process
for method in sys.argv[2:]:
    plans.finished(plans.plan({"audio": 1, "audio+motion": 1}, method=method, rounds=1, data={"samples": 80}))
    assert "torch._dynamo" not in sys.modules, method
for optimiser in ("adam", "adamw", "torch.optim.NAdam"):
    train = {"optimiser": optimiser, "schedule": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
    plans.finished(plans.plan({"audio": 2}, train=train, rounds=2, data={"samples": 80}))
    assert "torch._dynamo" not in sys.modules, optimiser
plans.finished(plans.plan({"audio": 2}, model={"weighting": "branches"}, rounds=2, data={"samples": 80}))
assert "torch._dynamo" not in sys.modules, "weighting"
"""


def test_no_method_and_no_optimiser_of_torchs_loads_the_compiler():
    methods = plugins.names(plugins.METHODS)
    assert len(methods) > 10
    folder = next(path for path in sys.path if path.endswith("support"))
    subprocess.run([sys.executable, "-c", EVERY_METHOD, folder, *methods], check=True)


# one's own


class Lion(torch.optim.Optimizer):
    """Signs of a running mean (arXiv 2302.06675); counts its steps in a plain number, and in its group."""

    def __init__(self, params, lr=1e-4, decay: float = 0.9):
        super().__init__(params, {"lr": lr, "decay": decay, "taken": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["taken"] += 1
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                state["count"] = state.get("count", 0) + 1
                mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(p.grad, 1 - group["decay"])
                p.add_(mean.sign(), alpha=-group["lr"] * (1 + 0.1 / state["count"] + 0.01 * group["taken"]))


class Hidden(Lion):
    """Keeps something where no checkpoint sees it."""

    def step(self, closure=None):
        self.many = getattr(self, "many", 0) + 1
        self.param_groups[0]["lr"] *= 0.9 ** (self.many - 1)
        super().step()


class Listing(Lion):
    def step(self, closure=None):
        super().step()
        self.state[self.param_groups[0]["params"][0]]["all"] = [1]


class Restless(Lion):
    def step(self, closure=None):
        super().step()
        self.param_groups[0]["params"][0].data += torch.rand(())


class Rateless(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})


@pytest.fixture(autouse=True)
def lions(monkeypatch):
    module = ModuleType("lions")
    module.__dict__.update({kind.__name__: kind for kind in (Lion, Hidden, Listing, Restless, Rateless)})
    monkeypatch.setitem(sys.modules, "lions", module)


WRONG = {
    "closure": ({"optimiser": "torch.optim.LBFGS"}, "optimiser", "LBFGS computes the loss several times a step"),
    "matrices": ({"optimiser": "torch.optim.Muon"}, "optimiser", "cannot step on flat vectors: ValueError: Muon only"),
    "sparse": ({"optimiser": "torch.optim.SparseAdam"}, "optimiser", "SparseAdam does not support dense"),
    "argument": ({"optimiser": "torch.optim.RMSprop", "alph": 1}, "alph", "no such key here; did you mean 'alpha'?"),
    "its value": ({"optimiser": "torch.optim.RMSprop", "alpha": -1}, "optimiser", "Invalid alpha value: -1"),
    "its type": ({"optimiser": "torch.optim.RMSprop", "eps": "much"}, "optimiser", "RMSprop with these arguments"),
    "shipped": ({"optimiser": "adam", "betas": [0.9, 1]}, "betas.1", "less than 1"),
    "not chosen": ({"betas": [0.9]}, "betas.1", "Field required"),
    "name": ({"optimiser": "sdg"}, "optimiser", "there is no optimiser 'sdg': did you mean 'sgd'?"),
    "dotted": ({"optimiser": "torch.optim.Nothing"}, "optimiser", "there is no optimiser 'torch.optim.Nothing'"),
    "function": ({"optimiser": "os.getcwd"}, "optimiser", "'getcwd' is no class derived from torch.optim.Optimizer"),
    "module": ({"optimiser": "os.path"}, "optimiser", "'os.path' is no optimiser (it has no OPTIMISER)"),
    "no rate": ({"optimiser": "lions.Rateless"}, "optimiser", "Rateless takes no lr"),
    "hidden": ({"optimiser": "lions.Hidden"}, "optimiser", "Hidden draws at random, or keeps something elsewhere"),
    "random": ({"optimiser": "lions.Restless"}, "optimiser", "Restless draws at random"),
    "no tensor": ({"optimiser": "lions.Listing"}, "optimiser", "Listing with these arguments"),
}


@pytest.mark.parametrize(("train", "key", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_used_is_refused_in_one_sentence(train, key, said):
    with pytest.raises(ValidationError) as caught:
        Training.model_validate(train)
    [error] = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == key
    assert said in error["msg"] and "\n" not in error["msg"]


def test_a_section_with_a_class_is_read_as_it_was_written():
    given = Training.model_validate({"optimiser": "torch.optim.NAdam", "momentum_decay": 0.01, "betas": [0.5, 0.6]})
    assert Training.model_validate(given.model_dump(mode="json")) == given
    assert dict(given.stepping)["momentum_decay"] == 0.01
    [group] = given.stepping.make([{"params": [nn.Parameter(torch.ones(1))]}], 0.1).param_groups
    assert (group["momentum_decay"], group["betas"], group["lr"]) == (0.01, (0.5, 0.6), 0.1)


# going on


EVERY = {
    "sgd": {},
    "adam": {"optimiser": "adam"},
    "adamw": {"optimiser": "adamw", "schedule": "linear", "warmup": 2},
    "rmsprop": {"optimiser": "torch.optim.RMSprop", "momentum": 0.9},
    "adagrad": {"optimiser": "torch.optim.Adagrad"},
    "own": {"optimiser": "lions.Lion", "schedule": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
}
every = pytest.mark.parametrize("train", EVERY.values(), ids=EVERY)
PAIR = {"audio": 1, "audio+motion": 1}


@every
def test_a_run_resumed_from_its_files_is_the_uninterrupted_one(train, tmp_path):
    settings = {"train": {"lr": 0.01} | train, "rounds": 4}
    whole, _ = finished(plan(PAIR, **settings))
    half = plan(PAIR, **settings)
    people, again = half.agent_states(), half.agent_states()
    simulate(people, 2)
    for old, new in zip(people, again, strict=True):
        checkpoint.save(tmp_path / old.me, 2, old.state(), 1)
        new.begin(1)  # with a memory of its own, all of which has to go
        new.learner.train(losses.task)
        new.restore(checkpoint.load(tmp_path / old.me, 2))
    simulate(again, 4, start=2)
    assert differing(whole, {p.me: p for p in again}) == []
    assert all(
        not torch.equal(p.learner.buffer.values, q.learner.buffer.values) for p, q in zip(people, again, strict=True)
    )


@every
def test_a_state_taken_is_not_changed_by_what_goes_on_from_it(train):
    one = learner("audio", train=train)
    one.train(losses.task)
    state = one.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    one.restore(state)
    one.train(losses.task)
    assert all(torch.equal(kept[name], tensor) for name, tensor in state.items())
    assert not torch.equal(one.state()["parameters"], kept["parameters"])


@every
def test_components_that_rest_keep_what_the_optimiser_knows_of_them(train):
    agent = learner(train=train)
    agent.train(losses.task)
    before = agent.state()
    agent.epoch([losses.task], only=lambda name: name.startswith("head."))
    after = agent.state()
    changed = {name.split("/", 3)[3] for name in before if name.startswith("optimiser/state/")
               if not torch.equal(before[name], after[name])}  # fmt: skip
    assert changed and all(name.startswith("head.") for name in changed)
    for name, region in agent.buffer.regions.items():
        same = torch.equal(*(s["parameters"][region.start : region.stop] for s in (before, after)))
        assert same != name.startswith("head.")


@every
def test_scale_stands_still_at_nought_whatever_the_optimiser(train):
    agent = learner(train=train)
    before = agent.cut(agent.buffer.regions)
    agent.train(losses.task, scale=lambda name: 1.0 if name.startswith("head.") else 0.0)
    after = agent.cut(agent.buffer.regions)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if name.startswith("head.")
    }


@every
def test_modalities_that_come_and_go_take_what_is_remembered_along(train):
    made = plan(PAIR, train=train)
    old, new = (made.learner(PeerId("a1"), tuple(map(Modality, m))) for m in (["audio"], ["audio", "motion"]))
    old.train(losses.task)
    carry(old, new, {})
    before, after = memory.read(old.optimiser), memory.read(new.optimiser)
    common = [
        n for n, r in old.buffer.regions.items() if n in new.buffer.regions and new.buffer.regions[n].digest == r.digest
    ]
    assert common
    for name in common:
        assert before[name].keys() == after[name].keys() != set()
        assert all(torch.equal(before[name][key], after[name][key]) for key in before[name])
    new.train(losses.task)  # and nothing is shared by the two
    assert all(torch.equal(before[n][k], t) for n in common for k, t in memory.read(old.optimiser)[n].items())


@every
def test_a_component_that_is_forgotten_begins_anew(train):
    agent, fresh = learner("audio", train=train), learner("audio", train=train)
    agent.train(losses.task)
    [first, *others] = agent.buffer.leaves
    before = {name: {k: t.clone() for k, t in m.items()} for name, m in memory.read(agent.optimiser).items()}
    agent.forget(first)
    after, new = memory.read(agent.optimiser), memory.read(fresh.optimiser)[first]
    assert after[first].keys() == new.keys() and all(torch.equal(after[first][key], new[key]) for key in new)
    assert all(torch.equal(t, after[name][key]) for name in others for key, t in before[name].items())
    agent.train(losses.task)


def test_numbers_are_kept_exactly():
    one, other = (
        Training().stepping.make([{"params": [nn.Parameter(torch.ones(1))], "component": "c"}], 1.0) for _ in "ab"
    )
    numbers = {"a": 0.1, "b": 2**40 + 1, "c": True}
    one.state[one.param_groups[0]["params"][0]] = dict(numbers)
    memory.write(other, memory.read(one))
    found = other.state[other.param_groups[0]["params"][0]]
    assert found == numbers and [type(value) for value in found.values()] == [float, int, bool]


def test_counts_stay_where_torch_keeps_them():
    meta = torch.device("meta")
    adam = Training(optimiser="adam").stepping.make([{"params": [nn.Parameter(torch.ones(2))], "component": "c"}], 1.0)
    adam.param_groups[0]["params"] = [nn.Parameter(torch.ones(2, device=meta))]
    memory.write(adam, {"c": {"state/step": torch.tensor(3.0), "state/exp_avg": torch.ones(2)}})
    [state] = [adam.state[p] for p in adam.param_groups[0]["params"]]
    assert (state["step"].device.type, state["exp_avg"].device.type) == ("cpu", "meta")

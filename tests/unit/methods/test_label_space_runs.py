"""Agents with two label spaces: what does not depend on labels is shared by all, heads within a task alone."""

from functools import partial

import pytest
import torch
from plans import differing, finished, mixing_only, plan, under

from parse_p2p.config.run_file import RunFile
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.launch.results import summarise, train_alone
from parse_p2p.models.base import ModelOptions
from parse_p2p.models.encoder import EncoderOptions
from parse_p2p.models.parameter_buffer import regions
from parse_p2p.runtime.simulator import simulate

TASKS = {  # of the 16 classes of bits
    "coarse": {"classes": [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]},
    "fine": {"classes": [[k] for k in range(6)]},
}
MIX = {"audio": 2, "motion": 2, "audio+motion": 4}
GOSSIP = ("parse", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "harmony")
each = pytest.mark.parametrize("method", GOSSIP)


def tasked(tasks=("coarse", "fine"), **changes):
    agents = {"mix": MIX, "tasks": list(tasks)}
    return plan(agents=agents, tasks=TASKS, **{"data": {"samples": 480}} | changes)


def of_task(w, task):
    return {me for me, spec in w.specs.items() if spec.task == task}


def is_head(key):
    return key.component.startswith("head")


@pytest.mark.parametrize("name", ["fission", "monolithic", "embedding", "infiltration"])
def test_1_the_parts_that_depend_on_the_label_space_are_those_that_are_narrowed_to_a_task(name):
    shapes = {Modality(m): (16,) for m in ("audio", "motion")}
    options = ModelOptions(network=name)
    build = partial(plugins.load(plugins.NETWORKS, name), shapes, options=options,
                    encoders=dict.fromkeys(shapes, EncoderOptions()))  # fmt: skip
    one, two = (regions(build(classes=classes).parts()) for classes in (3, 6))
    assert one.keys() == two.keys()
    differ = {part for part in one if one[part].digest != two[part].digest}
    assert differ == {part for part, region in one.items() if region.component.labelled} != set()


def test_2_tasks_are_dealt_evenly_to_every_type_and_to_all():
    w = tasked()
    for kind in MIX:
        agents = [spec for spec in w.specs.values() if "+".join(spec.modalities) == kind]
        assert len([s for s in agents if s.task == "coarse"]) == len([s for s in agents if s.task == "fine"])
    odd = plan(agents={"mix": dict.fromkeys(MIX, 1), "tasks": ["coarse", "fine"]}, tasks=TASKS)
    assert sorted(spec.task for spec in odd.specs.values()) == ["coarse", "coarse", "fine"]


@each
def test_3_the_overlay_of_a_head_is_within_a_task_and_that_of_all_else_across(method):
    w, plain = tasked(method=method), plan(MIX, method=method)
    across = set()
    for round in range(w.run.rounds):
        found, without = w.overlays(round), plain.overlays(round)
        for key in found.keys:
            tasks = {w.specs[me].task for me in found.holders(key)}
            assert len(tasks) == 1 or not is_head(key), key
            across |= {key} if len(tasks) > 1 else set()
            digests = {found.offers[me][key].digest for me in found.holders(key)}
            assert len(digests) == 1, key
        # as the table says without tasks, but for the heads
        assert {k: found.holders(k) for k in found.keys if not is_head(k)} == {
            k: without.holders(k) for k in without.keys if not is_head(k)
        }
        for key in filter(is_head, without.keys):
            for task in TASKS:
                narrowed = type(key)(key.component, f"{key.group}~task:{task}")
                assert found.holders(narrowed) == without.holders(key) & of_task(w, task)
    assert any(key.component.startswith("trunk") for key in across)


@pytest.mark.parametrize("method", ["parse", "dsgd-task", "dsgd-hybrid"])
def test_4_mixing_moves_trunks_towards_all_and_heads_towards_those_of_the_task(method):
    w = tasked(method=method, graph="complete", model={"init": "own"})
    table = w.method.sharing(w.options, 0, w.run.rounds)
    agent_states = under(w, table, mixing_only).agent_states()
    overlays = w.overlays(0)

    def values(key):
        return {
            p.me: p.learner.buffer.view(overlays.offers[p.me][key]).clone()
            for p in agent_states
            if key in overlays.offers[p.me]
        }

    before = {key: values(key) for key in overlays.keys}
    simulate(agent_states, 1)
    for key, old in before.items():
        # a complete graph averages in one round, over the holders and over nobody else
        mean = torch.stack(list(old.values())).mean(0)
        for me, now in values(key).items():
            torch.testing.assert_close(now, mean, atol=1e-6, rtol=0, msg=f"{key} of {me}")
    assert {key.group.split("~task:")[1] for key in before if is_head(key)} == TASKS.keys()


@pytest.mark.parametrize("network", ["fission", "monolithic", "embedding", "infiltration"])
def test_5_an_agent_trains_and_is_measured_on_its_own_label_space(network):
    w = tasked(method="dsgd-hybrid", model={"network": network})
    whole = plan(MIX, data={"samples": 480})
    agent_states, _ = finished(w)
    for me, p in agent_states.items():
        classes = TASKS[w.specs[me].task]["classes"]
        label = {c: k for k, group in enumerate(classes) for c in group}
        for mine, every in zip(w.share(me), whole.share(me), strict=True):
            kept = [row for row, c in enumerate(every.targets.tolist()) if c in label]
            assert mine.targets.tolist() == [label[c] for c in every.targets[kept].tolist()]
            assert all(torch.equal(mine.inputs[m], every.inputs[m][kept]) for m in mine.modalities)
        logits = p.learner.outputs(p.learner.test).logits()
        assert logits.shape == (len(w.share(me)[1]), len(classes))
        right = (logits.argmax(1) == p.learner.test.targets).double().mean().item()
        assert p.learner.evaluate()["accuracy"] == pytest.approx(right)
        assert p.learner.samples == len(w.share(me)[0]) < len(whole.share(me)[0])


@each
def test_6_a_resumed_run_ends_as_one_that_was_not_interrupted(method):
    whole, _ = finished(tasked(method=method))
    first, _ = finished(tasked(method=method), rounds=2)
    second = tasked(method=method)
    agent_states = second.agent_states()
    for p in agent_states:
        p.restore(first[p.me].state())
    simulate(agent_states, second.run.rounds, start=2)
    assert differing(whole, {p.me: p for p in agent_states}) == []


def test_7_agents_without_a_task_have_all_classes_and_heads_of_their_own():
    agents = [{"id": f"a{i}", "modalities": ["audio"], "task": task} for i, task in enumerate(["coarse", None] * 2)]
    w = plan(agents=agents, tasks=TASKS)
    assert [w.classes(spec) for spec in w.specs.values()] == [3, 16, 3, 16]
    overlays = w.overlays(0)
    assert {frozenset(overlays.holders(k)) for k in overlays.keys if is_head(k)} == {
        frozenset({"a0", "a2"}), frozenset({"a1", "a3"})
    }  # fmt: skip
    assert [w.kind(me) for me in w.specs] == ["audio: coarse", "audio: all classes"] * 2


def test_8_a_run_without_tasks_or_with_one_for_all_is_named_as_before():
    assert {plan(MIX).kind(me) for me in plan(MIX).specs} == MIX.keys()
    assert {tasked(["fine"]).kind(me) for me in tasked(["fine"]).specs} == MIX.keys()
    assert not any("task" in str(key) for key in plan(MIX).overlays(0).keys)


def test_9_the_summary_has_a_row_for_each_type_and_task_and_promises_no_ceiling():
    w = tasked(rounds=1)
    alone = train_alone(w, lambda round: None)
    found = summarise(w, dict.fromkeys(w.specs, 0.5), alone, 0, 1, 1.0)
    assert {row.type for row in found.types} == {f"{kind}: {task}" for kind in MIX for task in TASKS}
    assert all(row.ceiling is None and row.alone is not None for row in found.types)


ONE = {"id": "a0", "modalities": ["audio"]}
WRONG = {
    "unknown task": ({"agents": [ONE | {"task": "corse"}]}, "a0 has the task 'corse', .* did you mean 'coarse'"),
    "unknown task of a mix": ({"agents": {"mix": MIX, "tasks": ["x"]}}, "agents: a0 has the task 'x', which is not"),
    "no tasks": ({"tasks": {}}, "a0 has the task 'coarse', which is not among tasks: add tasks: {coarse: {classes: "),
    "no such class": ({"tasks": TASKS | {"t": {"classes": [[0], [16]]}}},
                      "tasks.t.classes: the data have no class 16; their classes are 0 to 15"),
    "coordinator": ({"method": "fedavg", "agents": {"mix": MIX, "tasks": ["fine"], "coordinator": "hub"}},
                    "tasks: the method 'fedavg' has a coordinator with the same heads"),
    "stream": ({"stream": {}}, "tasks: a stream has one label space for all"),
    "no samples": ({"dataset": "bits", "data": {"samples": 24}, "tasks": {"t": {"classes": [[0], [1]]}},
                    "agents": {"mix": {"audio": 12}, "tasks": ["t"]}}, "has no samples of its task 't'"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG.keys())
def test_10_what_cannot_be_is_refused_in_a_sentence(changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        plan(**{"agents": {"mix": MIX, "tasks": ["coarse"]}, "tasks": TASKS} | changes)
    assert "\n" not in str(caught.value)


def test_11_agents_with_other_tasks_do_not_talk_to_each_other():
    other = TASKS | {"fine": {"classes": [[k] for k in range(5)]}}
    raw = tasked().run.model_dump()
    assert RunFile.model_validate(raw | {"tasks": other}).digest() != tasked().run.digest()


def test_12_who_gains_a_modality_keeps_its_label_space():
    one = next(me for me, spec in tasked().specs.items() if spec.modalities == ("audio",))
    w = tasked(events=[{"round": 2, "agent": one, "gain": ["motion"]}])
    agent_states, _ = finished(w)
    classes = len(TASKS[w.specs[one].task]["classes"])
    learner = agent_states[one].learner
    assert learner.holder.modalities == ("audio", "motion") and learner.data.classes == classes
    assert learner.outputs(learner.test).branches["unique.motion"].shape == (len(learner.test), classes)
    for key in w.overlays(2).keys:
        assert len({w.specs[me].task for me in w.overlays(2).holders(key)}) == 1 or not is_head(key)

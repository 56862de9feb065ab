"""Samples that arrive are scored, then trained on and kept, the same after a stop; what is wrong is refused."""

import importlib
import importlib.util
import itertools
import os

import arriving
import numpy as np
import plans
import pytest
import torch

from parse_p2p.config import run_file
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.data.base import Scale
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.learning.drift.base import Drift, DriftOptions
from parse_p2p.runtime.scale_agreement import Agreed

WINDOW = {"keep": {"kind": "window", "samples": 30}}
RESERVOIR = {"keep": {"kind": "reservoir", "samples": 25}}
RIVER = importlib.util.find_spec("river") is not None
START = 30  # training samples of a0 at its start: three in four of each class


def refusals(said):
    return [(round, event.file, event.why) for round, of in said.items() for event in of["a0"]
            if event.name == "arrival-refused"]  # fmt: skip


def at(dropped):
    """Calls what is to happen when a round is over."""
    return lambda round: dropped.get(round, lambda: None)()


# taking in


def test_what_arrives_is_taken_in_by_name_a_round_after_it_was_first_seen(tmp_path):
    plan = arriving.plan(tmp_path)

    def dropped():
        for k, name in enumerate(("b.csv", "a.csv")):
            arriving.drop(tmp_path / f"in/a0/{name}", 10 + k, seed=k)

    states, said, measured = arriving.simulated(plan, at({1: dropped}))
    assert [(r, event.file, event.samples) for r, of in said.items() for event in of["a0"]] == [
        (3, "a.csv", 11), (3, "b.csv", 10)
    ]  # fmt: skip
    assert {r for r in measured if "arriving" in measured[r]["a0"]} == {3}
    assert measured[3]["a0"]["arriving"] == 21 and "arriving" not in measured[3]["a1"]
    assert states["a0"].learner.samples == START + 21


def test_files_that_are_there_at_the_start_are_taken_in_at_once(tmp_path):
    plan = arriving.plan(tmp_path, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 10)
    states, _, measured = arriving.simulated(plan)
    assert measured[0]["a0"]["arriving"] == 10 and states["a0"].learner.samples == START + 10


def test_new_samples_are_scaled_as_those_of_the_start_and_come_behind_them(tmp_path):
    plan = arriving.plan(tmp_path, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 10, seed=7, offset=4)
    states, _, _ = arriving.simulated(plan)
    x, y = arriving.rows(states["a0"])
    train = plan.share("a0")[0]
    raw, classes = arriving.samples(10, 7, offset=4)
    assert torch.equal(x[:START], train.inputs["x"]) and torch.equal(y[:START], train.targets)
    raw = torch.from_numpy(np.array([[float(f"{v:.5f}") for v in row] for row in raw], np.float32))
    scale = plan.data.scales("a0")["x"]
    assert torch.equal(x[START:], scale(raw)) and y[START:].tolist() == classes.tolist()


def test_they_are_scored_before_the_model_is_trained_on_them(tmp_path):
    plan = arriving.plan(tmp_path, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 50, seed=7)
    before = plan.agent_state("a0").learner
    _, said, measured = arriving.simulated(plan)
    data = plan.data.arrived("a0", ["x"], tmp_path / "in/a0/x.csv")
    x = plan.data.scales("a0")["x"](data.inputs["x"])
    before.model.eval()
    with torch.no_grad():
        logits = before.model({"x": x}).logits(None, data.task)
    right = float((logits.argmax(1) == data.targets).double().mean())
    loss = float(torch.nn.functional.cross_entropy(logits, data.targets))
    assert measured[0]["a0"]["arrived/accuracy"] == pytest.approx(right)
    assert measured[0]["a0"]["arrived/loss"] == pytest.approx(loss)
    start = plan.share("a0")[0].inputs["x"].double()
    far = ((x.double().mean(0) - start.mean(0)).abs() / start.std(0, correction=0)).mean()
    assert measured[0]["a0"]["arrived/shift/x"] == pytest.approx(float(far))
    [event] = said[0]["a0"]
    assert event.score == pytest.approx(right) and event.shift["x"] == pytest.approx(float(far))


def test_of_several_files_the_score_is_that_of_all_their_samples(tmp_path):
    plan = arriving.plan(tmp_path, rounds=1)
    for name, count in (("a", 10), ("b", 30)):
        arriving.drop(tmp_path / f"in/a0/{name}.csv", count, seed=count)
    _, said, measured = arriving.simulated(plan)
    a, b = (event.score for event in said[0]["a0"])
    assert measured[0]["a0"]["arrived/accuracy"] == pytest.approx((10 * a + 30 * b) / 40)


def test_a_window_keeps_the_newest_and_a_reservoir_some_of_all(tmp_path):
    for folder, keep, count in (("w", WINDOW, 30), ("r", RESERVOIR, 25)):
        plan = arriving.plan(tmp_path / folder, keep, rounds=3)
        made = plan.agent_state("a0")
        states, _, _ = arriving.simulated(
            plan,
            lambda round, folder=folder: arriving.drop(tmp_path / folder / f"in/a0/{round}.csv", 20, seed=round + 5),
            states={me: made if me == "a0" else plan.agent_state(me) for me in plan.specs},
        )
        x, _ = arriving.rows(states["a0"])
        assert len(x) == count
        everything = [plan.share("a0")[0].inputs["x"]]
        for name in ("-1", "0"):  # the others have been seen once
            data = plan.data.arrived("a0", ["x"], tmp_path / folder / f"in/a0/{name}.csv")
            everything.append(plan.data.scales("a0")["x"](data.inputs["x"]))
        every = torch.cat(everything)
        if folder == "w":
            assert torch.equal(x, every[-30:])
        else:
            rows = {tuple(row.tolist()) for row in every}
            assert {tuple(row.tolist()) for row in x} <= rows and not torch.equal(x, every[:25])


def test_where_nothing_arrives_the_parameters_are_those_of_agents_that_watch_nothing(tmp_path):
    one, _ = plans.finished(arriving.plan(tmp_path / "one"))
    plan = arriving.plan(tmp_path / "two")
    entry = plan.run.model_copy(update={"data": {k: v for k, v in plan.run.data.items() if k != "watch"}})
    other, _ = plans.finished(plans.RunPlan(entry))
    assert plans.differing(one, other) == []


def test_what_arrives_changes_what_is_learnt(tmp_path):
    one, _, _ = arriving.simulated(arriving.plan(tmp_path / "one"))
    other, _, _ = arriving.simulated(
        arriving.plan(tmp_path / "two"), at({0: lambda: arriving.drop(tmp_path / "two/in/a0/x.csv")})
    )
    assert plans.differing(one, other) != []


def test_a_broken_sensor_gives_averages_for_what_arrives_too(tmp_path):
    fault = {"kind": "sensor", "agents": ["a0"], "modality": "x", "round": 0}
    plan = arriving.plan(tmp_path, rounds=1, faults=[fault])
    arriving.drop(tmp_path / "in/a0/x.csv", 20)
    states, said, measured = arriving.simulated(plan)
    assert measured[0]["a0"]["arrived/loss"] > 0 and states["a0"].failed == ("x",)
    assert states["a0"].learner.data.inputs["x"].eq(0).all() and len(said[0]["a0"]) == 1


# what is wrong


BAD = {
    "a modality is missing": ("f1,label\n1,yes\n", "'x' is a vector of 1 feature here, and a vector of 2"),
    "another shape": ("f0,f1,f2,label\n1,2,3,yes\n", "'x' is a vector of 3 features here, and a vector of 2 features"),
    "an unknown class": (arriving.HEAD + "1,2,no\n1,2,maybe\n" * 2, "no, yes; sample 2 is the first of it"),
    "ragged": (arriving.HEAD + "1,2,yes\n1,2\n", "line 3 of "),
    "a cell is empty": (arriving.HEAD + "1,2,yes\n3,,no\n", "in line 3"),
    "text": (arriving.HEAD + "1,2,yes\n3,four,no\n", "has the text 'four' in line 3"),
    "nothing": ("", "is empty"),
    "no rows": (arriving.HEAD, "has no rows"),
    "cut off": (arriving.HEAD + "1,2,yes\n3,4.", "is cut off"),
    "no text": (b"\xff\xfe\x00", "is cut off"),
    "beyond measure": (arriving.HEAD + "1,2,yes\n3e37,-3e38,yes\n", "standard deviations from the start's"),
    "a mark of what is missing": (arriving.HEAD + "1e8,2,yes\n", "an input of 'x' is "),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_a_file_that_is_wrong_is_refused_once_in_a_sentence_and_the_others_are_taken_in(tmp_path, content, said):
    plan = arriving.plan(tmp_path)
    (tmp_path / "in/a0/bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    arriving.drop(tmp_path / "in/a0/good.csv", 10)
    states, events, _ = arriving.simulated(plan)
    [(round, file, why)] = refusals(events)
    assert (round, file) == (0, "bad.csv") and said in why and "\n" not in why
    assert states["a0"].learner.samples == START + 10


def test_a_file_that_was_refused_is_looked_at_again_when_it_has_changed(tmp_path):
    plan, bad = arriving.plan(tmp_path, rounds=6), tmp_path / "in/a0/x.csv"
    bad.write_text(arriving.HEAD + "1,2,yes\n3,")
    states, said, _ = arriving.simulated(plan, at({2: lambda: bad.write_text(arriving.HEAD + "1,2,yes\n3,4,no\n")}))
    assert [round for round, _, _ in refusals(said)] == [0]
    assert [(e.round, e.samples) for of in said.values() for e in of["a0"] if e.name == "arrived"] == [(4, 2)]
    assert states["a0"].learner.samples == START + 2


def test_one_that_changes_after_it_was_taken_in_is_mentioned_once_and_its_samples_stay(tmp_path):
    plan, path = arriving.plan(tmp_path, rounds=7), tmp_path / "in/a0/x.csv"
    arriving.drop(path, 10)

    def longer():
        with path.open("a") as file:
            file.write("1,2,yes\n")

    states, said, _ = arriving.simulated(plan, at({0: path.touch, 2: longer}))
    [(round, _, why)] = refusals(said)
    assert round == 4 and "it has changed since its samples were taken in" in why
    assert states["a0"].learner.samples == START + 10


def test_a_folder_that_is_gone_is_mentioned_once_and_looked_for_again(tmp_path):
    plan, folder = arriving.plan(tmp_path, rounds=7), tmp_path / "in/a0"

    def back():
        folder.mkdir()
        arriving.drop(folder / "x.csv", 10)

    states, said, _ = arriving.simulated(plan, at({0: folder.rmdir, 3: back}))
    assert [(round, file) for round, file, _ in refusals(said)] == [(1, "a0")]
    assert states["a0"].learner.samples == START + 10


def test_whatever_goes_wrong_in_reading_ends_no_agent(tmp_path):
    plan = arriving.plan(tmp_path, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 10)
    state = plan.agent_state("a0")

    def broken(path):
        raise MemoryError("too much")

    state.arrivals.read = broken
    _, said, _ = arriving.simulated(plan, states={"a0": state, "a1": plan.agent_state("a1")})
    assert refusals(said) == [(0, "x.csv", "it cannot be read (MemoryError: too much)")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_what_is_no_file_or_has_no_readable_name_is_refused(tmp_path):
    plan, folder = arriving.plan(tmp_path, rounds=3), os.fsencode(tmp_path / "in/a0")
    os.mkfifo(os.path.join(folder, b"pipe.csv"))
    (tmp_path / "in/a0/inside").mkdir()
    (tmp_path / "in/a0/bad\x1b[31m\nname.csv").write_text(arriving.HEAD + "1,2,yes\n")
    (tmp_path / "in/a0/header.csv").write_text("f0,f1,label\x1b[2J\n1,2,yes\n")
    with open(os.path.join(folder, b"\xff.csv"), "wb") as file:
        file.write(arriving.HEAD.encode() + b"1,2,yes\n")
    states, said, _ = arriving.simulated(plan)
    found = {file: why for _, file, why in refusals(said)}
    assert "is neither a file nor a folder" in found.pop("pipe.csv") and "(Is a directory)" in found.pop("inside")
    assert found.pop("bad\\x1b[31m\\nname.csv") == found.pop("\\udcff.csv") != ""
    assert "label\\x1b[2J" in found.pop("header.csv"), "what a terminal would act on is told escaped"
    assert found == {} and len(refusals(said)) == 5
    assert states["a0"].learner.samples == START


def test_weights_that_are_all_0_are_refused_where_nothing_else_would_be_left(tmp_path):
    keep = {"keep": {"kind": "window", "samples": 3}, "weight": "w"}
    file = arriving.study(tmp_path, keep, rounds=1)
    for me in arriving.TWO:
        lines = (tmp_path / f"{me}.csv").read_text().splitlines()
        (tmp_path / f"{me}.csv").write_text("\n".join([f"{lines[0]},w", *(f"{line},1" for line in lines[1:]), ""]))
    (tmp_path / "in/a0/x.csv").write_text("f0,f1,label,w\n" + 3 * "1,2,yes,0\n")
    (tmp_path / "in/a0/y.csv").write_text("f0,f1,label,w\n" + 2 * "1,2,yes,0\n")
    states, said, _ = arriving.simulated(RunPlan(run_file.load(file)))
    [(_, name, why)] = refusals(said)
    assert name == "x.csv" and "are all 0" in why
    assert states["a0"].learner.data.weights.tolist() == [3, 0, 0]


# drift


def test_a_drift_of_inputs_is_seen_in_its_round(tmp_path):
    plan = arriving.plan(tmp_path, {"drift": "shift"}, rounds=8)
    _, said, _ = arriving.simulated(
        plan, lambda round: arriving.drop(tmp_path / f"in/a0/{round}.csv", 30, round + 9, offset=4 * (round > 3))
    )
    drifts = [event for of in said.values() for event in of["a0"] if event.name == "drift-detected"]
    assert [(event.round, event.kind, event.what) for event in drifts] == [(6, "shift", "inputs of x"),
                                                                          (7, "shift", "inputs of x")]  # fmt: skip
    assert all(event.value > 1.5 for event in drifts)


# after a stop


@pytest.mark.parametrize(("keep", "start"), [({}, 3), (WINDOW, 1), (WINDOW, 5), (RESERVOIR, 3)])
def test_an_agent_that_goes_on_has_the_same_samples_and_parameters_to_the_bit(tmp_path, keep, start):
    detecting = keep | {"drift": ["shift", *(["adwin"] if RIVER else [])]}
    plan = arriving.plan(tmp_path, detecting, rounds=7)
    folder = RunFolder(tmp_path / "run")

    def dropped(round):
        if round < 4:  # all are taken in by the end
            arriving.drop(tmp_path / f"in/a0/{9 - round}.csv", 10 + round, round + 5)
            (tmp_path / f"in/a1/bad{round}.csv").write_text("nothing\n")

    whole, said, measured = arriving.simulated(plan, dropped, folder=folder)
    record = (tmp_path / "run/agents/a0/arrivals.jsonl").read_bytes()
    assert len(record.splitlines()) == 5
    again, once_more, measured_again = arriving.simulated(plan, start=start, folder=folder)
    assert plans.differing(whole, again) == []
    assert all(map(torch.equal, arriving.rows(whole["a0"]), arriving.rows(again["a0"])))
    replayed = range(start, 7)
    assert [measured_again[r] for r in replayed] == [measured[r] for r in replayed]
    assert [[e for e in once_more[r]["a0"]] for r in replayed] == [said[r]["a0"] for r in replayed]
    assert (tmp_path / "run/agents/a0/arrivals.jsonl").read_bytes() == record


def resumed(tmp_path, change, keep=None):
    """A run of 3 rounds in which files came before the first, gone on with to the fourth after a change."""
    plan = arriving.plan(tmp_path, keep, rounds=3)
    folder = RunFolder(tmp_path / "run")
    for name in "ab":
        arriving.drop(tmp_path / f"in/a0/{name}.csv", 40, ord(name))
    arriving.simulated(plan, folder=folder)
    change(tmp_path / "in/a0")
    return arriving.simulated(RunPlan(plan.run.model_copy(update={"rounds": 4})), start=3, folder=folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda folder: (folder / "b.csv").unlink(), r"b\.csv, of which a0 took in 40 samples in round 1, is gone"),
     (lambda folder: arriving.drop(folder / "b.csv", 40, 3), r"b\.csv, .* holds others now")],
    ids=["gone", "changed"],
)  # fmt: skip
def test_a_file_that_is_needed_and_not_what_it_was_is_a_sentence(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        resumed(tmp_path, change, WINDOW)


def test_a_file_that_no_sample_is_left_of_is_not_needed(tmp_path):
    states, said, _ = resumed(tmp_path, lambda folder: (folder / "a.csv").unlink(), WINDOW)
    assert states["a0"].learner.samples == 30 and refusals(said) == []


def test_a_record_that_knows_less_than_the_checkpoint_is_a_sentence(tmp_path):
    def lost(folder):
        record = tmp_path / "run/agents/a0/arrivals.jsonl"
        record.write_text("".join(record.read_text().splitlines(keepends=True)[:1]))

    said = r"arrivals\.jsonl tells of 40 samples that a0 took in before round 4, and its checkpoint of 80: bring"
    with pytest.raises(ConfigError, match=said):
        resumed(tmp_path, lost, WINDOW)


def test_a_checkpoint_knows_what_arrived_through_a_second_stop(tmp_path):
    states, _, _ = resumed(tmp_path, lambda folder: None)
    state, fresh = states["a0"], arriving.plan(tmp_path, rounds=3).agent_state("a0")
    assert "arrivals/samples" not in fresh.state()
    assert int(state.state()["arrivals/samples"]) == 80
    fresh.restore(state.state())
    assert int(fresh.state()["arrivals/samples"]) == 80, "before a round has begun"


def test_the_number_of_samples_at_the_start_is_that_of_those_kept(tmp_path):
    for keep, count in (({}, START), (WINDOW, 30), (RESERVOIR, 25), ({"keep": {"kind": "window", "samples": 4}}, 4)):
        state = arriving.plan(tmp_path, keep, rounds=1).agent_state("a0")
        assert state.samples == count
        state.begin(0)
        assert state.samples == count == state.learner.samples


def test_errors_are_recorded_only_where_something_looks_at_them(tmp_path):
    for drift, kept in (("shift", False), ("adwin", True)) if RIVER else (("shift", False),):
        plan = arriving.plan(tmp_path / drift, {"drift": drift}, rounds=1)
        arriving.drop(tmp_path / drift / "in/a0/x.csv", 10)
        states, _, _ = arriving.simulated(plan)
        assert bool(states["a0"].arrivals.record.taken[0].errors) is kept


def test_files_that_were_copied_are_the_same(tmp_path):
    def copied(folder):
        for path in folder.iterdir():
            path.touch()

    states, said, _ = resumed(tmp_path, copied)
    assert states["a0"].learner.samples == START + 80 and said == {3: {"a0": [], "a1": []}}


def test_scales_that_all_agree_on_are_those_of_what_arrives(tmp_path):
    schema = {"modalities": {"x": {"kind": "vector", "shape": [2], "scale": "all"}}, "classes": arriving.CLASSES}
    plan = arriving.plan(tmp_path, data_schema=schema, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 10, seed=7, offset=5)
    states, _, _ = arriving.simulated(plan)
    x, _ = arriving.rows(states["a0"])
    raw = plan.data.arrived("a0", ["x"], tmp_path / "in/a0/x.csv").inputs["x"]
    agreed = states["a0"].agreed.scales["x"]
    assert agreed.mean is not None and torch.equal(x[START:], agreed(raw))
    assert torch.equal(x[:START], plan.share("a0")[0].inputs["x"]), "those of the start are scaled so too"


@pytest.mark.skipif(not RIVER, reason="river is not installed")
def test_a_stream_of_river_whose_rule_is_reversed_is_seen_to_drift_when_it_is(tmp_path):
    """Classes by a sine (Gama et al. 2004), all the other way round from some round on: inputs stay as they are."""
    synth = importlib.import_module("river.datasets.synth")
    schema = {"modalities": {"x": {"kind": "vector", "shape": [2]}}, "classes": ["0", "1"]}
    rules = [iter(synth.Sine(classification_function=rule, seed=rule)) for rule in (0, 1)]

    def write(path, count, rule):
        rows = itertools.islice(rules[rule], count)
        path.write_text(arriving.HEAD + "".join(f"{x[0]},{x[1]},{y}\n" for x, y in rows))

    file = arriving.study(tmp_path, {"drift": "adwin"}, data_schema=schema, rounds=18)
    for me in arriving.TWO:
        write(tmp_path / f"{me}.csv", 200, 0)
    first, plan = 12, RunPlan(run_file.load(file))  # files of round 10 are taken in in round 12
    _, said, measured = arriving.simulated(
        plan, lambda round: [write(tmp_path / f"in/{me}/{round:03}.csv", 60, int(round >= 10)) for me in arriving.TWO]
    )
    scores = [measured[r]["a0"]["arrived/accuracy"] for r in range(2, 18)]
    assert min(scores[:10]) > 0.6 and scores[10] < 0.4, scores
    for me in arriving.TWO:
        drifts = [event for of in said.values() for event in of[me] if event.name == "drift-detected"]
        assert drifts[0].round in (first, first + 1) and drifts[0].value > 0.5 > drifts[0].before, drifts
    assert all(abs(measured[r]["a0"]["arrived/shift/x"]) < 0.5 for r in range(2, 18))


class Counting(DriftOptions):
    """Says in each file how many errors there were so far."""

    kind: str = "counting"

    def detector(self):
        return Count()


class Count:
    def __init__(self):
        self.seen = 0

    def update(self, errors, shift):
        self.seen += len(errors)
        yield Drift("errors", float(self.seen), 0.0)


def test_what_looks_for_a_drift_has_seen_all_that_it_had_before_a_stop(tmp_path):
    plan, folder = arriving.plan(tmp_path, rounds=3), RunFolder(tmp_path / "run")
    counted = []
    for start in (0, 2):
        states = {me: plan.agent_state(me) for me in plan.specs}
        states["a0"].arrivals.drift = [Counting.model_construct()]
        _, said, _ = arriving.simulated(
            plan,
            lambda round: arriving.drop(tmp_path / f"in/a0/{round}.csv", 10, round + 5) if round < 1 else None,
            start,
            folder,
            states,
        )
        counted.append([event.value for event in said[2]["a0"] if event.name == "drift-detected"])
    assert counted == [[20.0], [20.0]], "ten in round 1, and ten in round 2"


def test_scales_that_are_agreed_on_anew_are_those_of_what_had_arrived_too(tmp_path):
    schema = {"modalities": {"x": {"kind": "vector", "shape": [2], "scale": "all"}}, "classes": arriving.CLASSES}
    plan = arriving.plan(tmp_path, data_schema=schema, rounds=1)
    arriving.drop(tmp_path / "in/a0/x.csv", 10, seed=7)
    states, _, _ = arriving.simulated(plan)
    states["a0"].use_agreed(Agreed({"x": Scale.given([5.0, 5.0], [2.0, 4.0], 1)}))
    states["a0"].begin(1)
    raw = plan.data.arrived("a0", ["x"], tmp_path / "in/a0/x.csv").inputs["x"]
    assert torch.equal(arriving.rows(states["a0"])[0][START:], (raw - 5) / torch.tensor([2.0, 4.0]))

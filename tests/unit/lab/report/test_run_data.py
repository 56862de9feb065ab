"""From logs to one structure: nothing invented, nothing lost, whatever state the logs are in."""

import json
import shutil
import time
from itertools import combinations

import plans
import pytest
import running
from hypothesis import given
from hypothesis import strategies as st
from patches import applied

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.report.json_diff import changes
from parse_p2p.lab.report.page import dumped
from parse_p2p.lab.report.run_data import MOST_ROUNDS, REST, RunData
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime.sketch import consensus_distance


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A world and the folder of its run."""
    path = tmp_path_factory.mktemp("run")
    plan = running.plan()
    running.over_memory(plan, path)
    RunFolder(path).write(plan.run)
    return plan, path


@pytest.fixture
def copied(ran, tmp_path):
    """The same, to be spoilt."""
    return ran[0], shutil.copytree(ran[1], tmp_path / "run")


def recorded(path):
    found = RunData(path)
    found.read()
    plain = found.plain()
    assert json.loads(dumped(plain)) == json.loads(dumped(plain))  # it is JSON, without NaN
    return plain


def add(path, me, *lines):
    with RunFolder(path).events(me).open("a") as file:
        file.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def logged(path, me, kind="round"):
    return running.events(path, me, kind)


def test_accuracies_and_losses_are_those_of_the_logs(ran):
    plan, path = ran
    run = recorded(path)
    assert run["rounds"] == [0, 1, 2] and [agent["id"] for agent in run["agents"]] == list(plan.specs)
    for agent in run["agents"]:
        rounds = logged(path, agent["id"])
        for key in ("accuracy", "loss", "test_loss"):
            assert agent[key] == pytest.approx([event[key] for event in rounds], rel=1e-4)
        assert agent["state"] == "done" and agent["final"]["round"] == 2
    audio = [a["accuracy"][2] for a in run["agents"] if a["types"][0][1] == "audio"]
    assert run["types"]["audio"]["accuracy"][2] == pytest.approx(sum(audio) / 2, rel=1e-4)
    assert run["types"]["audio"]["worst"][2] == min(audio) and run["types"]["audio"]["agents"] == [2, 2, 2]


def test_bytes_of_slices_add_up_to_all_that_was_on_the_wire(ran):
    plan, path = ran
    run = recorded(path)
    events = [event for me in plan.specs for event in logged(path, me)]
    assert sum(row["total"][-1] for row in run["slices"].values()) == sum(event["wire_out"] for event in events)
    payload = sum(n for event in events for slices in event["sent"].values() for n in slices.values())
    assert sum(sum(row["bytes"]) for name, row in run["slices"].items() if name != REST) == payload


def test_edges_carry_what_their_sender_logged(ran):
    plan, path = ran
    run = recorded(path)
    ids = list(plan.specs)
    for agent in run["agents"]:
        for t, event in enumerate(logged(path, agent["id"])):
            sent = {ids[to]: run["payloads"][payload] for to, payload in run["sends"][agent["sent"][t]]}
            assert sent == event["sent"]


def test_distances_are_those_of_the_sketches_and_within_theory(ran):
    plan, path = ran
    run = recorded(path)
    overlays = plan.overlays(0)
    for key in overlays.keys:
        row = run["consensus"][str(key)]
        holders = overlays.holders(key)
        assert row["holders"] == row["agents"] == [len(holders)] * 3
        for when in ("before", "after"):
            for t in range(3):
                sketches = [logged(path, me)[t]["sketch"][when][str(key)] for me in holders]
                assert row[when][t] == pytest.approx(consensus_distance(sketches), rel=1e-3, abs=1e-6)
        assert row["rho"] == pytest.approx([1 - overlays.graph(key).spectral_gap()] * 3, abs=1e-4)
        assert all(a <= b + 1e-4 for a, b in zip(row["after"], row["bound"], strict=True))


def test_overlays_are_those_of_the_plan(ran):
    plan, path = ran
    run = recorded(path)
    ids = list(plan.specs)
    for key in plan.overlays(1).keys:
        edges = {frozenset((ids[a], ids[b])) for a, b in run["graphs"][run["overlays"][str(key)][1]]}
        assert edges == set(map(frozenset, plan.overlays(1).graph(key).graph.edges))


def test_read_piece_by_piece_it_is_the_same_and_changes_lead_there(ran, tmp_path):
    """Lines are cut anywhere, as a reader beside a running agent finds them."""
    plan, path = ran
    logs = {me: RunFolder(path).events(me).read_bytes() for me in plan.specs}
    RunFolder(tmp_path).write(plan.run)
    growing = RunData(tmp_path)
    growing.read()
    shown = json.loads(dumped(growing.plain()))
    assert shown["rounds"] == [] and "no log here of a0, a1, a2, a3, a4" in shown["notes"][0]
    for part in range(1, 8):
        for me, log in logs.items():
            RunFolder(tmp_path).events(me).parent.mkdir(parents=True, exist_ok=True)
            RunFolder(tmp_path).events(me).write_bytes(log[: len(log) * part // 7])
        growing.read()
        new = json.loads(dumped(growing.plain()))
        patch = changes(shown, new)
        shown = shown if patch is None else applied(shown, json.loads(json.dumps(patch)))
        assert shown == new
    whole = recorded(path)
    for key in ("rounds", "types", "slices", "consensus", "events", "counts"):
        assert shown[key] == json.loads(dumped(whole))[key], key


def test_agents_of_other_hosts_have_no_log_here(copied):
    _, path = copied
    shutil.rmtree(path / "agents" / "a1")
    run = recorded(path)
    assert run["agents"][1]["here"] is False and run["agents"][1]["final"] is None
    assert run["notes"] == ["There is no log here of a1: not started yet, or on another host."]
    assert any(
        to == 1 for to, _ in run["sends"][run["agents"][0]["sent"][0]] + run["sends"][run["agents"][2]["sent"][0]]
    )


def test_a_log_that_a_kill_cut_off_ends_there(copied):
    _, path = copied
    log = RunFolder(path).events("a2")
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.rindex(b'"event": "round"') + 40])
    run = recorded(path)
    assert run["agents"][2]["accuracy"][2] is None and run["agents"][2]["state"] == "running"
    RunFolder(path).summary.write_text('{"types": [], "seconds": NaN')  # half-written
    run = recorded(path)
    assert run["agents"][2]["state"] == "died" and run["summary"] is None
    add(path, "a2", "\n", {"event": "resumed", "round": 2, "time": time.time() + 60})
    assert recorded(path)["agents"][2]["state"] == "running"


def test_what_a_log_says_need_not_be_of_the_right_type(copied):
    _, path = copied
    before = recorded(path)
    odd = [{"event": "round", "round": r, "agent": "a0"} for r in (-1, "1", None, True, 1e300, 1 << 70, [0])]
    add(
        path,
        "a0",
        "[]\n",
        "17\n",
        "\n",
        "{\n",
        '{"event": []}\n',
        '{"event": "fault", "kind": {"a": 1}, "round": {}}\n',
    )
    add(
        path, "a0", '{"event": "missing", "peers": 7, "time": NaN}\n', {"event": "modalities-changed", "round": 9}, *odd
    )
    junk = {"accuracy": "high", "loss": [], "wire_out": -5, "sent": {"a1": {"s": "x", "t": None}, "zz": {}, "a2": 3}}
    add(path, "a0", *({"event": "round", "round": 2, key: value} for key, value in junk.items()))
    assert recorded(path)["agents"] == before["agents"], "a line with facts of other types is no event"
    add(path, "a0", {"event": "round", "round": 3})  # beyond the last
    for sketch in ('{"before": {"s": [1], "t": "u"}, "after": 3}', '{"after": {"s": [NaN, "x", 2]}}', "[7]"):
        add(path, "a0", f'{{"event": "round", "round": 2, "sketch": {sketch}}}\n')
    run = recorded(path)
    assert run["rounds"] == before["rounds"] and run["consensus"] == before["consensus"]
    assert run["counts"] == before["counts"] | {"round": before["counts"]["round"] + 4}


def test_a_round_that_was_gone_through_twice_counts_once(copied):
    _, path = copied
    before = recorded(path)
    add(path, "a0", {"event": "resumed", "round": 2, "time": 1}, *logged(path, "a0")[2:])
    run = recorded(path)
    for key in ("slices", "consensus", "types"):
        assert run[key] == before[key]


def test_long_runs_are_thinned_out_but_sums_are_not(tmp_path):
    plan = plans.plan({"audio": 2}, rounds=1000)
    RunFolder(tmp_path).write(plan.run)
    for me in plan.specs:
        RunFolder(tmp_path).events(me).parent.mkdir(parents=True)
        facts = {"event": "round", "accuracy": 0.5, "wire_out": 10, "sent": {"a1" if me == "a0" else "a0": {"s": 7}}}
        add(tmp_path, me, *(facts | {"round": round} for round in range(1000)))
    run = recorded(tmp_path)
    assert len(run["rounds"]) <= MOST_ROUNDS and run["rounds"][-1] == 999 and run["stride"] == 3
    assert run["slices"]["s"]["total"][-1] == 2 * 7 * 1000 and run["slices"][REST]["total"][-1] == 2 * 3 * 1000
    assert "One round in 3 of 1000 is drawn" in run["notes"][0]


def test_events_have_sentences(copied):
    _, path = copied
    add(
        path,
        "a1",
        {"event": "lost", "round": 2, "peer": "a0", "time": 5e9},
        {"event": "missing", "round": 2, "peers": ["a0", "a3"]},
    )
    add(
        path,
        "a1",
        {"event": "fault", "kind": "kill", "position": 0, "round": 2, "ends": True, "restart": None},
        {"event": "fault-counts", "counts": {"drop": 3, "delay": 1}},
    )
    add(path, "a1", {"event": "modalities-changed", "round": 1, "modalities": ["audio", "motion"]})
    run = recorded(path)
    assert {event["note"] for event in run["events"] if event["agent"] == "a1"} == {
        "lost its neighbour a0",
        "had no message from a0, a3",
        "is struck by a fault of kind kill",
        "had this done to its messages on purpose: drop 3, delay 1",
        "has audio+motion from now on",
    }
    assert run["agents"][1]["state"] == "killed" and run["agents"][1]["types"][1] == [1, "audio+motion"]


def test_agents_that_come_late_are_absent_before(tmp_path):
    plan = running.plan(events=[{"round": 2, "agent": "a4", "join": True}, {"round": 2, "agent": "a0", "leave": True}])
    running.over_memory(plan, tmp_path)
    RunFolder(tmp_path).write(plan.run)
    run = recorded(tmp_path)
    assert run["agents"][4]["absent"] == [0, 1] and run["agents"][4]["accuracy"][:2] == [None, None]
    assert run["agents"][0]["absent"] == [2] and run["agents"][0]["state"] == "left"
    row = run["consensus"]["head.redundant@all"]
    assert row["holders"] == row["agents"] == [4, 4, 4]


def test_a_run_whose_data_are_missing_here_is_shown_all_the_same(ran, tmp_path):
    plan, path = ran
    there = shutil.copytree(path, tmp_path / "run")
    away = plan.run.model_copy(update={"dataset": "npz", "data": {"file": "nowhere.npz"}})
    (there / "run.yaml").write_text(run_file.dump(away))
    assert recorded(there)["graphs"] == recorded(path)["graphs"] != []


def test_a_run_that_cannot_be_planned_here_is_shown_without_theory(ran, tmp_path):
    plan, path = ran
    there = shutil.copytree(path, tmp_path / "run")
    missing = {"dataset": "npz", "data": {"path": "nowhere.npz"}, "data_schema": None, "fingerprint": None}
    away = plan.run.model_copy(update=missing)
    (there / "run.yaml").write_text(run_file.dump(away))
    run = recorded(there)
    assert run["notes"][0].startswith("The overlays of this run cannot be derived here: ")
    assert run["graphs"] == [] and len(run["graph"]["positions"]) == 5
    assert run["consensus"]["head.redundant@all"]["bound"] == [None] * 3
    assert run["consensus"]["head.redundant@all"]["after"] == recorded(path)["consensus"]["head.redundant@all"]["after"]


@pytest.mark.parametrize(
    ("method", "option"),
    [("parse", {"mixer": "median"}), ("parse", {"exchange": "push-sum"}), ("dsgd-hybrid", {"order": "cta"}),
     ("harmony", {"sigma": 0.5})],
)  # fmt: skip
def test_theory_bounds_only_what_it_is_true_of(copied, method, option):
    plan, path = copied
    (path / "run.yaml").write_text(run_file.dump(plan.run.model_copy(update={"method": method, "options": option})))
    run = recorded(path)
    [(key, value)] = option.items()
    assert any(f"With options.{key}: {value} theory gives no ρ" in note for note in run["notes"])
    laid = [row for row in run["consensus"].values() if row["holders"] != [None] * 3]
    assert laid and run["graphs"]
    assert all(row["bound"] == row["rho"] == [None] * 3 for row in laid)


def test_a_method_with_a_coordinator_needs_no_word_on_theory(tmp_path):
    RunFolder(tmp_path).write(running.plan(method="fedavg").run)
    assert not any("theory" in note for note in recorded(tmp_path)["notes"])


def test_numbers_beyond_measure_are_none(copied):
    _, path = copied
    before, huge = recorded(path), "9" * 400
    for me in ("a0", "a1"):
        sent = f'"sent": {{"a1": {{"s": {huge}}}}}'
        for facts in (f'"accuracy": {huge}', f'"wire_out": {huge}', f'"time": {huge}', sent):
            add(path, me, f'{{"event": "round", "round": 2, {facts}}}\n')
    add(path, "a2", f'{{"event": "round", "round": {huge}}}\n')
    assert recorded(path) == before
    add(path, "a0", '{"event": "round", "round": 2, "accuracy": NaN, "loss": 1e308}\n')
    add(path, "a0", f'{{"event": "round", "round": 2, "sketch": {{"after": {{"s": {[int(huge)] * 32}}}}}}}\n')
    run = recorded(path)
    assert run["agents"][0]["accuracy"][2] is run["agents"][0]["loss"][2] is None and "s" not in run["slices"]


def test_where_there_is_no_run_it_says_so(tmp_path):
    with pytest.raises(ConfigError, match="there is no run in"):
        RunData(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=20,
)


@given(values, values)
def test_changes_lead_from_any_structure_to_any_other(old, new):
    patch = changes(old, new)
    if patch is None:
        assert old == new
    else:
        assert applied(json.loads(json.dumps(old)), json.loads(json.dumps(patch))) == new


def unit(before, after):
    way = [b - a for b, a in zip(before, after, strict=True)]
    size = sum(x * x for x in way) ** 0.5
    return [x / size for x in way]


def test_cosines_are_those_of_the_logged_sketches_of_agents_that_moved(ran):
    """Of real agents over memory: those of one slice that all hold, and none in the first round."""
    plan, path = ran
    row = recorded(path)["conflict"]["head.redundant@all"]
    assert row["across"][0] is row["unimodal"][0] is None and row["agents"] == [[0, 0], [4, 1], [4, 1]]
    for t in (1, 2):
        sides = {False: [], True: []}
        for me in plan.peers:
            logs = [event["sketch"] for event in logged(path, me)]
            way = unit(logs[t]["before"]["head.redundant@all"], logs[t - 1]["after"]["head.redundant@all"])
            sides["+" in plan.kind(me)].append(way)
        across = [sum(x * y for x, y in zip(a, b, strict=True)) for a in sides[False] for b in sides[True]]
        assert row["across"][t] == pytest.approx(sum(across) / 4, abs=1e-4)
        within = [sum(x * y for x, y in zip(a, b, strict=True)) for a, b in combinations(sides[False], 2)]
        assert row["unimodal"][t] == pytest.approx(sum(within) / 6, abs=1e-4) and row["multimodal"][t] is None


@pytest.mark.parametrize("begins", [{"event": "start", "modalities": ["audio"]}, {"event": "resumed", "round": 2}])
def test_who_was_stopped_has_not_moved_in_the_round_it_comes_back(copied, begins):
    plan, path = copied
    me = next(me for me in plan.peers if plan.kind(me) == "audio")
    log = RunFolder(path).events(me)
    lines = log.read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if json.loads(line).get("round") == 2 and '"sketch"' in line)
    log.write_text("".join([*lines[:last], json.dumps({"agent": me, "time": 1.0, **begins}) + "\n", *lines[last:]]))
    assert recorded(path)["conflict"]["head.redundant@all"]["agents"] == [[0, 0], [4, 1], [3, 1]]


def test_who_gains_a_modality_is_from_then_on_one_with_several(copied):
    plan, path = copied
    me = next(me for me in plan.peers if plan.kind(me) == "audio")
    log = RunFolder(path).events(me)
    lines = log.read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if json.loads(line).get("round") == 2 and '"sketch"' in line)
    event = {"agent": me, "time": 1.0, "event": "modalities-changed", "round": 2, "modalities": ["audio", "motion"]}
    log.write_text("".join([*lines[:last], json.dumps(event) + "\n", *lines[last:]]))
    assert recorded(path)["conflict"]["head.redundant@all"]["agents"] == [[0, 0], [4, 1], [3, 2]]


def test_rounds_that_are_logged_again_move_nothing_a_second_time(copied):
    _plan, path = copied
    whole = recorded(path)["conflict"]
    log = RunFolder(path).events("a0")
    lines = [line for line in log.read_text().splitlines(keepends=True) if '"sketch"' in line]
    with log.open("a") as file:
        file.writelines(lines)
    assert recorded(path)["conflict"] == whole

"""Every bad input is one sentence on stderr and exit code 2, and leaves no folder behind."""

import socket
from pathlib import Path

import pytest
import yaml

from parse_p2p.cli import run, run_summary
from parse_p2p.cli.progress import size
from parse_p2p.config import run_file, shipped
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.event_log import EventLog
from parse_p2p.core.events import Failed
from parse_p2p.launch import run_folder as folders
from parse_p2p.launch.exit_codes import FAILED
from parse_p2p.launch.launchers import local
from parse_p2p.launch.supervisor import Launcher, Supervisor

RUN = {
    "graph": {"generator": "ring"},
    "agents": {"mix": {"audio": 2, "motion": 1}},
    "dataset": "bits",
    "data": {"samples": 160},
    "model": {"latent": 12, "hidden": 8, "encoder": {"width": 8, "depth": 1}},
    "rounds": 2,
    "device": "cpu",
}
PAIR = [{"id": "a0", "modalities": ["audio"]}, {"id": "a1", "modalities": ["audio"]}]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes the run file, with changes, into the working directory of the test."""
    monkeypatch.chdir(tmp_path)

    def file(**changes):
        (tmp_path / "three.yaml").write_text(yaml.safe_dump(RUN | changes))
        return "three.yaml"

    file()
    return file


@pytest.fixture
def refused(agent, tmp_path):
    """The sentence with which it is refused, having left nothing."""

    def refused(*arguments):
        before = {path for path in tmp_path.rglob("*")}
        code, out, err = agent(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
        assert {path for path in tmp_path.rglob("*")} == before, "something was written"
        return err

    return refused


CHANGES = {
    "method": ({"method": "parze"}, ["'parze'", "did you mean 'parse'"]),
    "data set": ({"dataset": "bitz", "data": {}}, ["'bitz'", "did you mean 'bits'"]),
    "generator": ({"graph": {"generator": "rnig"}}, ["'rnig'", "did you mean 'ring'"]),
    "codec": ({"codec": "bf61"}, ["'bf61'", "did you mean 'bf16'"]),
    "partition": ({"partition": {"kind": "idd"}}, ["'idd'", "did you mean 'iid'"]),
    "option of the data": ({"data": {"sample": 3}}, ["data.sample", "did you mean 'samples'"]),
    "option of the method": ({"options": {"x": 1}}, ["options.x"]),
    "modality nobody has": ({"agents": {"mix": {"audio": 2, "smell": 1}}}, ["'smell'", "'bits'", "audio, motion"]),
    "disconnected graph": (
        {"graph": {"edges": [["a0", "a1"]]}, "agents": [*PAIR, {"id": "a2", "modalities": ["audio"]}]},
        ["2 connected components", "a2"],
    ),
    "unequal slices": (
        {"agents": [*PAIR, {"id": "a2", "modalities": ["audio"], "model": {"latent": 30}}]},
        ["a0 and a2", "latent"],
    ),
    "a role that there is not": (
        {"agents": [*PAIR, {"id": "a2", "modalities": ["audio"], "role": "server"}]},
        ["agents.2.role", "'peer' or 'coordinator'", "'server'"],
    ),
    "a coordinator that is missing": (
        {"method": "fedavg"},
        ["'fedavg' needs a coordinator", "role: coordinator", "topologies/star.yaml"],
    ),
    "two coordinators": (
        {"agents": [*PAIR, {"id": "c", "role": "coordinator"}, {"id": "d", "role": "coordinator"}]},
        ["c and d are both coordinators"],
    ),
    "a peer that senses nothing": ({"agents": [*PAIR, {"id": "a2"}]}, ["a2 needs modalities"]),
    "public data from nowhere": ({"public": {}}, ["public", "exactly one of share and dataset"]),
    "public data of another kind": (
        {"public": {"dataset": "digits4"}},
        ["public.dataset", "'digits4' does not hold 'audio'"],
    ),
    "the same id twice": ({"agents": [PAIR[0], PAIR[0]]}, ["'a0'", "twice"]),
    "device": ({"device": "abacus"}, ["'abacus'", "try cpu or auto"]),
    "a GPU": ({"device": "cuda:99"}, ["'cuda:99'", "try cpu or auto"]),
    "autocast": ({"train": {"autocast": "fp8"}}, ["train.autocast", "'none' or 'bf16', not 'fp8'"]),
    "network": ({"model": {"network": "fision"}}, ["'fision'", "did you mean 'fission'"]),
    "a name that is no folder's": ({"name": "/three"}, ["name"]),
    "a method that is no module's": ({"method": ".parse"}, ["'.parse'"]),
}


@pytest.mark.parametrize(("changes", "said"), CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_cannot_be_run_is_refused(file, refused, changes, said):
    sentence = refused("--topology", file(**changes))
    assert [part for part in said if part not in sentence] == []


ARGUMENTS = {
    "no such agent": (["--id", "a33"], ["--id a33: there is no such agent", "Known: a0, a1, a2"]),
    "a setting without =": (["--set", "train.lr"], ["--set train.lr: write key=value"]),
    "a setting without a key": (["--set", "=1"], ["--set =1: write key=value"]),
    "a setting of no key": (["--set", "train.lrr=1"], ["--set train.lrr", "did you mean 'lr'"]),
    "a setting that is no value": (["--set", "train.lr=[1"], ["--set train.lr: '[1' is no value"]),
    "a setting that is no date": (["--set", "name=2020-13-45"], ["--set name"]),
    "a method by option": (["--method", "harmnoy"], ["did you mean 'harmony'"]),
    "no rounds": (["--rounds", "0"], ["--set rounds", "not 0"]),
    "resume without a run": (["--resume"], ["there is no run in runs/three-parse-bits-s0 to resume"]),
    "resume one without a run": (["--resume", "--id", "a0"], ["there is no run in runs/three-parse-bits-s0 to resume"]),
}


@pytest.mark.parametrize(("arguments", "said"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_a_command_line_that_cannot_be_is_refused(file, refused, arguments, said):
    sentence = refused("--topology", "three.yaml", *arguments)
    assert [part for part in said if part not in sentence] == []


EVERYWHERE = [
    PAIR[0] | {"address": "tcp://10.0.0.1:7000", "bind": "0.0.0.0"},
    PAIR[1] | {"address": "tcp://10.0.0.2:7000"},
]


def test_an_address_beyond_loopback_needs_keys_or_a_clear_word(file, refused):
    path = file(agents=EVERYWHERE, graph={"edges": [["a0", "a1"]]})
    sentence = refused("--topology", path, "--id", "a0")
    for part in ("keys", "no such file", "parse-agent keys --topology", "security: none"):
        assert part in sentence


def test_a_file_of_many_hosts_is_not_run_on_one(file, refused):
    path = file(agents=[PAIR[0] | {"address": "tcp://192.0.2.77:7000"}, PAIR[1]], graph={"edges": [["a0", "a1"]]},
                security="none")  # fmt: skip
    assert "start it on its own host, with --id" in refused("--topology", path)


def test_a_cluster_starts_all_agents(file, refused):
    assert "leave out --id" in refused("--topology", file(), "--launcher", "ray", "--id", "a0")


def test_keys_are_made_once_and_lie_beside_the_file(file, agent, tmp_path):
    path = file()
    code, out, _ = agent("keys", "--topology", path)
    assert code == 0 and "made keys for a0, a1, a2" in out.replace("\n", " ")
    folder = tmp_path / "keys"
    assert {p.name for p in folder.iterdir()} == {f"a{i}.{kind}" for i in range(3) for kind in ("key", "pub")}
    before = {p: p.read_bytes() for p in folder.iterdir()}
    code, out, _ = agent("keys", "--topology", path, "--id", "a1")
    assert code == 0 and "nothing was changed" in out
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_keys_for_nobody_are_refused(file, refused):
    assert "no such agent" in refused("keys", "--topology", file(), "--id", "a33")


@pytest.mark.parametrize("arguments", [["--rouns", "3"], ["--rounds", "many"], []])
def test_what_typer_refuses_is_no_traceback_either(file, refused, arguments):
    refused(*(["--topology", "three.yaml", *arguments] if arguments else []))


def test_a_missing_file_is_refused(file, refused):
    assert "none.yaml cannot be read: no such file" in refused("--topology", "none.yaml")


def test_an_occupied_port_is_refused_by_address(file, refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused("--topology", file(base_port=port - 2))
    assert f"agent a1 cannot listen on tcp://127.0.0.1:{port}: address already in use" in sentence


def test_a_folder_that_is_taken_is_refused(file, refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.yaml").write_text("")
    assert "--out out holds a run already: add --resume" in refused("--topology", "three.yaml", "--out", "out")


def test_a_run_of_one_agent_is_not_begun_twice(file, refused, tmp_path):
    (tmp_path / "out" / "agents" / "a0").mkdir(parents=True)
    (tmp_path / "out" / "agents" / "a0" / "events.jsonl").write_text("")
    sentence = refused("--topology", "three.yaml", "--out", "out", "--id", "a0")
    assert "holds a run of agent a0 already: add --resume" in sentence


def test_the_help_shows_examples_and_what_there_is(agent):
    code, out, err = agent("--help")
    assert (code, err) == (0, "")
    assert "Examples" in out and "parse-agent --topology ring.yaml --resume" in out
    assert "harmony" in out and "bits" in out


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(file, agent):
    code, _, err = agent("--topology", "three.yaml", "--set", "train.lr=1e30", "--out", "out", "--quiet")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert "the loss of agent a" in err and "lower train.lr" in err


class Done(Supervisor):
    """A fleet whose agents are at their end before they begin."""

    def __enter__(self):
        return self

    def running(self):
        return []


@pytest.fixture
def at_once(monkeypatch):
    done = Launcher(lambda run: run, lambda plan, folder: None, Done)
    monkeypatch.setattr(local, "LAUNCHER", done)
    monkeypatch.setattr(run_summary, "conclude", lambda *arguments: None)
    monkeypatch.setattr(run_summary, "show", lambda *arguments: None)
    monkeypatch.setattr(run.signal, "signal", lambda *arguments: None)


class Broken(Done):
    """One whose agent writes why it ended only when it is asked how."""

    def exit_codes(self):
        log = EventLog("a0", self._folder.events("a0"))
        log.write(Failed(why="no disk"))
        log.close()
        return {"a0": FAILED}


def test_why_an_agent_failed_is_said_however_late_it_is_logged(file, agent, at_once, monkeypatch):
    monkeypatch.setattr(local, "LAUNCHER", Launcher(lambda run: run, lambda plan, folder: None, Broken))
    assert agent("--topology", "three.yaml", "--quiet") == (2, "", "error: no disk\n")


def test_a_shipped_topology_is_found_by_name_and_said_to_be_so(agent, at_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for named in ("ring", "ring.yaml"):
        code, out, err = agent("--topology", named, "--dataset", "bits", "--out", f"out-{named}")
        assert code == 0 and out.startswith("parse on bits: 8 agents on ring, 20 rounds")
        assert err == f"there is no file {named} here: took the shipped {shipped.folder() / 'ring.yaml'}\n"
    assert agent("--topology", "ring", "--dataset", "bits", "--quiet") == (0, "", "")
    assert (tmp_path / "runs" / "ring-parse-bits-s0" / "run.yaml").exists(), "named after it"
    assert run_file.load(tmp_path / "out-ring" / "run.yaml").keyring == str(shipped.folder() / "keys")


def test_a_file_of_ones_own_is_taken_without_a_word(file, agent, at_once):
    code, _, err = agent("--topology", "three.yaml")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("arguments", [["--quiet"], ["--log-level", "quiet"], ["--quiet", "--log-level", "debug"]])
def test_quiet_says_nothing_before_the_summary(file, agent, at_once, arguments):
    assert agent("--topology", "three.yaml", *arguments) == (0, "", "")


def test_a_log_level_that_there_is_not_is_refused(file, refused):
    assert "'loud'" in refused("--topology", "three.yaml", "--log-level", "loud")


def test_keys_are_not_made_beside_a_shipped_file(tmp_path, monkeypatch, agent):
    monkeypatch.chdir(tmp_path)
    code, _, err = agent("keys", "--topology", "ring")
    assert code == 2 and "ring cannot be read: no such file" in err


def test_check_says_what_is_wrong_and_writes_nothing(file, agent, tmp_path):
    path = file(codec="bf61", train={"lrr": 1})
    before = sorted(tmp_path.rglob("*"))
    code, out, err = agent("check", path)
    assert (code, out) == (2, "") and [line.split(":")[0] for line in err.splitlines()] == ["three.yaml"] * 2
    code, out, err = agent("check", path, "--set", "train={}")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "codec" in err
    file()
    code, out, err = agent("check", path)
    assert (code, err) == (0, "") and out.startswith(
        "three.yaml: nothing is wrong: 3 agents, method parse, data set bits, 2"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_check_says_what_an_agent_sends(file, agent):
    _, out, _ = agent("check", file(), "--set", "codec=raw")
    _, half, _ = agent("check", file(), "--set", "codec=bf16")
    plan = RunPlan(run_file.load(Path("three.yaml")))
    mean = sum(plan.overlays(0).plan(me).payload() for me in plan.peers) / 3
    assert out.endswith(f", {size(mean)} sent by an agent in a round\n")
    assert half.endswith(f", {size(mean / 2)} sent by an agent in a round\n")


def test_check_finds_shipped_files_and_refuses_what_is_none(agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = agent("check", "changing", "--set", "dataset=bits")
    assert (code, err) == (0, "") and out.startswith(
        f"{shipped.folder() / 'changing.yaml'}: nothing is wrong: 8 agents"
    )
    code, out, err = agent("check", "rnig")
    assert (code, out) == (2, "") and "did you mean 'ring'" in err
    assert agent("check", "star", "--set", "dataset=bits")[1].count("and the coordinator hub") == 1


def test_a_second_run_of_a_file_gets_a_folder_of_its_own(file, agent, refused, at_once, tmp_path):
    for _ in range(3):
        assert agent("--topology", "three.yaml", "--quiet")[0] == 0
    assert agent("--topology", "three.yaml", "--quiet", "--seed", "1")[0] == 0
    names = sorted(path.name for path in (tmp_path / folders.RUNS).iterdir())
    assert names == [f"three-parse-bits-s{end}" for end in ("0", "0-2", "0-3", "1")]
    assert all((tmp_path / folders.RUNS / name / "run.yaml").exists() for name in names)
    assert "runs/three-parse-bits-s0-3 has no round that every agent" in refused("--topology", "three.yaml", "--resume")


def test_a_run_is_not_resumed_with_other_options(file, agent, refused, at_once, tmp_path):
    assert agent("--topology", "three.yaml", "--quiet", "--out", "out")[0] == 0
    for arguments, said in ((["--seed", "1"], "another seed (0, now 1)"), (["--set", "train.lr=1"], "another train")):
        assert said in refused("--topology", "three.yaml", "--out", "out", "--resume", *arguments)


def test_an_agent_is_named_by_its_place_in_the_file_too_and_by_the_environment(file, monkeypatch):
    plan = RunPlan(run_file.load(Path(file())))
    assert [run.agent_named(id, plan) for id in ("a2", "0", "2")] == ["a2", "a0", "a2"]
    named = [{"id": "2", "modalities": ["audio"]}, *PAIR]
    assert run.agent_named("2", RunPlan(run_file.load(Path(file(agents=named))))) == "2", "a name comes first"


def test_a_number_beyond_the_last_agent_is_refused(file, refused, monkeypatch):
    monkeypatch.setenv("PARSE_AGENT_ID", "3")
    said = refused("--topology", "three.yaml")
    assert "--id 3: there is no such agent in the file: Known: a0, a1, a2, or a number up to 2" in said


def test_a_launcher_that_there_is_not_is_refused(file, refused):
    said = refused("--topology", "three.yaml", "--launcher", "rya")
    assert "there is no launcher 'rya': did you mean 'ray'? Known: local, ray" in said

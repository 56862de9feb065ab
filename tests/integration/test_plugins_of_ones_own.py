"""A plug-in of each kind, one file each in a folder outside the package, and nothing else touched to use it."""

import importlib
import json
import signal
import subprocess
import sys
from collections import Counter

import arriving
import pytest
import running
import yaml
from plans import plan

from parse_p2p.cli import run_summary
from parse_p2p.config import run_file
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.event_log import EventLog
from parse_p2p.lab.experiments.engines import simulated
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.wire.faults.base import broken

FILES = {
    "method": '''
from parse_p2p.core.slices import having, nobody
from parse_p2p.methods.base import Method
from parse_p2p.methods.gossip import SCRIPTS, GossipOptions

def sharing(options, round, rounds):
    USED.append(round)
    return {"trunk": having, "rows.joint": nobody, "head.unimodal": nobody, "head.joint": nobody}

METHOD = Method("trunks", "", "gossip the trunks alone", GossipOptions, SCRIPTS, sharing, networks=("mine.network",))
''',
    "network": '''
from pydantic import BaseModel, Field
from parse_p2p.models.monolithic import Monolithic

class Options(BaseModel):
    storeys: int = Field(1, ge=1)

def NETWORK(shapes, classes, options, encoders):
    USED.append(options.read(Options).storeys)
    return Monolithic(shapes, classes, options, encoders)
''',
    "data": '''
from pydantic import BaseModel, Field
from parse_p2p.data.sets import bits

class Options(BaseModel, extra="forbid"):
    many: int = Field(100, ge=1)

def open(options, seed):
    USED.append(options.many)
    return bits.open(bits.Options(samples=options.many), seed)
''',
    "encoder": '''
from torch import nn

def build(shape, options):
    USED.append(shape)
    return nn.Linear(shape[0], options.width)
''',
    "codec": '''
from parse_p2p.wire.codecs import raw
from parse_p2p.wire.codecs.base import Codec

def encode(tensor):
    USED.append(tensor.numel())
    return raw.CODEC.encode(tensor)

CODEC = Codec("mine.codec", False, encode, raw.CODEC.length, raw.CODEC.decode)
''',
    "mixer": '''
from pydantic import Field
from parse_p2p.core.mixers.base import Mixer

class Halfway(Mixer):
    pull: float = Field(0.5, ge=0, le=1)

    def mix(self, mine, theirs, weights):
        USED.append(self.pull)
        for peer in sorted(theirs):
            mine.lerp_(theirs[peer], self.pull / len(theirs))

MIXER = Halfway
''',
    "exchange": '''
from pydantic import Field
from parse_p2p.methods.base import Exchange
from parse_p2p.methods.exchanges.base import ExchangeMode, mix_slices, slices

class Seldom(ExchangeMode):
    every: int = Field(2, ge=1)

    def run(self, local, mix):
        USED.append((local.round, self.every))
        inbox = yield (Exchange("nothing") if local.round % self.every else slices(local))
        mix_slices(local, inbox, mix)

EXCHANGE = Seldom
''',
    "blackout": '''
from dataclasses import replace
from pydantic import Field
from parse_p2p.wire.faults.base import MessageFault

class Blackout(MessageFault):
    sender: str
    within: int = Field(1, ge=1)

    def named(self):
        yield "sender", self.sender

    def concerns(self, envelope):
        return envelope.plane == "data" and envelope.sender == self.sender and envelope.round < self.within

    def apply(self, delivery, rng):
        USED.append(self.sender)
        return replace(delivery, copies=0)

FAULT = Blackout
''',
    "hiccup": '''
from parse_p2p.wire.faults.base import ProcessFault

class Hiccup(ProcessFault):
    sound: str

    def strike(self):
        USED.append(self.sound)

FAULT = Hiccup
''',
    "blinking": '''
from parse_p2p.wire.faults.base import SensorFault

class Blinking(SensorFault):
    def breaks(self, round):
        return bool(round % 2)

FAULT = Blinking
''',
    "finder": '''
from pydantic import Field
from parse_p2p.discovery.base import FoundOptions, WithoutGossip

class Finder(WithoutGossip):
    def __init__(self, site):
        self.site = site

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass

    async def announce(self, card, send):
        for other in USED:
            if other.me in self.site.neighbours:
                self.site.transport.connect(other.me, other.transport.endpoints)
                other.transport.connect(self.site.me, self.site.transport.endpoints)
        USED.append(self.site)

class FinderOptions(FoundOptions):
    contacts: str = Field("all", min_length=2)

    def open(self, site):
        return Finder(site)

DISCOVERY = FinderOptions
''',
    "launcher": '''
from parse_p2p.launch.supervisor import Launcher, Supervisor

class Idle(Supervisor):
    def __enter__(self):
        USED.extend(self._plan.specs)
        return self

    def running(self):
        return []

LAUNCHER = Launcher(lambda run: run, lambda plan, folder: None, Idle)
''',
    "event": '''
from parse_p2p import Event

class Greeted(Event):
    peer: str

    @property
    def sentence(self):
        return f"greeted {self.peer}"
''',
    "optimiser": '''
import torch
from pydantic import Field
from parse_p2p.learning.optimisers.base import Optimiser

class Halved(Optimiser):
    part: float = Field(0.5, gt=0)

    def make(self, groups, lr):
        USED.append(self.part)
        return torch.optim.SGD(groups, lr=lr * self.part)

OPTIMISER = Halved
''',
    "schedule": '''
from pydantic import Field
from parse_p2p.learning.schedules.base import Schedule

class Blinks(Schedule):
    rest: int = Field(2, ge=2)

    def rate(self, lr, round, rounds):
        USED.append(round)
        return lr * (round % self.rest > 0)

SCHEDULE = Blinks
''',
    "weighting": '''
from pydantic import Field
from parse_p2p.models import Weigher, Weighting

class First(Weigher):
    def __init__(self, share):
        super().__init__()
        self.share = share

    def weights(self, network, latents):
        USED.append(self.share)
        first, *others = latents
        whole = next(iter(latents[first].values()))[:, 0] * 0 + 1
        return {first: whole, **dict.fromkeys(others, whole * self.share)}

class TheFirst(Weighting):
    share: float = Field(0.5, ge=0, le=1)

    def weigher(self, widths):
        return First(self.share)

WEIGHTING = TheFirst
''',
    "metric": '''
def METRIC(predictions):
    USED.append(tuple(predictions.probabilities.shape))
    return {"samples": len(predictions.targets)}
''',
    "keeping": '''
import torch
from pydantic import Field
from parse_p2p.data.keeping.base import Keeping

class Oldest(Keeping):
    samples: int = Field(ge=1)

    def kept(self, held, seen, count, draw):
        USED.append((seen, count))
        return torch.arange(min(self.samples, held + count))

KEEPING = Oldest
''',
    "drift": '''
from pydantic import Field
from parse_p2p.learning.drift.base import Drift, DriftOptions

class Always(DriftOptions):
    what: str = Field("weather", min_length=3)

    def detector(self):
        return self

    def update(self, errors, shift):
        USED.append((len(errors), *shift))
        yield Drift(self.what, 2.0, 1.0)

DRIFT = Always
''',
    "measure": '''
def measure(plan, agent_states):
    return {"agents": len(agent_states)}
''',
}  # fmt: skip


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """The folder of the plug-ins; gives what one of them says it was used for."""
    folder = tmp_path / "elsewhere" / "mine"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(f"USED = []\n{text}")
    monkeypatch.syspath_prepend(folder.parent)
    yield lambda name: importlib.import_module(f"mine.{name}").USED
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


def test_what_learns_and_is_exchanged(mine, tmp_path):
    made = plan(
        {"audio": 2, "audio+motion": 2},
        method="mine.method",
        dataset="mine.data",
        data={"many": 90},
        codec="mine.codec",
        model={"network": "mine.network", "storeys": 3, "weighting": "mine.weighting", "share": 0.75},
        encoder={"kind": "mine.encoder"},
        options={"mixer": "mine.mixer", "pull": 0.25, "exchange": "mine.exchange", "every": 3},
        metrics=["mine.metric"],
        train={"optimiser": "mine.optimiser", "part": 0.25, "schedule": "mine.schedule", "rest": 3},
    )
    outcome = simulated(made, "key", ["mine.measure"], tmp_path)
    assert outcome.measures["agents"] == 4
    assert {(outcome.measures["samples"], 16)} == set(mine("metric"))
    assert set(mine("weighting")) == {0.75}
    assert set(mine("network")) == {3} and mine("data") == [90] and set(mine("mixer")) == {0.25}
    assert set(mine("optimiser")) == {0.25} and set(mine("schedule")) == set(range(made.run.rounds))
    assert set(mine("exchange")) == {(round, 3) for round in range(made.run.rounds)}
    for name in ("method", "encoder", "codec"):
        assert mine(name), name
    assert [n > 0 for n in outcome.bytes] == [True, False, False, True], "it exchanges in every third round"


def test_faults_of_messages_processes_and_sensors(mine, tmp_path):
    faults = [
        {"kind": "mine.blackout", "sender": "a1", "within": 2},
        {"kind": "mine.hiccup", "agents": ["a0"], "round": 1, "sound": "hic"},
        {"kind": "mine.blinking", "agents": ["a2"], "modality": "audio"},
    ]
    made = running.plan(faults=faults, clocks={"heartbeat": 0.05, "lost": 60, "exchange": 0.4, "drain": 2})
    assert RunFile.model_validate(made.run.model_dump()) == made.run, "as an agent's process is told"
    assert [broken(made.run.faults, "a2", round) for round in range(2)] == [frozenset(), {"audio"}]
    running.over_memory(made, tmp_path)
    [done] = running.events(tmp_path, "a1", "fault-counts")
    assert done["counts"]["mine.blackout"] == len(mine("blackout")) == 2 * len(made.neighbours("a1"))
    [struck] = running.events(tmp_path, "a0", "fault")
    assert (struck["kind"], struck["round"], struck["sound"]) == ("mine.hiccup", 1, "hic") and "restart" not in struck
    assert mine("hiccup") == ["hic"]


def test_what_keeps_samples_that_arrive_and_looks_for_a_drift(mine, tmp_path):
    keys = {"keep": {"kind": "mine.keeping", "samples": 45}, "drift": [{"kind": "mine.drift", "what": "tides"}]}
    made = arriving.plan(tmp_path, keys, rounds=1)
    arriving.drop(tmp_path / "in/a0/new.csv", 20)
    states, said, _ = arriving.simulated(made)
    assert states["a0"].learner.samples == 45 and states["a1"].learner.samples < 45
    [_, drift] = said[0]["a0"]
    assert drift.sentence == "sees a drift of its tides: 2, and 1 before (mine.drift)"
    assert mine("drift") == [(20, "x")] and (30, 20) in mine("keeping")


def test_a_discovery(mine, tmp_path):
    made = running.plan(discovery={"kind": "mine.finder", "contacts": "few"}, rounds=2)
    states = running.over_found(made, tmp_path)
    assert running.differing(states, running.simulated(running.plan(rounds=2))) == []
    assert sorted(site.me for site in mine("finder")) == sorted(made.specs)


def test_a_launcher(mine, agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_summary, "conclude", lambda *arguments: None)
    monkeypatch.setattr(run_summary, "show", lambda *arguments: None)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    made = running.plan()
    running.write(made, tmp_path)
    code, _, err = agent("--topology", "world.yaml", "--launcher", "mine.launcher", "--quiet")
    assert (code, err) == (0, "") and mine("launcher") == list(made.specs)


def test_an_event(mine, tmp_path):
    made = running.plan(rounds=1)
    running.over_memory(made, tmp_path)
    RunFolder(tmp_path).write(made.run)
    log = EventLog("a1", RunFolder(tmp_path).events("a1"))
    log.write(importlib.import_module("mine.event").Greeted(peer="a0"))
    log.close()
    read = """
import json, sys
from pathlib import Path
from parse_p2p.lab.report.run_data import RunData
data = RunData(Path(sys.argv[1]))
data.read()
print(json.dumps(data.plain()["events"][-1]))
"""
    shown = json.loads(subprocess.check_output([sys.executable, "-c", read, tmp_path], text=True))  # without the class
    assert {key: shown[key] for key in ("agent", "kind", "event", "note")} == {
        "agent": "a1", "kind": "other", "event": "greeted", "note": "greeted a0"
    }  # fmt: skip


FILE = {"graph": {"generator": "ring"}, "agents": {"mix": {"audio": 3}}, "dataset": "bits"}


def blackout(**options):
    return {"faults": [{"kind": "mine.blackout", "sender": "a1"} | options]}


def network(**options):
    return {"method": "mine.method", "model": {"network": "mine.network"} | options}


def finder(**options):
    return {"discovery": {"kind": "mine.finder"} | options}


UNKNOWN = "there is no such key here; "
WRONG = {
    "fault's key": (blackout(withn=1), f"faults.0.withn: {UNKNOWN}did you mean 'within'"),
    "fault's option": (blackout(within=0), "faults.0.within: input should be greater than or equal to 1"),
    "fault's agent": (blackout(sender="a9"), "faults.0.sender: there is no agent 'a9'"),
    "no fault": (blackout(kind="mine.mixer"), "faults.0: 'mine.mixer' is no fault (it has no FAULT): Known: corrupt"),
    "no such fault": (blackout(kind="mine.nothing"), "faults.0: there is no fault 'mine.nothing': "),
    "discovery's key": (finder(contcts="x"), f"discovery.contcts: {UNKNOWN}did you mean 'contacts'"),
    "discovery's option": (finder(contacts="x"), "discovery.contacts: string should have at least 2"),
    "mixer's key": ({"options": {"mixer": "mine.mixer", "pul": 1}}, f"options.pul: {UNKNOWN}did you mean 'pull'"),
    "mixer's option": ({"options": {"mixer": "mine.mixer", "pull": 2}}, "options.pull: input should be less than"),
    "another's key": ({"options": {"pull": 1}}, f"options.pull: {UNKNOWN}"),
    "network's key": (network(storys=2), f"model.storys: {UNKNOWN}did you mean 'storeys'"),
    "network's option": (network(storeys=0), "model.storeys: input should be greater than or equal to 1"),
    "another network's key": ({"model": {"storeys": 1}}, f"model.storeys: {UNKNOWN}"),
    "no such network": ({"model": {"network": "mine.networks"}}, "model.network: there is no network 'mine.networks'"),
    "optimiser's key": (
        {"train": {"optimiser": "mine.optimiser", "prt": 1}},
        f"train.prt: {UNKNOWN}did you mean 'part'",
    ),
    "schedule's option": ({"train": {"schedule": "mine.schedule", "rest": 1}}, "train.rest: input should be greater"),
    "no such mixer": ({"options": {"mixer": "mine.mixr"}}, "options.mixer: there is no mixer 'mine.mixr': "),
    "exchange": ({"options": {"exchange": "mine.exchange", "every": 0}}, "options.every: input should be greater"),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_them_is_said_in_a_sentence_that_names_the_key(tmp_path, changes, said):
    path = tmp_path / "three.yaml"
    path.write_text(yaml.safe_dump(FILE | changes))
    with pytest.raises(ConfigError) as caught:
        RunPlan(run_file.load(path))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_each_kind_has_its_file_here_and_none_is_known_to_the_package():
    kinds = {kind for kind in vars(plugins).values() if isinstance(kind, plugins.PluginKind)}
    kinds.remove(plugins.TASKS)  # the package's own alone: an exported folder names one, and must not have code run
    modules = [importlib.import_module(f"mine.{name}") for name in FILES]
    modules.remove(importlib.import_module("mine.event"))  # events are found by their class
    attributes = Counter(kind.what for kind in kinds for module in modules if hasattr(module, kind.attribute))
    assert attributes == {kind.what: 3 if kind.what == "fault" else 1 for kind in kinds}
    assert not {name for kind in kinds for name in plugins.known(kind) if "mine" in name}

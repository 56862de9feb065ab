"""Any module as an encoder: what it gives, its first values, frozen for good, and what is refused in one sentence."""

import copy

import networkx as nx
import numpy as np
import own_modules
import pytest
import torch
from plans import differing, finished, inputs, learner, network, plan

import parse_p2p
from parse_p2p.config.examine import examine
from parse_p2p.config.run_file import RunFile
from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError
from parse_p2p.learning import losses
from parse_p2p.models.base import as_buffers
from parse_p2p.models.encoder import EncoderOptions, Trunk, making, recompute, trunk

NORMED = "own_modules:Normed"
SHAPE = (16,)


def own(**encoder):
    """A plan whose encoders are of one's own."""
    return plan(encoder=None, model={"latent": 12, "hidden": 8, "encoder": {"kind": NORMED} | encoder})


# what it gives


@pytest.mark.parametrize(
    ("kind", "args", "features"),
    [
        ("Normed", {}, 12),
        ("Normed", {"features": 9}, 9),
        ("Outer.narrow", {}, 5),
        ("Lazy", {}, 7),
        ("Recurrent", {}, 4),
    ],
)
def test_the_features_are_those_that_it_gives(kind, args, features):
    encoder = trunk(SHAPE, EncoderOptions(kind=f"own_modules:{kind}", args=args))
    assert isinstance(encoder, Trunk) and encoder.features == features
    assert encoder(torch.zeros(5, 16)).shape == (5, features)
    for name in ("fission", "monolithic"):
        options = EncoderOptions(kind=f"own_modules:{kind}", args=args)
        logits = network(name, encoder=options)(inputs({"audio": SHAPE, "motion": SHAPE})).logits()
        assert logits.shape == (5, 4)


def test_what_has_more_axes_is_averaged_over_them():
    x = torch.tensor([[1.0] * 16, [2.0] * 16])
    assert trunk(SHAPE, EncoderOptions(kind="own_modules:Maps"))(x).tolist() == [[16, 32, 48], [32, 64, 96]]


def test_a_width_may_say_what_it_gives_and_is_no_part_of_what_is_written_down():
    assert trunk(SHAPE, EncoderOptions(kind=NORMED, width=12)).features == 12
    kept = RunFile.model_validate(own().run.model_dump(mode="json", exclude_none=True))
    assert "width" not in kept.model_dump()["model"]["encoder"]
    assert RunPlan(kept).specs["a0"].encoders["audio"] == own().specs["a0"].encoders["audio"]


def test_every_network_that_is_shipped_reads_it():
    for method in ("parse", "harmony", "fedcmi", "fedafd"):
        model = {"latent": 12, "encoder": {"kind": NORMED}}
        states, metrics = finished(plan({"audio": 2, "audio+motion": 2}, method=method, rounds=1, model=model))
        assert states and all(np.isfinite(scored["loss"]) for me, scored in metrics.items() if "loss" in scored)
    with pytest.raises(ConfigError, match="'adapters' has layers of its own and no place for the encoder 'own_modules"):
        plan(method="fedmosaic", encoder=None, model={"encoder": {"kind": NORMED}})


def test_a_copy_of_it_in_buffers_is_all_that_counts():
    copy = as_buffers(trunk(SHAPE, EncoderOptions(kind="own_modules:Recurrent")))
    x = inputs({"x": SHAPE})["x"]
    assert not copy(x).any(), "they begin as zeros"
    for buffer in copy.buffers():
        buffer.fill_(0.5)
    assert copy(x).any()


# first values


def first(seed=0, whose="all", modality="audio", **options):
    with making(seed, whose, {}):
        return trunk(SHAPE, EncoderOptions(kind=NORMED, **options), modality).module[0].weight


def test_first_values_depend_on_the_seed_the_agent_and_the_modality_alone():
    torch.manual_seed(3)
    before, values = torch.get_rng_state(), first()
    assert torch.equal(torch.get_rng_state(), before), "what is drawn elsewhere goes on as it was"
    torch.manual_seed(4)
    assert torch.equal(first(), values) and torch.equal(first(args={"features": 12}), values)
    others = [first(seed=1), first(whose="a1"), first(modality="motion")]
    assert not any(torch.equal(other, values) for other in others)
    assert torch.equal(first(whose="a1", frozen=True), first(whose="a2", frozen=True)), "what nobody trains is common"


@pytest.mark.parametrize(("init", "alike"), [("common", True), ("own", False)])
def test_what_its_constructor_gives_is_not_drawn_anew(init, alike):
    made = plan({"audio": 2}, encoder=None, model={"init": init, "encoder": {"kind": NORMED}})
    one, other = (made.initialised(made.specs[me]).trunk_of("audio").module.state_dict() for me in ("a0", "a1"))
    with making(0, "all" if alike else "a0", {}):
        given = trunk(SHAPE, EncoderOptions(kind=NORMED), "audio").module.state_dict()
    assert all(torch.equal(one[name], given[name]) for name in given)
    assert torch.equal(one["0.weight"], other["0.weight"]) is alike


def test_a_module_of_a_network_keeps_its_values_where_it_says_so():
    model = network()
    drawn = {name for name, _ in model.initialised_apart()}
    model.heads.keeps_values = True
    assert {name for name, _ in model.initialised_apart()} == {n for n in drawn if not n.startswith("heads.")} != drawn


def test_it_is_made_once_for_all_agents_that_are_alike_and_once_for_each_that_learns():
    own_modules.Heavy.made = 0
    made = plan(encoder=None, model={"encoder": {"kind": "own_modules:Heavy"}})
    for round in range(made.run.rounds):
        made.overlays(round)
    assert own_modules.Heavy.made == 1, "for its layout"
    made.agent_state("a0")
    assert own_modules.Heavy.made == 1 + len(made.specs["a0"].modalities)


# frozen for good


def saved(folder, rows=1000, features=6):
    """Weights of a trunk that was trained on the first of two kinds of samples, in a file of each format."""
    torch.manual_seed(0)
    module = own_modules.Normed(features=features)
    head, x = torch.nn.Linear(features, 2), torch.randn(rows, 16)
    optimiser = torch.optim.Adam([*module.parameters(), *head.parameters()], 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(head(module(x)), truth(x)).backward()
        optimiser.step()
    torch.save(module.state_dict(), folder / "trunk.pt")
    return folder / "trunk.pt"


def truth(x):
    """Whether the first four numbers of a sample have an even count of positive signs: nothing linear tells it."""
    return (x[:, :2] > 0).sum(1) % 2


def arrays(count, seed):
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return {"audio": x.numpy(), "y": truth(x).numpy()}


def ring_of(encoder, **keys):
    """A run of four agents, each with twenty samples to train on."""
    return parse_p2p.run(nx.cycle_graph(4), {"audio": 4}, data=arrays(320, 1), test=0.75, device="cpu", **{
        "rounds": 4, "train": {"batch": 8}, "model": {"latent": 6, "hidden": 8, "encoder": encoder}
    } | keys)  # fmt: skip


def test_a_frozen_trunk_stays_what_its_file_says_and_only_rows_and_heads_are_sent(tmp_path):
    file = saved(tmp_path)
    encoder = {"kind": NORMED, "args": {"features": 6}, "weights": str(file), "frozen": True}
    over = ring_of(encoder)
    kept, rounds = torch.load(file, weights_only=True), 4
    states, _ = finished(over.plan)
    for state in states.values():
        now = state.learner.model.trunk_of("audio").module
        assert not now.training and not any(p.requires_grad for p in now.parameters())
        assert all(torch.equal(value, kept[name]) for name, value in now.state_dict().items())
        assert not any(name.startswith("trunks.") for name in state.learner.model.changing_buffers())
        assert not any("trunks" in name for name in state.learner.state())
    # latent 6 is cut in 2 + 2 + 2, and an agent with one modality has no synergistic slice and no fusion
    rows, heads = 2 * (6 * 2 + 2), 2 * (2 * 2 + 2)
    neighbours, agents = 2, 4
    assert over.bytes == 4 * (rows + heads) * neighbours * agents * rounds


def test_with_few_samples_a_frozen_pretrained_trunk_is_better_than_one_from_scratch(tmp_path):
    frozen = {"kind": NORMED, "args": {"features": 6}, "weights": str(saved(tmp_path)), "frozen": True}
    scratch = {"kind": NORMED, "args": {"features": 6}}
    few, whole = ring_of(frozen), ring_of(scratch)
    assert few.accuracy > 0.8 > 0.6 > whole.accuracy and few.bytes < whole.bytes / 10


def test_one_that_is_trained_has_running_statistics_of_its_own(tmp_path):
    states, _ = finished(ring_of({"kind": NORMED}).plan)
    means = [state.learner.model.trunk_of("audio").module[1].running_mean for state in states.values()]
    assert means[0].any() and not torch.equal(means[0], means[1])
    assert any("running_mean" in name for name in states["a0"].learner.state())


def test_a_run_goes_on_from_what_was_saved_bit_for_bit():
    model = {"latent": 12, "encoder": {"kind": NORMED}, "encoders": {"motion": {"frozen": True}}}
    made = plan({"audio+motion": 2}, encoder=None, model=model)
    learner = made.agent_state("a0").learner
    learner.begin(0, 4)
    learner.train(losses.task)
    again = made.agent_state("a0").learner
    again.restore(learner.state())
    for each in (learner, again):
        each.begin(1, 4)
        each.train(losses.task)
    one, other = (each.model.state_dict() for each in (learner, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_does_not_go_on_with_another_frozen_trunk(tmp_path):
    file = saved(tmp_path)
    encoder = {"kind": NORMED, "args": {"features": 6}, "weights": str(file), "frozen": True}
    made = plan({"audio": 2}, encoder=None, model={"encoder": encoder})
    state = made.agent_state("a0").learner.state()
    made.agent_state("a0").learner.restore(state)
    kept = torch.load(file, weights_only=True)
    torch.save(kept | {"1.running_mean": kept["1.running_mean"] + 1}, file)
    with pytest.raises(ConfigError, match="a0: its frozen trunk is not the one that the run began with: give it"):
        plan({"audio": 2}, encoder=None, model={"encoder": encoder}).agent_state("a0").learner.restore(state)


def test_agents_of_one_process_hold_the_numbers_of_a_frozen_trunk_once():
    model = {"encoder": {"kind": NORMED, "frozen": True}, "encoders": {"motion": {"frozen": False}}}
    made = plan({"audio+motion": 2}, encoder=None, model=model)
    one, other = (made.agent_state(me).learner.model for me in ("a0", "a1"))
    for modality, shared in (("audio", True), ("motion", False)):
        layers = [net.trunk_of(modality).module[0] for net in (one, other)]
        assert torch.equal(*(layer.weight for layer in layers))
        assert (layers[0].weight.data_ptr() == layers[1].weight.data_ptr()) is shared


def test_the_same_run_twice_is_the_same(tmp_path):
    encoder = {"kind": NORMED, "args": {"features": 6}, "weights": str(saved(tmp_path))}
    assert differing(*(finished(ring_of(encoder, rounds=2).plan)[0] for _ in range(2))) == []


# computed again


@pytest.mark.parametrize("encoder", [{}, {"kind": NORMED}])
def test_gradients_and_statistics_are_the_same_when_it_is_computed_again(encoder):
    models = [{"encoder": encoder | {"checkpoint": again}} for again in (False, True)]
    agents = [learner("audio", encoder=None, model=model) for model in models]
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    for agent in agents:
        x = inputs({"audio": SHAPE}, 20)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of dropout
            agent.model.train()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                agent.model(x).logits().square().sum().backward()
        kept.append(None)
    one, other = agents
    assert torch.equal(one.buffer.grads, other.buffer.grads) and bool(one.buffer.grads.any())
    buffers = dict(one.model.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in other.model.named_buffers())
    plain, again = kept[: kept.index(None)], kept[kept.index(None) + 1 : -1]
    assert sum(again) < sum(plain), "fewer numbers are kept for the second pass"
    assert one.holder.regions == other.holder.regions, "and they share their trunks"


def test_deep_modules_are_computed_again_block_by_block():
    layer = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    deep = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))
    names = [name for name, _ in deep.named_parameters()]
    again = copy.deepcopy(deep)
    recompute(again)
    recomputed = [name for name, module in again.named_modules() if "forward" in vars(module)]
    assert recomputed == [f"1.layers.{i}" for i in range(3)] and [n for n, _ in again.named_parameters()] == names
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    for module in (deep, again, copy.deepcopy(again)):
        torch.manual_seed(0)
        module(x).square().sum().backward()
        assert all(torch.equal(*pair) for pair in zip(grads(module), grads(deep), strict=True))


def grads(module):
    return [parameter.grad for parameter in module.parameters()]


# where it is named


def test_each_modality_may_have_its_own_for_all_agents_and_for_one():
    common = {"encoder": {"width": 8, "depth": 1}, "encoders": {"audio": {"kind": NORMED}, "motion": {"width": 5}}}
    agents = [
        {"id": "a0", "modalities": ["audio", "motion"], "encoders": {"motion": {"checkpoint": True}}},
        {"id": "a1", "modalities": ["audio", "motion"], "encoders": {"audio": {"args": {"features": 3}}}},
        {"id": "a2", "modalities": ["audio", "motion"], "encoders": {"audio": {"kind": "vector"}}},
        {"id": "a3", "modalities": ["audio", "motion"], "model": {"encoder": {"width": 4}}},
        {"id": "a4", "modalities": ["audio", "motion"], "encoders": {"audio": {"args": {"features": 4}}}},
    ]
    raw = {"graph": {"generator": "complete"}, "agents": agents, "dataset": "bits", "model": common}
    made = RunPlan(RunFile.model_validate(raw))
    made = RunPlan(RunFile.model_validate(made.run.model_dump(mode="json", exclude_none=True)))
    found = {me: made.initialised(spec) for me, spec in made.specs.items()}
    assert {me: dict(net.features) for me, net in found.items()} == {
        "a0": {"audio": 12, "motion": 5},
        "a1": {"audio": 3, "motion": 5},
        "a2": {"audio": 64, "motion": 5},
        "a3": {"audio": 4, "motion": 4},
        "a4": {"audio": 4, "motion": 5},
    }
    assert found["a0"].architectures == {"audio": "", "motion": ""}
    labels = {net.architectures["audio"] for net in found.values()}
    assert len(labels) == 5, "only equal trunks are mixed"
    trunks = {str(key): keys for key, keys in made.overlays(0).plan("a0").links.items()}
    assert trunks["a1"] and not any(key.component == "trunk.audio" for key in made.overlays(0).plan("a0").links["a1"])


@pytest.mark.parametrize("method", ["parse", "local"])
def test_a_network_of_ones_own_is_named_likewise(method):
    model = {"network": "own_modules:Net", "latent": 6, "encoder": {"width": 8, "depth": 1}}
    made = plan({"audio": 2}, method=method, encoder=None, model=model, rounds=1)
    states, _ = finished(made)
    assert all(type(state.learner.model) is own_modules.Net for state in states.values())
    one, other = (made.initialised(made.specs[me]).extra.weight for me in ("a0", "a1"))
    assert torch.equal(one, other) and not torch.equal(one, own_modules.Net.drawn_last), "its own draws are common"
    assert made._layouts, "though it cannot be made on the device meta"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "own_modules:Nett"}, "its module has no 'Nett': did you mean 'Net'?"),
        ({"network": "own_modules:Pair"}, "the method 'parse' is not made for model.network 'own_modules:Pair'"),
        (
            {"network": "own_modules:Pair", "method": "local"},
            "the network 'own_modules:Pair' cannot be made (TypeError",
        ),
        ({"network": "own_modules:pair", "method": "local"}, "the network 'own_modules:pair' makes a Pair: derive"),
    ],
)
def test_a_network_that_is_none_is_refused_in_one_sentence(changes, said):
    keys = {"method": changes.get("method", "parse"), "model": {"network": changes["network"]}}
    with pytest.raises(ConfigError) as refused:
        parse_p2p.run("ring:3", {"audio": 3}, dataset="bits", **keys)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_other_plugins_may_be_named_in_a_module_but_a_data_set_is_a_whole_one():
    assert plugins.load(plugins.CODECS, "parse_p2p.wire.codecs.raw:CODEC") is plugins.load(plugins.CODECS, "raw")
    plan(codec="parse_p2p.wire.codecs.bf16:CODEC", method="parse_p2p.methods.local:METHOD", rounds=1)
    with pytest.raises(ConfigError, match="a data set is a whole module, not 'parse_p2p"):
        plan(dataset="parse_p2p.data.sets.bits:open")


def test_a_check_names_the_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"""
graph: {{generator: ring}}
agents: {{mix: {{audio: 3}}}}
dataset: bits
method: parse_p2p.methods.local:METHOD
model:
  encoders:
    audio: {{kind: {NORMED}, depth: 3}}
""")
    plan, [said] = examine(file)
    assert plan is None and said.startswith(f"{file}:8: model.encoders.audio.depth: the encoder 'own_modules:Normed'")
    file.write_text(file.read_text().replace("depth: 3", "args: {inputs: 3}"))
    _, [said] = examine(file)
    assert f"the encoder {NORMED!r} does not take inputs of shape (16,) of 'audio'" in said


NAMED = {
    "nothing:Trunk": "there is no encoder 'nothing:Trunk': ",
    "own_modules:Norm": "there is no 'own_modules:Norm', for its module has no 'Norm': did you mean 'Normed'?",
    "own_modules:Outer.wide": "its module has no 'wide': Known: narrow",
    "own_modules:KEPT": "is no class or function that makes a module, but a Linear",
    "own_modules:number": "makes a int: it has to return a torch.nn.Module",
    "own_modules:Broken": "'own_modules:Broken' cannot be made (OSError: no such file): correct it or its args",
    "own_modules:Pair": "gives a tuple: it has to give one tensor (B, features)",
    "own_modules:Sum": "gives torch.float32 of shape (2,) for a batch of 2: it has to give float32 (2, F)",
    "own_modules:Whole": "gives torch.float32 of shape (1, 16) for a batch of 2",
    "own_modules:Signs": "gives torch.int64 of shape (2, 16)",
    "own_modules:Double": "has 'layer.weight' of torch.float64: train it in float32, or freeze it",
    "own_modules:flat": "does not take these args (missing a required argument: 'features'): it is called with",
    "own_modules:once": "makes no new module each time: return a copy.deepcopy of it",
}


@pytest.mark.parametrize(("kind", "said"), NAMED.items())
def test_what_is_no_encoder_is_refused_in_one_sentence(kind, said):
    with pytest.raises(ConfigError) as refused:
        for _ in range(2):
            plan(encoder=None, model={"encoder": {"kind": kind}}).agent_state("a0")
    assert said in str(refused.value) and "\n" not in str(refused.value)


WRONG = [
    (
        {"kind": NORMED, "args": {"feature": 3}},
        "does not take these args (got an unexpected keyword argument 'feature')",
    ),
    ({"kind": NORMED, "args": {"inputs": 9}}, "does not take inputs of shape (16,) of 'audio' (RuntimeError: "),
    ({"kind": NORMED, "width": 64}, "gives 12 features and its width is to be 64: leave width out"),
]


@pytest.mark.parametrize(("encoder", "said"), WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(encoder, said):
    with pytest.raises(ConfigError) as refused:
        plan({"audio": 2}, encoder=None, model={"encoder": encoder})
    assert said in str(refused.value) and "\n" not in str(refused.value)


KEYS = [
    ({"kind": NORMED, "depth": 3}, "model.encoder.depth: the encoder 'own_modules:Normed' does not know it"),
    ({"args": {"a": 1}}, "model.encoder.args: the encoder 'auto' has none"),
    ({"lora": {"rank": 2}, "frozen": True}, "model.encoder.lora: the encoder 'auto' has no such adapters"),
    ({"kind": NORMED, "lora": {"rank": 2}}, "model.encoder.lora: its adapters are trained in a trunk that stays"),
    ({"kind": "timm"}, "model.encoder.args.name: field required, for the encoder 'timm'"),
]


@pytest.mark.parametrize(("encoder", "said"), KEYS)
def test_keys_that_do_not_go_together_are_named(encoder, said):
    with pytest.raises(ConfigError) as refused:
        parse_p2p.run("ring:3", {"audio": 3}, dataset="bits", model={"encoder": encoder})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("encoders", "said"),
    [
        ({"audio": {"widht": 3}}, "model.encoders.audio.widht: there is no such key here; did you mean 'width'?"),
        ({"audio": {"width": 0}}, "model.encoders.audio.width: input should be greater than or equal to 1, not 0"),
        ({"audio": {"args": {"a": 1}}}, "model.encoders.audio.args: the encoder 'auto' has none"),
        ({"smell": {"width": 3}}, "model.encoders: no agent ever has 'smell'"),
    ],
)
def test_an_encoder_of_a_modality_that_cannot_be_is_named(encoders, said):
    with pytest.raises(ConfigError) as refused:
        parse_p2p.run("ring:3", {"audio": 3}, dataset="bits", model={"encoders": encoders})
    assert said in str(refused.value)


# what a review found


def test_one_parameter_under_two_names_is_one_everywhere():
    found = own(kind="own_modules:Tied")
    agent = found.agent_state("a0").learner
    assert found.holders["a0"].regions == agent.buffer.regions
    assert agent.buffer.regions["trunk.audio" if "trunk.audio" in agent.buffer.regions else "trunk.motion"].size == 288


def test_what_it_draws_when_it_is_evaluated_is_the_seeds_too():
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        agent = own(kind="own_modules:Drawing").agent_state("a0").learner
        agent.begin(1, 4)
        scores.append([agent.evaluate(), agent.evaluate()])
    assert scores[0] == scores[1] and scores[0][0] == scores[0][1]


def test_a_module_does_not_end_the_program():
    with pytest.raises(ConfigError, match=r"does not take inputs of shape \(16,\).*\(SystemExit"):
        own(kind="own_modules:Leaving")


def test_an_agent_that_says_how_wide_its_encoder_is_shares_it_all_the_same():
    raw = own().run.model_dump()
    first = {"id": "a0", "modalities": ["audio"]}
    agents = [first, {"id": "a1", "modalities": ["audio"], "encoders": {"audio": {"width": 12}}}]
    changed = {"agents": agents, "graph": {"generator": "complete"}, "fingerprint": None}
    found = RunPlan(RunFile.model_validate(raw | changed))
    assert "trunk.audio" in found.holders["a0"].regions
    assert found.holders["a0"].regions == found.holders["a1"].regions


def test_a_batch_of_one_sample_has_no_statistics_of_its_own():
    agent = own(kind=NORMED).agent_state("a0").learner
    agent.options = agent.options.model_copy(update={"batch": 1})
    agent.data = agent.data.select(range(3))
    before = {name: buffer.clone() for name, buffer in agent.model.named_buffers()}
    agent.begin(0, 1)
    assert np.isfinite(agent.train(losses.task)["loss"])
    assert all(torch.equal(buffer, before[name]) for name, buffer in agent.model.named_buffers())
    assert all(layer.training for layer in agent.model.modules())

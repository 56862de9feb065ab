"""FedMosaic's rounds: who is sent what, what is averaged, what crosses the wire.

M2, M11, M12 and M14 are the properties by the numbers of the method's specification.
"""

from dataclasses import replace

import pytest
import torch
from mosaics import ROUNDS, SIZES, SMALL, exchanged, kinds_of, locals_of, mosaic
from plans import differing, finished, plan

from parse_p2p.core.message import Message
from parse_p2p.core.slices import everyone, nobody, row_of
from parse_p2p.core.types import PeerId
from parse_p2p.methods.federation import selected
from parse_p2p.methods.fedmosaic import fedmosaic, relevance
from parse_p2p.methods.fedmosaic.fedmosaic import Options, customised, network, receive
from parse_p2p.methods.fedmosaic.messages import adapter_shapes
from parse_p2p.methods.fedmosaic.setup import Setup
from parse_p2p.runtime.checkpoint import load, save
from parse_p2p.runtime.simulator import simulate


@pytest.fixture(scope="module")
def sent():
    return exchanged(mosaic())


@pytest.fixture(scope="module")
def plain():
    """The agents of a run by the default options as they ended; nobody changes them."""
    return finished(mosaic())[0]


def test_the_coordinator_pretrains_for_as_many_steps_as_the_option_says():
    def begun(pretraining):
        hub = locals_of(mosaic())["hub"]
        setup = fedmosaic.made(hub, Options(pretraining=pretraining))
        alone = Setup(network(hub), hub.public, {}, hub.learner.seed, pretraining, "adapter_cca")
        alone.add(set(SIZES.values()))
        size = SIZES["a0"]
        found, want = (each.tensors(size, ["audio", "motion"]) for each in (setup, alone))
        assert found.keys() == want.keys() and all(torch.equal(found[name], want[name]) for name in found)
        return torch.cat([each.flatten() for each in found.values()])

    assert not torch.equal(begun(2), begun(3))


# the wire


def test_M12_an_upload_holds_adapters_and_a_sketch_and_nothing_else(sent):
    messages, agents = sent
    up = [(me, message) for _, me, peer, message in messages if peer == "hub" and message.tensors]
    assert len(up) == 4 * ROUNDS
    for me, message in up:
        model = agents[me].learner.model
        large = me in ("a2", "a3")
        assert kinds_of(message) == {"pq", "sketch"} | ({"lora"} if large else set())
        assert not message.meta
        pq = 2 * 2 * (4**2 + 4) * 4  # two blocks, two roles, r = 4
        sketch = int(0.4 * 8) * 16 * 4  # of the small network's last map, (8, 16)
        lora = 3 * 2 * (4 * (13 + 26)) * 4 if large else 0
        assert message.nbytes == pq + sketch + lora
        assert message.tensors["sketch"].shape == (3, 16)
        assert message.tensors.keys() - {"sketch"} == adapter_shapes(model, model.dimensions, True).keys()


def test_M12_what_comes_down_is_adapters_of_others_and_first_what_one_begins_with(sent):
    messages, agents = sent
    for round, sender, peer, message in messages:
        if sender != "hub":
            continue
        model = agents[peer].learner.model
        pq, lora = 2 * 2 * (4**2 + 4) * 4, 3 * 2 * (4 * (13 + 26)) * 4 * (peer in ("a2", "a3"))
        if round > 0:
            assert message.nbytes == pq + lora
        else:
            frames = [adapter.A.numel() + adapter.B.numel() for adapter in model.slots.values()]
            probe = [t.numel() for name, t in message.tensors.items() if name.startswith("probe/")]
            assert message.nbytes == 4 * (sum(t.numel() for t in model.base.values()) + sum(frames) + sum(probe))


def test_M12_without_the_other_layers_nothing_tells_of_a_clients_width():
    messages, _ = exchanged(mosaic(options={"share_lora": False}))
    for _, _, peer, message in messages:
        if peer == "hub":
            assert not {13, 26} & {size for tensor in message.tensors.values() for size in tensor.shape}
        assert "lora" not in kinds_of(message)


def test_M12_the_table_says_what_is_shared():
    kinds = ("adapter.pq", "adapter.lora", "adapter.gate")
    for share, want in ((True, [everyone, everyone, nobody]), (False, [everyone, nobody, nobody])):
        table = fedmosaic.sharing(Options(share_lora=share), 0, ROUNDS)
        assert [row_of(table, kind) for kind in kinds] == want


def test_M12_gates_and_data_never_cross(sent):
    messages, agents = sent
    assert {kind for *_, message in messages for kind in kinds_of(message)} == {
        "pq", "lora", "sketch", "backbone", "frame", "probe",
    }  # fmt: skip
    assert all("gate" not in name for *_, message in messages for name in message.tensors)
    facts = {name for *_, message in messages for name in message.meta}
    assert facts == {"ready"}
    assert set(agents["a3"].learner.buffer.regions) == {"adapter.pq", "adapter.lora", "adapter.gate"}


def test_what_a_client_begins_with_crosses_once_and_without_other_modalities_stems(sent):
    messages, _ = sent
    first = {
        (peer): message for round, me, peer, message in messages if me == "hub" and "backbone" in kinds_of(message)
    }
    assert sum("backbone" in kinds_of(message) for *_, message in messages) == len(first) == 4
    for me in ("a0", "a1"):
        assert kinds_of(first[me]) == {"backbone", "frame"}  # of the pivot's size: its own backbone is the probe
    for me in ("a2", "a3"):
        assert kinds_of(first[me]) == {"backbone", "frame", "probe"}
    stems = {me: {n.split(".")[1] for n in p.tensors if "/trunks." in n} for me, p in first.items()}
    assert stems == {"a0": {"m·audio", "m·motion"}, "a1": {"m·audio"}, "a2": {"m·motion"},
                     "a3": {"m·audio", "m·motion"}}  # fmt: skip


def test_the_same_size_has_the_same_backbone_and_frames_and_the_probe_is_the_pivots(sent):
    _, agents = sent
    small, one, hub = (agents[me].learner.model for me in ("a0", "a1", "hub"))
    for name, tensor in one.base.items():
        assert torch.equal(tensor, small.base[name]) and torch.equal(tensor, hub.base[name])
    for me in ("a2", "a3"):
        memory = agents[me].memory
        assert memory["pivot"].tolist() == [8, 2]
        probe = {n.removeprefix("probe/"): t for n, t in memory.items() if n.startswith("probe/")}
        assert probe and all(torch.equal(tensor, small.base[name]) for name, tensor in probe.items())
    for slot, adapter in agents["a2"].learner.model.slots.items():
        assert torch.equal(adapter.A, agents["a3"].learner.model.slots[slot].A)


# what is averaged


def given_hub(latest, sizes, **options):
    """What a coordinator with these uploads in its memory sends to every client."""
    hub = locals_of(mosaic())["hub"]
    for me, tensors in latest.items():
        hub.memory |= {f"upload/{me}/{name}": tensor for name, tensor in tensors.items()}
    assert sizes == {me: hub.plan.holders[me].size for me in sizes}
    return customised(hub, Options(**options), sorted(sizes))


def made(seed, large=False, equal=False):
    rng = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(99) if equal else rng
    pq = {f"pq/{b}.in/P": torch.randn(4, 4, generator=shared) for b in range(2)}
    lora = {"lora/0.in/A": torch.randn(4, 13, generator=rng)} if large else {}
    return pq | lora | {"sketch": torch.randn(3, 16, generator=rng)}


def four(**changes):
    return {me: made(i, size == (13, 5), **changes) for i, (me, size) in enumerate(SIZES.items())}


@pytest.mark.parametrize("kind", ["flat", "column"])
def test_M11_what_is_sent_is_the_weighted_sum_without_the_receiver(kind):
    latest = four()
    given = given_hub(latest, SIZES, similarity=kind, tau=0.3)
    likeness = relevance.similarity({me: each["sketch"] for me, each in latest.items()}, kind)
    for me in SIZES:
        weights = relevance.weights({peer: likeness[me][peer] for peer in map(PeerId, SIZES) if peer != me}, 0.3)
        for block in range(2):
            name = f"pq/{block}.in/P"
            want = sum(w * latest[peer][name].double() for peer, w in weights.items())
            torch.testing.assert_close(given[me][name], want.float())
    assert torch.allclose(given["a2"]["lora/0.in/A"], latest["a3"]["lora/0.in/A"])  # the only other one of its size
    assert not any(name.startswith("lora/") for me in ("a0", "a1") for name in given[me])


def test_M11_uniform_weights_are_the_plain_average_and_so_are_those_of_a_newcomer():
    latest = four()
    others = [latest[peer]["pq/0.in/P"] for peer in ("a1", "a2", "a3")]
    plain = torch.stack(others).mean(0)
    torch.testing.assert_close(given_hub(latest, SIZES, relevance="uniform")["a0"]["pq/0.in/P"], plain)
    assert not torch.allclose(given_hub(latest, SIZES)["a0"]["pq/0.in/P"], plain)
    del latest["a0"]
    torch.testing.assert_close(given_hub(latest, SIZES)["a0"]["pq/0.in/P"], plain)


def test_M11_equal_adapters_are_a_fixed_point_to_the_last_bit():
    latest = four(equal=True)
    for me, tensors in given_hub(latest, SIZES).items():
        assert torch.equal(tensors["pq/1.in/P"], latest[me]["pq/1.in/P"])


def test_M11_blocks_are_not_mixed_and_the_order_of_uploads_does_not_matter():
    latest = four()
    given = given_hub(latest, SIZES)
    backwards = given_hub(dict(reversed(latest.items())), SIZES)
    for me in SIZES:
        assert all(torch.equal(tensor, backwards[me][name]) for name, tensor in given[me].items())
    for tensors in latest.values():
        tensors["pq/1.in/P"] = tensors["pq/1.in/P"] + 1
    moved = given_hub(latest, SIZES)
    assert torch.equal(moved["a0"]["pq/0.in/P"], given["a0"]["pq/0.in/P"])
    torch.testing.assert_close(moved["a0"]["pq/1.in/P"], given["a0"]["pq/1.in/P"] + 1)


def test_M11_the_other_layers_adapters_go_to_networks_of_the_same_depth_too():
    kinds = [("audio+motion", SMALL | {"depth": depth}) for depth in (4, 5, 5)]
    hub, latest = locals_of(mosaic(kinds))["hub"], {}
    for i in range(3):
        latest[f"a{i}"] = {"lora/0.in/A": torch.full((4, 8), i + 1.0), "sketch": torch.ones(3, 16)}
        hub.memory |= {f"upload/a{i}/{name}": tensor for name, tensor in latest[f"a{i}"].items()}
    given = customised(hub, Options(), sorted(latest))
    assert given["a0"] == {}
    assert torch.equal(given["a1"]["lora/0.in/A"], latest["a2"]["lora/0.in/A"])


def test_M11_with_nobody_else_there_is_nothing_to_send():
    assert given_hub({}, SIZES) == {me: {} for me in SIZES}
    alone = given_hub({"a0": made(0)}, SIZES)
    assert alone["a0"] == {} and alone["a1"]["pq/0.in/P"].shape == (4, 4)


def test_M11_the_first_round_brings_nothing_from_others_and_the_next_the_round_before(sent):
    messages, _ = sent
    down = {(round, peer): message for round, me, peer, message in messages if me == "hub"}
    up = {(round, me): message for round, me, peer, message in messages if peer == "hub" and message.tensors}
    assert not any(kinds_of(down[0, me]) & {"pq", "lora"} for me in SIZES)
    for round in range(1, ROUNDS):
        latest = {me: up[round - 1, me].tensors for me in SIZES}
        given = given_hub(latest, SIZES)
        for me in SIZES:
            assert down[round, me].tensors.keys() == given[me].keys()
            assert all(torch.equal(tensor, given[me][name]) for name, tensor in down[round, me].tensors.items())


def test_M11_a_client_that_is_sent_nothing_takes_its_own_adapters():
    model = locals_of(mosaic())["a3"].learner.model
    with torch.no_grad():
        for adapter in model.shared.values():
            for i, tensor in enumerate(adapter.local):
                tensor.fill_(i + 2)
    received = {"pq/0.in/P": torch.full((4, 4), 7.0)}
    receive(model, received)
    for key, adapter in model.shared.items():
        for name, mine, theirs in zip(adapter.names, adapter.local, adapter.received, strict=True):
            assert torch.equal(theirs, received.get(f"{key}/{name}", mine))


def test_received_adapters_stay_where_nothing_comes_and_till_then_my_own_stand_in():
    local = locals_of(mosaic())["a3"]
    model, draw = network(local), torch.Generator().manual_seed(4)

    def learnt():
        with torch.no_grad():
            for adapter in model.shared.values():
                for tensor in adapter.local:
                    tensor.copy_(torch.randn(tensor.shape, generator=draw))
        return fedmosaic.own(model, lora=True)

    def received():
        pairs = ((f"{key}/{name}", t) for key, a in model.shared.items()
                 for name, t in zip(a.names, a.received, strict=True))  # fmt: skip
        return {name: tensor.clone() for name, tensor in pairs}

    def same(one, two):
        return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)

    for _ in range(2):
        mine = learnt()
        fedmosaic.take(local, Message())
        assert same(received(), mine)
    mine = learnt()
    given = {"pq/0.in/P": torch.full((4, 4), 7.0)}
    fedmosaic.take(local, Message(given))
    assert same(received(), mine | given)
    learnt()
    fedmosaic.take(local, Message())
    assert same(received(), mine | given)


# a round


def test_M2_in_a_run_only_my_adapters_and_the_gates_learn(sent):
    messages, agents = sent
    down = {(round, peer): message for round, me, peer, message in messages if me == "hub"}
    for me in SIZES:
        model, first = agents[me].learner.model, down[0, me].tensors
        for name, tensor in model.base.items():
            assert torch.equal(tensor, first[f"backbone/{name}"])
        for slot, adapter in model.slots.items():
            assert torch.equal(adapter.A, first[f"frame/{slot}/A"])
            assert torch.equal(adapter.B, first[f"frame/{slot}/B"])
            assert torch.equal(adapter.P_G, down[ROUNDS - 1, me].tensors[f"pq/{slot}/P"])
            assert adapter.P.abs().max() > 0 and adapter.gate.beta.abs().max() > 0


def test_the_coordinators_model_carries_the_average_of_all(sent):
    messages, agents = sent
    last = [
        message.tensors for round, me, peer, message in messages if round == ROUNDS - 1 and "sketch" in message.tensors
    ]
    for slot, adapter in agents["hub"].learner.model.slots.items():
        mean = torch.stack([tensors[f"pq/{slot}/P"] for tensors in last]).mean(0)
        torch.testing.assert_close(adapter.P.data, mean)
        assert torch.equal(adapter.P_G, adapter.P.data)


@pytest.mark.parametrize("options", [{}, {"share_lora": False, "clients": 2, "b_align": "grad_map"}], ids=str)
def test_a_run_resumed_from_a_checkpoint_is_the_run_that_was_not_interrupted(options, tmp_path):
    whole, _ = finished(mosaic(options=options))
    for middle in range(1, ROUNDS):
        first, _ = finished(mosaic(options=options), rounds=middle)
        second = mosaic(options=options).agent_states()
        for agent in second:
            save(tmp_path / agent.me, middle, first[agent.me].state(), keep=1)
            agent.restore(load(tmp_path / agent.me, middle))
        simulate(second, ROUNDS, start=middle)
        assert differing(whole, {agent.me: agent for agent in second}) == []


def test_the_clients_of_a_round_are_those_selected():
    w = mosaic(options={"clients": 2})
    messages, agents = exchanged(w)
    hub = locals_of(w)["hub"]
    for round in range(ROUNDS):
        chosen = set(selected(hub, w.options, round))
        assert len(chosen) == 2
        assert {me for r, me, _, message in messages if r == round and "sketch" in message.tensors} == chosen
        given = {peer for r, me, peer, p in messages if r == round and me == "hub" and "pq" in kinds_of(p)}
        assert given <= chosen
    first = {peer for r, me, peer, p in messages if r == 0 and me == "hub" and "backbone" in kinds_of(p)}
    assert first == set(SIZES), "all are given what they begin with"
    assert all("pivot" in agents[me].memory for me in SIZES)


@pytest.mark.parametrize(
    "name", ["b_align", "mask", "similarity", "relevance", "gate", "keep", "noise", "ema", "tau", "pq_rate"]
)
def test_every_option_makes_another_run(name, plain):
    changes = {
        "b_align": "random", "mask": "prefix", "similarity": "column", "relevance": "uniform", "keep": 0.7,
        "noise": 0.5, "ema": 1.0, "tau": 0.1, "pq_rate": 1.0,
    }  # fmt: skip
    model, options = ({"gate": "input"}, {}) if name == "gate" else ({}, {name: changes[name]})
    other, _ = finished(mosaic(options=options, model=model))
    assert differing({me: plain[me] for me in SIZES}, {me: other[me] for me in SIZES})


def test_a_local_gate_is_training_alone_with_the_backbone_of_the_coordinator():
    one, _ = finished(mosaic(model={"gate": "local"}))
    other, _ = finished(mosaic(model={"gate": "local"}, options={"relevance": "uniform", "share_lora": False}))
    for me in SIZES:
        assert torch.equal(one[me].learner.buffer.values, other[me].learner.buffer.values)


# does it help


def group_loss(seed, kind):
    """Mean test loss of three clients with one task among five with others, few samples each, one size."""
    groups, rounds = [0, 0, 0, 1, 2, 3, 4, 5], 5
    w = plan(
        {"audio+motion": 8},
        method="fedmosaic",
        model={"encoder": {"width": 16, "depth": 2}},
        data={"samples": 1000, "atoms": ["redundant", "unique"]},
        public={"share": 0.6},
        train={"epochs": 2},
        options={"relevance": kind, "every": 1},
        rounds=rounds,
        seed=seed,
    )
    agents = w.agent_states()
    for agent, group in zip(agents, groups, strict=False):
        task = torch.randperm(8, generator=torch.Generator().manual_seed(1000 * seed + group))
        learner = agent.learner
        learner.data = replace(learner.data, targets=task[learner.data.targets])
        learner.test = replace(learner.test, targets=task[learner.test.targets])
    simulate(agents, rounds)
    return sum(agent.learner.evaluate()["test_loss"] for agent in agents[:3]) / 3


@pytest.mark.parametrize("seed", [0, 2])
def test_M14_relevance_helps_the_clients_that_share_a_task(seed):
    assert group_loss(seed, "rela") < group_loss(seed, "uniform")


# who falls silent


def heard_of(agents):
    return {name.split("/")[1] for name in agents["hub"].memory if name.startswith("upload/")}


@pytest.mark.parametrize("forget", [2, 0])
def test_a_client_that_is_gone_counts_no_more_after_some_rounds(forget):
    w = mosaic(options={"forget": forget}, rounds=7)
    agents = {p.me: p for p in w.agent_states()}
    simulate(list(agents.values()), 2)
    left = [p for p in agents.values() if p.me != "a1"]
    simulate(left, 3, start=2)
    assert heard_of(agents) == {"a0", "a1", "a2", "a3"}  # it may only be late
    simulate(left, 4, start=3)
    assert ("a1" in heard_of(agents)) == (forget == 0)
    local = locals_of(mosaic(options={"forget": forget}))["hub"]
    local.memory.update(agents["hub"].memory)
    spoilt = {n: t + 9.0 for n, t in local.memory.items() if n.startswith("upload/a1/")}
    before, options = customised(local, w.options, ["a0"]), w.options
    local.memory |= spoilt
    after = customised(local, options, ["a0"])
    assert all(torch.equal(before["a0"][n], after["a0"][n]) for n in before["a0"]) == (forget > 0)
    simulate(list(agents.values()), 5, start=4)  # and is back
    assert heard_of(agents) == {"a0", "a1", "a2", "a3"}


def test_a_client_that_is_only_not_chosen_still_counts():
    w = mosaic(options={"forget": 1, "clients": 1}, rounds=6)
    agents = finished(w)[0]
    assert heard_of(agents) == {p for r in range(6) for p in selected(locals_of(w, r)["hub"], w.options, r)}
    assert len(heard_of(agents)) > 1


def test_who_falls_silent_is_known_by_its_whole_name():
    hub = replace(locals_of(mosaic())["hub"], round=4)
    for me in ("a1", "a10"):
        hub.memory |= {f"upload/{me}/pq/0.in/P": torch.zeros(4, 4), f"last/{me}": torch.tensor(0)}
    fedmosaic.drop_silent(hub, Options(forget=4), {"a10": Message({}, {"ready": True})})
    assert heard_of({"hub": hub}) == {"a10"}


def test_forgetting_five_rounds_is_the_default():
    assert Options().forget == 5

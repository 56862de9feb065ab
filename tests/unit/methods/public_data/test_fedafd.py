"""FedAFD: who is stepped when, what crosses, what is refused, and what is left when its parts are turned off."""

import math

import pytest
import torch
from plans import dealt, finished, plan
from torch.nn.functional import cross_entropy

from parse_p2p.core.errors import SpecMismatch
from parse_p2p.core.message import Message
from parse_p2p.core.rng import seeded
from parse_p2p.data import lazy
from parse_p2p.methods.base import Local
from parse_p2p.methods.public_data import base, fedafd
from parse_p2p.methods.public_data.base import PublicKnowledge, aligned, digest, fitting, represent
from parse_p2p.methods.public_data.ensemble import other, separability
from parse_p2p.methods.public_data.fedafd import Options, passing, scheme, telling, view
from parse_p2p.runtime.simulator import simulate

ROUNDS = 3
MIXED = {"audio": 1, "motion": 1, "audio+motion": 2}


def made(mix=None, **changes):
    return plan(mix or MIXED, **{"method": "fedafd", "rounds": ROUNDS} | changes)


def kind(w, me):
    return "+".join(w.specs[me].modalities)


def someone(w, wanted):
    return next(me for me in w.peers if kind(w, me) == wanted)


def at(agent, round=0):
    agent.learner.begin(round, ROUNDS)
    return Local(agent.me, agent.role, round, ROUNDS, agent.learner, agent.plan(round), agent.memory, agent.public)


def knowledge_for(agent, hub):
    """What a hub teaches an agent before anybody has learnt anything."""
    inputs = hub.learner.data.inputs
    mine = {m: inputs[m] for m in agent.learner.holder.modalities}
    return PublicKnowledge(digest(inputs), mine, represent(hub.learner, inputs))


def scene(wanted="audio+motion", **options):
    """An agent of some kind, its Local, and a lesson."""
    w = made(options=options)
    hub, agent = w.agent_state("hub"), w.agent_state(someone(w, wanted))
    return at(agent), knowledge_for(agent, hub)


def parts(learner, *names):
    """A copy of all components of these parts."""
    return {
        name: learner.buffer.view(region).clone()
        for name, region in learner.buffer.regions.items()
        if region.component.part in names
    }


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


ENCODERS, REST = ("trunk", "rows.joint"), ("head.unimodal", "head.joint", "gate")


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("wanted", ["audio", "audio+motion"])
def test_A1_a_step_of_the_one_side_leaves_the_other_as_it_is(wanted, variant, monkeypatch):
    me, knowledge = scene(wanted)
    learner, options = me.learner, Options(variant=variant)
    seen = []
    step = learner.step

    def watched(loss, **how):
        before = [parts(learner, *group) for group in (ENCODERS, REST, ("discriminator",))]
        value = step(loss, **how)
        after = [parts(learner, *group) for group in (ENCODERS, REST, ("discriminator",))]
        seen.append([same(b, a) for b, a in zip(before, after, strict=True)])
        return value

    monkeypatch.setattr(learner, "step", watched)
    fedafd.align(me, options, knowledge, 0)
    assert len(seen) > 2
    assert all(turn == [True, True, False] for turn in seen[0::2])  # the discriminators' turn
    assert all(turn == [False, True, True] for turn in seen[1::2])  # the encoders'


def test_A1_a_task_step_leaves_the_discriminators_as_they_are():
    me, _ = scene()
    before = parts(me.learner, "discriminator", "gate")
    base.task_pass(me, Options())
    assert same(before, parts(me.learner, "discriminator", "gate"))  # no gate is open before an encoder came


def test_A2_both_levels_draw_the_encoder():
    me, knowledge = scene("audio")
    model, rows = base.network(me.learner), torch.arange(8)

    def pull(seen):
        me.learner.buffer.grads.zero_()
        passing(model, seen).backward()
        return torch.cat([p.grad.flatten() for p in model.rows.parameters()])

    whole = view(model, knowledge, rows)
    [(m, (_, _, q))] = whole.items()
    assert q is not None and torch.equal(q, knowledge.rows[other(m, knowledge.rows)][rows])
    both = pull(whole)
    intra_alone = pull({m: (*view(model, knowledge, rows)[m][:2], None)})
    assert both.any() and intra_alone.any() and not torch.allclose(both, intra_alone)


def test_A2_the_losses_are_those_of_plain_or_doubled_sigmoids():
    me, knowledge = scene("audio")
    model = base.network(me.learner)
    seen = view(model, knowledge, torch.arange(8))
    [(u, g, q)] = seen.values()
    judges = model.discriminators("audio")
    for as_code in (False, True):

        def probability(judge, rows, as_code=as_code):
            p = judge(rows).sigmoid()
            return p.sigmoid() if as_code else p

        fakes, reals = (probability(judges.intra, u), probability(judges.cross, u)), (
            probability(judges.intra, g), probability(judges.cross, q))  # fmt: skip
        expected = sum(-r.log() for r in reals) + sum(-(1 - f).log() for f in fakes)
        torch.testing.assert_close(telling(model, seen, as_code), expected.mean())
        torch.testing.assert_close(passing(model, seen, as_code), sum(-f.log() for f in fakes).mean())
        minimax = sum((1 - f).log() for f in fakes).mean()
        torch.testing.assert_close(passing(model, seen, as_code, saturating=True), minimax)


def test_A2_discriminators_are_kept_from_round_to_round_and_never_sent():
    sent = set()
    one, _ = finished(made(), 1, watch=lambda r, m, ledger: sent.update(
        name for links in ledger.values() for link in links.values() for name in link))  # fmt: skip
    assert {name.split(".")[0] for name in sent} == {"repr", "encoder", "public"}
    two, _ = finished(made(), 2)
    for me in one:
        if me != "hub":
            kept = [parts(agent[me].learner, "discriminator") for agent in (one, two)]
            assert not same(*kept)
    assert not any("discriminator" in name for name in one["hub"].state() if "/momentum_buffer/" in name)


def test_A3_what_came_from_the_coordinator_stays_as_it_came():
    me, knowledge = scene()
    model, hub = base.network(me.learner), made().agent_state("hub")
    model.receive({m: base.network(hub.learner).encoder(m) for m in model.modalities})
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    rows = {m: g.clone() for m, g in knowledge.rows.items()}
    fedafd.learn(me, knowledge, Options())
    assert all(torch.equal(buffers[name], b) for name, b in model.named_buffers())
    assert same(rows, knowledge.rows)


@pytest.mark.parametrize("off", [{"gff": False, "beta": 0.0}, {"gff": False, "baa": False}])
def test_A5_without_alignment_and_fusion_a_client_is_one_that_learns_alone(off):
    changes = {"public": {"share": 0.2}, "train": {"batch": 16, "epochs": 2}}
    alone, _ = finished(made(method="local", model={"network": "embedding"}, **changes))
    clients, _ = finished(made(options=off, **changes))
    for me in alone:
        learnt = ("trunk", "rows.joint", "head.unimodal", "head.joint")
        assert same(parts(alone[me].learner, *learnt), parts(clients[me].learner, *learnt))
        assert alone[me].learner.evaluate() == clients[me].learner.evaluate()
    aligned_too, _ = finished(made(options={"gff": False}, **changes))
    assert not same(parts(alone["a0"].learner, "rows.joint"), parts(aligned_too["a0"].learner, "rows.joint"))


def test_A6_an_upload_is_the_rows_before_fusion_in_the_coordinators_order():
    me, knowledge = scene()
    model, hub = base.network(me.learner), made().agent_state("hub")
    model.receive({m: base.network(hub.learner).encoder(m) for m in model.modalities})
    sent = base.upload(me, knowledge)
    assert sent.tensors.keys() == {"repr.audio", "repr.motion"}
    assert sent.meta["items"] == knowledge.items == digest(hub.learner.data.inputs)
    for m in model.modalities:
        rows = sent.tensors[f"repr.{m}"]
        assert rows.shape == (hub.learner.samples, model.size)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
        assert torch.equal(rows, model.embed(m, hub.learner.data.inputs[m]))
    aligned(at(hub), knowledge.items)(me.me, sent)


class Held:
    """Rows of an array, read when they are asked for."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def read(self, rows):
        return self.array[rows]


def test_A6_the_digest_of_what_is_read_in_pieces_is_that_of_the_whole(monkeypatch):
    x = torch.randn(9, 4, generator=seeded("x"))
    monkeypatch.setattr(lazy, "PIECE", 4 * 4 * 2)  # two rows
    assert digest({"audio": lazy.LazyInput.of(Held(x.numpy()))}) == digest({"audio": x})


def test_A6_the_digest_tells_every_item_and_its_place_in_every_modality():
    inputs = {m: torch.randn(9, 4, generator=seeded(m)) for m in ("audio", "motion")}
    seen = {digest(inputs), digest(dict(reversed(inputs.items())))}
    assert len(seen) == 1, "the order of the modalities does not matter"
    for m, x in inputs.items():
        last = x.clone()
        last[-1, -1] += 1
        seen |= {digest(inputs | {m: last}), digest(inputs | {m: x.flip(0)})}
    assert len(seen) == 5


NORMED = {"latent": 12, "hidden": 8, "encoder": {"kind": "own_modules:Normed"}}


def normed(w, me):
    """A participant whose encoders have running statistics and dropout; what they have taken in of its first one."""
    agent = at(w.agent_state(me))
    norm = base.network(agent.learner).trunk_of("audio").module[1]
    return agent, lambda: int(norm.num_batches_tracked)


def test_A6_representations_are_those_of_evaluation():
    me, taken = normed(made(encoder=None, model=NORMED), "a0")
    me.learner.model.train()
    x, before = me.learner.data.inputs, taken()
    one, two = represent(me.learner, x), represent(me.learner, x)
    assert same(one, two) and taken() == before
    me.learner.model.eval()
    assert torch.equal(one["audio"], base.network(me.learner).embed("audio", x["audio"]))


def test_running_statistics_take_in_every_minibatch_that_an_encoder_learns_from():
    w = made(encoder=None, model=NORMED)
    (hub, served), (me, mine) = normed(w, "hub"), normed(w, "a0")
    count, options = hub.learner.samples, Options(public_batch=16, server_task="both")
    batches, begun = math.ceil(count / 16), (served(), mine())
    assert batches > 1
    knowledge = knowledge_for(me, hub)
    inbox = {me.me: base.upload(me, knowledge)}
    base.study(hub, options)
    assert served() == begun[0] + batches
    me.learner.model.eval()
    fedafd.align(me, options, knowledge, 0)
    assert mine() == begun[1] + 2 * batches, "the discriminators' turn and the encoders'"
    rows = represent(hub.learner, hub.learner.data.inputs)
    base.distil(hub, options, scheme(options), rows, inbox)
    assert served() == begun[0] + 2 * batches


def spoilt(how, sent):
    tensors, meta = {name: t.clone() for name, t in sent.tensors.items()}, dict(sent.meta)
    first = next(iter(tensors))
    match how:
        case "items in another order":
            order = torch.arange(len(tensors[first])).flip(0)
            tensors = {name: t[order] for name, t in tensors.items()}
            meta["items"] = "0" * 16
        case "no digest":
            del meta["items"]
        case "a row too few":
            tensors[first] = tensors[first][:-1]
        case "too narrow":
            tensors[first] = tensors[first][:, :-1]
        case "one axis":
            tensors[first] = tensors[first].flatten()
        case "no unit rows":
            tensors[first][3] *= 1.5
        case "a row that is too short":
            tensors[first][3] *= 0.5
        case "not a number":
            tensors[first][3, 0] = float("nan")
        case "a modality of another":
            tensors["repr.motion"] = tensors.pop("repr.audio")
        case "a parameter":
            tensors["trunk.audio"] = torch.zeros(3)
    return Message(tensors, meta)


SPOILT = ["items in another order", "no digest", "a row too few", "too narrow", "one axis", "no unit rows",
          "a row that is too short", "not a number", "a modality of another", "a parameter"]  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_A6_a_spoilt_upload_is_refused(how):
    me, knowledge = scene("audio")
    sent = base.upload(me, knowledge)
    with pytest.raises(SpecMismatch):
        aligned(at(made().agent_state("hub")), knowledge.items)(me.me, spoilt(how, sent))


@pytest.mark.parametrize("how", ["no digest", "a row too few", "too narrow", "one axis", "no unit rows", "not a number",
                                 "a row that is too short", "a modality of another", "a parameter"])  # fmt: skip
def test_A6_a_spoilt_broadcast_is_refused_too(how):
    w = made()
    hub, agent = at(w.agent_state("hub")), at(w.agent_state(someone(w, "audio")))
    ways = scheme(Options())
    rows = represent(hub.learner, hub.learner.data.inputs)
    sent = base.broadcast(hub, ways, w.peers, "ab", rows)[agent.me]
    check = fitting(agent, ways)
    check("hub", sent)
    check("hub", Message())
    short = {name: t for name, t in sent.tensors.items() if not name.startswith("public.")}
    check("hub", Message(short, sent.meta))
    with pytest.raises(SpecMismatch):
        check("hub", spoilt(how, Message(short, sent.meta)) if how != "a row too few" else spoilt(how, sent))


def test_A6_of_items_that_a_client_has_as_many_rows_must_come():
    w = made()
    hub, agent, ways = at(w.agent_state("hub")), at(w.agent_state(someone(w, "audio"))), scheme(Options())
    items = digest(hub.learner.data.inputs)
    sent = base.broadcast(hub, ways, w.peers, items, represent(hub.learner, hub.learner.data.inputs))[agent.me]
    base.take(agent, {"hub": sent}, ways)
    again = {name: t for name, t in sent.tensors.items() if not name.startswith("public.")}
    check = fitting(agent, ways)
    check("hub", Message(again, sent.meta))
    fewer = {name: t[:-1] if name.startswith("repr.") else t for name, t in again.items()}
    with pytest.raises(SpecMismatch):
        check("hub", Message(fewer, sent.meta))
    check("hub", Message(fewer, {"items": "others"}))  # which it is to be given


def test_A10_without_distillation_the_coordinator_is_one_that_only_has_its_public_set():
    served, _ = finished(made(options={"gamma": 0.0}))
    quiet = [made(options={"gamma": 0.4}).agent_state("hub")]
    simulate(quiet, ROUNDS)  # nobody answers
    assert torch.equal(served["hub"].learner.buffer.values, quiet[0].learner.buffer.values)
    taught, _ = finished(made())
    assert not torch.equal(served["hub"].learner.buffer.values, taught["hub"].learner.buffer.values)


def test_A7_rows_are_scored_against_the_same_modality_or_all_alike_without_SED():
    rows = {m: torch.eye(3) for m in ("audio", "motion")}
    assert scheme(Options()).anchors(rows) == rows
    assert scheme(Options(sed=False)).anchors(rows) == {"audio": None, "motion": None}


def test_A10_fewer_answers_than_the_quorum_teach_nothing():
    none, _ = finished(made(options={"gamma": 0.0}))
    few, metrics = finished(made(options={"quorum": 9}))
    assert torch.equal(none["hub"].learner.buffer.values, few["hub"].learner.buffer.values)
    assert metrics["hub"]["uploads"] == 4


def test_A9_a_modality_nobody_uploads_is_not_distilled():
    w = made()
    hub = at(w.agent_state("hub"))
    rows = represent(hub.learner, hub.learner.data.inputs)
    me, knowledge = scene("audio")
    base.task_pass(me, Options())  # or its rows would be the coordinator's
    before = parts(hub.learner, *ENCODERS)
    inbox = {me.me: base.upload(me, knowledge)}
    assert base.distil(hub, Options(), scheme(Options()), rows, inbox)
    after = parts(hub.learner, *ENCODERS)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"trunk.audio", "rows.joint.audio"}
    assert hub.learner.buffer.values.isfinite().all()


def test_A9_a_modality_that_is_taught_no_more_rests():
    """Not even momentum moves its encoder."""
    hub = at(made().agent_state("hub"))
    rows, ways = represent(hub.learner, hub.learner.data.inputs), scheme(Options())
    both, one = (scene(kind) for kind in ("audio+motion", "audio"))
    for me, _ in (both, one):
        base.task_pass(me, Options())
    base.distil(hub, Options(), ways, rows, {both[0].me: base.upload(*both)})
    before = parts(hub.learner, *ENCODERS)
    base.distil(hub, Options(), ways, rows, {one[0].me: base.upload(*one)})
    after = parts(hub.learner, *ENCODERS)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"trunk.audio", "rows.joint.audio"}


def test_A10_of_weight_zero_there_is_no_distillation():
    hub = at(made().agent_state("hub"))
    rows = represent(hub.learner, hub.learner.data.inputs)
    me, knowledge = scene("audio")
    base.task_pass(me, Options())
    inbox, ways = {me.me: base.upload(me, knowledge)}, scheme(Options())
    before = hub.learner.state()
    assert base.distil(hub, Options(gamma=0.0), ways, rows, inbox) == []
    after = hub.learner.state()
    assert before.keys() == after.keys() and same(before, after)
    assert base.distil(hub, Options(gamma=0.1), ways, rows, inbox)


@torch.no_grad()
def test_the_coordinator_learns_by_the_sum_of_its_losses():
    hub = at(made().agent_state("hub"))
    count, model = hub.learner.samples, base.network(hub.learner)
    x, y = hub.learner.data.inputs, hub.learner.data.targets
    u = {m: model.embed(m, x[m]) for m in model.modalities}
    features = {m: math.sqrt(model.size) * rows for m, rows in u.items()}
    views = {m: head(features[m]) for m, head in zip(features, model.heads.values(), strict=True)}
    joint = model.fusion
    assert joint is not None
    classes = cross_entropy(joint(list(features.values())), y)
    classes += 0.6 * sum(cross_entropy(logits, y) for logits in views.values())
    scores, found = u["audio"] @ u["motion"].T / 0.2, torch.arange(count)
    pairs = (cross_entropy(scores, found) + cross_entropy(scores.T, found)) / 2
    for task, want in (("retrieval", pairs), ("classification", classes), ("both", classes + pairs)):
        options = Options(server_task=task, branch=0.6, server_temperature=0.2, public_batch=count)
        with torch.enable_grad():
            [loss] = base.study(at(made().agent_state("hub")), options)
        torch.testing.assert_close(loss, want)


def test_the_coordinators_loss_is_the_mean_over_its_minibatches():
    losses = base.study(at(made().agent_state("hub")), Options(public_batch=16))
    _, metrics = finished(made(options={"public_batch": 16}), 1)
    assert len(losses) > 1
    assert metrics["hub"]["loss"] == pytest.approx(float(torch.stack(losses).mean()))


def test_recall_is_measured_on_the_test_set_and_both_ways():
    w = made(rounds=2)
    agent_states, metrics = finished(w)
    hub = agent_states["hub"].learner
    u, v = represent(hub, hub.test.inputs).values()
    assert len(u) <= 1000
    ways = [(a @ b.T).argmax(1) == torch.arange(len(a)) for a, b in ((u, v), (v, u))]
    assert metrics["hub"]["retrieval"] == pytest.approx(float(torch.stack(ways).double().mean()))


def test_A11_clients_of_all_architectures_take_part():
    agents = [
        {"id": "a", "modalities": ["audio"], "encoders": {"audio": {"width": 5}}},
        {"id": "b", "modalities": ["motion"], "encoders": {"motion": {"depth": 3}}},
        {"id": "c", "modalities": ["audio", "motion"], "encoders": {"audio": {"width": 11, "depth": 2}}},
        {"id": "hub", "role": "coordinator"},
    ]
    w = made(agents=agents)
    agent_states, metrics = finished(w)
    assert metrics["hub"]["uploads"] == 3
    assert all(p.learner.buffer.values.isfinite().all() for p in agent_states.values())
    assert all(not w.overlays(0).plan(me).regions for me in w.specs)  # nothing to be averaged


@pytest.mark.parametrize("gff", [True, False])
def test_A12_bytes_are_those_of_the_formula(gff):
    w, ledgers = made(options={"gff": gff}, partition={"kind": "dirichlet", "alpha": 0.5}), []
    assert len({len(rows) for rows in dealt(w).shares.values()}) > 1, "the bytes must not depend on the private samples"
    agent_states, _ = finished(w, watch=lambda round, metrics, ledger: ledgers.append(ledger))
    hub = agent_states["hub"].learner
    rows = 4 * hub.samples * 12
    encoder = {m: 4 * base.network(hub).encoder(m).numel() for m in hub.data.modalities}
    for round, ledger in enumerate(ledgers):
        for me in w.peers:
            mine = w.specs[me].modalities
            down, up = sum(ledger["hub"][me].values()), sum(ledger[me]["hub"].values())
            public = sum(4 * hub.data.inputs[m].numel() for m in mine) if round == 0 else 0
            assert down == 2 * rows + gff * sum(encoder[m] for m in mine) + public
            assert up == rows * len(mine)


def test_the_public_inputs_are_sent_once_and_again_to_a_client_that_did_not_answer():
    w, ledgers = made(rounds=4), []
    everyone = w.agent_states()

    def watch(round, metrics, ledger):
        ledgers.append({peer: any(n.startswith("public.") for n in sent) for peer, sent in ledger["hub"].items()})

    simulate(everyone, 2, watch=watch)
    simulate([p for p in everyone if p.me != "a0"], 3, start=2, watch=watch)
    simulate(everyone, 5, start=3, watch=watch)
    others = {me: [row[me] for row in ledgers] for me in w.peers}
    assert others.pop("a0") == [True, False, False, True, False]
    assert all(row == [True, False, False, False, False] for row in others.values())


def test_a_client_that_has_lost_its_public_inputs_gets_them_again_and_answers():
    everyone = made(rounds=4).agent_states()
    simulate(everyone, 1)
    everyone[0].memory.clear()
    assert simulate(everyone, 2, start=1)["hub"]["uploads"] == 3
    assert simulate(everyone, 3, start=2)["hub"]["uploads"] == 4


def test_a_client_that_hears_nothing_learns_alone():
    w = made()
    agent = w.agent_state("a0")
    metrics = simulate([agent], ROUNDS)
    assert metrics["a0"].keys() == {"loss"}
    assert not base.network(agent.learner).present


def test_clients_that_are_not_chosen_get_nothing_and_rest():
    w, seen = made(options={"clients": 2}, rounds=4), []

    def watch(round, metrics, ledger):
        busy = {me for me in w.peers if metrics[me]}
        assert busy == {me for me, sent in ledger["hub"].items() if sent}
        assert metrics["hub"]["uploads"] == len(busy) == 2
        seen.append(busy)

    finished(w, watch=watch)
    assert len(set(map(frozenset, seen))) > 1


def test_no_label_and_no_modality_of_others_is_sent_with_the_public_inputs():
    w = made()
    hub = at(w.agent_state("hub"))
    rows = represent(hub.learner, hub.learner.data.inputs)
    for me, message in base.broadcast(hub, scheme(Options()), w.peers, "ab", rows).items():
        public = {n for n in message.tensors if n.startswith("public.")}
        assert public == {f"public.{m}" for m in w.specs[me].modalities}
        assert message.meta == {"items": "ab"}


@pytest.mark.parametrize("options", [
    {"variant": "code"}, {"baa": False}, {"gff": False}, {"sed": False}, {"saturating": True},
    {"server_task": "both"}, {"server_task": "classification"}, {"server_rate": 0.0, "gamma": 0.0},
    {"server_rate": 0.0}, {"discriminator_rate": 0.0}, {"gate_rate": 0.0},
    {"variant": "code", "gff": False},
], ids=str)  # fmt: skip
def test_every_switch_changes_the_run_and_none_breaks_it(options):
    plain, changed = finished(made())[0], finished(made(options=options))[0]
    assert all(p.learner.buffer.values.isfinite().all() for p in changed.values())
    assert any(not torch.equal(p.learner.buffer.values, changed[me].learner.buffer.values) for me, p in plain.items())


@pytest.mark.parametrize("options", [{"variant": "code"}, {"clients": 2}, {"server_task": "both"}], ids=str)
def test_a_resumed_run_is_the_one_that_was_not_interrupted(options):
    whole, _ = finished(made(options=options))
    kept = {me: p.state() for me, p in finished(made(options=options), 1)[0].items()}
    again = made(options=options).agent_states()
    for agent in again:
        agent.restore(kept[agent.me])
    simulate(again, ROUNDS, start=1)
    for agent in again:
        mine, theirs = agent.state(), whole[agent.me].state()
        assert mine.keys() == theirs.keys()
        assert same(mine, theirs)


def test_gates_of_the_code_variant_begin_every_round_anew():
    runs = {}
    for variant in ("paper", "code"):
        w = made(options={"variant": variant, "gate_rate": 0.0}, train={"batch": 16, "weight_decay": 0.0})
        runs[variant] = [finished(w, rounds)[0]["a0"] for rounds in (1, 2)]
    one, two = (parts(agent.learner, "gate") for agent in runs["paper"])
    assert same(one, two)
    one, two = (parts(agent.learner, "gate") for agent in runs["code"])
    assert not same(one, two)


def test_a_run_with_one_modality_falls_back_to_classification_and_one_level():
    agent_states, metrics = finished(made({"audio": 2}))
    assert "retrieval" not in metrics["hub"]
    assert metrics["a0"]["discriminator"] > 0
    hub = agent_states["hub"].learner
    both = finished(made({"audio": 2}, options={"server_task": "classification"}))[0]["hub"].learner
    assert torch.equal(hub.buffer.values, both.buffer.values)


def test_three_modalities_and_names_of_any_kind_take_part():
    data = {"modalities": ["imu", "imu.left", "θ eye"], "samples": 320}
    w = made({"imu": 1, "imu.left": 1, "θ eye": 1, "imu+imu.left+θ eye": 1}, data=data)
    assert finished(w)[1]["hub"]["uploads"] == 4


def test_A13_separability_can_be_read_off_a_run():
    w = made()
    agent_states, _ = finished(w)
    hub, agent = agent_states["hub"].learner, agent_states["a0"].learner
    inputs = hub.data.inputs
    mine, theirs = represent(agent, inputs), represent(hub, inputs)
    for m, rows in mine.items():
        assert 0.5 <= separability(rows, theirs[m], seeded(0)) <= 1


# the alignment, on a case made for it


def aligned_to(moved, rounds):
    """The discriminators' loss in every round, and how far the client's rows are from the global ones before and after.

    Global rows are the client's own at first, moved, so that they can be had. The distance is the energy distance of
    two sets, 2 E|u − g| − E|u − u'| − E|g − g'|, which is 0 for equal ones.
    """
    w = made({"audio": 1, "motion": 1}, data={"samples": 1000}, public={"share": 0.5}, rounds=rounds)
    agent, inputs = w.agent_state("a0"), w.agent_state("hub").learner.data.inputs
    start = represent(agent.learner, inputs)["audio"]
    g = moved(start)
    knowledge = PublicKnowledge("x", {"audio": inputs["audio"]}, {"audio": g, "motion": g})
    losses = []
    for round in range(rounds):
        agent.learner.begin(round, rounds)
        base.pace(agent.learner, {"discriminator": Options().discriminator_rate})
        local = Local(agent.me, agent.role, round, rounds, agent.learner, agent.plan(0), agent.memory)
        losses += [float(loss) for loss in fedafd.align(local, Options(), knowledge, 0)]

    def apart(u):
        between, mine, theirs = (torch.cdist(a, b).mean() for a, b in ((u, g), (u, u), (g, g)))
        return float(2 * between - mine - theirs)

    return losses, apart(start), apart(represent(agent.learner, knowledge.inputs)["audio"])


def shifted(rows):
    return torch.nn.functional.normalize(rows + torch.nn.functional.normalize(torch.ones(1, rows.shape[1])))


def rotated(rows):
    return rows @ torch.linalg.qr(torch.randn(rows.shape[1], rows.shape[1], generator=seeded("turn")))[0]


@pytest.mark.parametrize("moved", [shifted, rotated])
def test_A13_discriminators_see_what_is_moved_and_then_it_is_moved_back(moved):
    losses, before, after = aligned_to(moved, 8)
    coin = 4 * math.log(2)  # the loss of four fair guesses
    assert min(losses) < 0.8 * coin
    assert after < 0.15 * before
    assert sum(losses[-8:]) / 8 > 0.9 * coin  # there is nothing left to be seen

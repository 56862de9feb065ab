"""Gossip from one contact: overlays come together, stay within bounds, heal, and bear hostile messages."""

import math

import networkx as nx
import numpy as np
import pytest
from gossip_network import CONTACTS, GossipNetwork, gossipers

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.discovery.gossip.gossiper import ANSWERS, MOST, RECALL, RINGS, SPARE, Gossiper
from parse_p2p.discovery.gossip.messages import MAX_DESCRIPTORS, MAX_SLICES, OLDEST, Edge, GossipMessage, PeerDescriptor
from parse_p2p.discovery.gossip.peer_sample import PATIENCE, RUMOURS, RUMOURS_OF_ONE, SPOKEN, VIEW, VIEW_OF_ONE
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.ring_overlay import nearest

TYPES = ("audio", "motion", "audio+motion", "video")


def descriptor(place, kind, port=9000):
    """Slices for everyone, for the holders of each modality, and for those of the same type."""
    kinds = kind.split("+")
    return PeerDescriptor(f"a{place}", (f"tcp://host{place}:{port}",), tuple(kinds), frozenset({"all", kind, *kinds}))


def descriptors(count):
    """Four types in turn, but the last and the one in the middle hold a slice that no one else does."""
    rare = {count // 2, count - 1}
    return [descriptor(i, "video+depth" if i in rare else TYPES[i % 4]) for i in range(count)]


def network(count, contacts="tree", seed=0, loss=0.0):
    return GossipNetwork(gossipers(descriptors(count), contacts, seed), seed, loss)


def rounds(plan, count):
    for _ in range(count):
        plan.round()


def settled(count, **how):
    plan = network(count, **how)
    rounds(plan, 12)
    return plan


def holders(plan, name):
    return {me for me, agent in plan.agents.items() if name in agent.descriptor.slices}


def edges(plan):
    agents = plan.agents.items()
    return {
        (me, name, peer) for me, agent in agents for name in agent.descriptor.slices for peer in agent.neighbours(name)
    }


def assert_bounded(agent):
    sample = agent.sample
    assert len(sample.view) <= VIEW and len(sample.rumours) <= RUMOURS and len(sample.spoken) <= SPOKEN
    assert all(len(agent.neighbours(name)) <= MOST for name in agent.descriptor.slices)


def assert_rings(plan):
    """Every agent has for each slice the neighbours that the rings give, and both ends agree."""
    for name in plan.slices:
        who = holders(plan, name)
        for me in who:
            assert set(plan.agents[me].neighbours(name)) == set(nearest(me, tuple(who - {me}), RINGS))


def test_what_gossip_settles_on_is_the_overlay_rings_with_its_weights():
    plan = settled(40)
    graph = nx.empty_graph(0)
    graph.add_nodes_from(plan.agents)
    topology = Topology("found", graph, overlay="rings")
    for name in sorted({name for agent in plan.agents.values() for name in agent.descriptor.slices}):
        overlay = topology.over(holders(plan, name))
        assert nx.is_connected(overlay.graph)
        for me in holders(plan, name):
            assert plan.agents[me].weights(name) == pytest.approx(dict(overlay.weights(me)), abs=1e-12)


@pytest.mark.parametrize(("contacts", "seed"), [*zip(CONTACTS, range(3), strict=True), ("chain", 3)])
def test_all_overlays_of_64_agents_are_connected_within_one_and_a_half_log_n_rounds(contacts, seed):
    plan = network(64, contacts, seed)
    while not plan.connected():
        plan.round()
        assert plan.rounds <= 1.5 * math.log2(64)
        for agent in plan.agents.values():
            assert_bounded(agent)


def test_they_come_together_where_a_fifth_of_the_messages_is_lost():
    plan = network(32, "chain", loss=0.2)
    while not plan.connected():
        plan.round()
        assert plan.rounds <= 3 * math.log2(32)


@pytest.mark.parametrize("count", [2, 3, 5, 24])
def test_in_the_end_each_has_its_neighbours_on_the_rings_and_no_other(count):
    plan = settled(count)
    assert_rings(plan)
    assert plan.connected()


def test_overlays_once_connected_stay_so():
    plan = network(24, "chain")
    seen = []
    for _ in range(14):
        plan.round()
        seen.append(plan.connected())
    assert seen == sorted(seen) and seen[-1]


def test_the_same_seed_gives_the_same_messages():
    first, second = network(16, loss=0.2), network(16, loss=0.2)
    rounds(first, 6)
    rounds(second, 6)
    assert (first.messages, first.bytes) == (second.messages, second.bytes)
    assert all(list(a.sample.entries) == list(second.agents[me].sample.entries) for me, a in first.agents.items())


@pytest.mark.parametrize("count", [2, 3, 17])
def test_weights_are_symmetric_and_doubly_stochastic(count):
    plan = settled(count)
    for name in plan.slices:
        who = sorted(holders(plan, name))
        rows = [plan.agents[me].weights(name) for me in who]
        matrix = np.array([[row.get(peer, 0.0) for peer in who] for row in rows])
        matrix += np.diag(1 - matrix.sum(axis=1))
        assert (matrix == matrix.T).all() and (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=0, atol=1e-12)
        graph = plan.overlay(name)
        expected = {(a, b): 1 / (1 + max(graph.degree(a), graph.degree(b))) for a, b in graph.edges}
        assert all(plan.agents[a].weights(name)[b] == weight for (a, b), weight in expected.items())


def test_weights_never_exceed_one_whatever_is_lost():
    plan = network(24, "chain", loss=0.4)
    for _ in range(15):
        plan.round()
        for agent in plan.agents.values():
            assert all(sum(agent.weights(name).values()) < 1 for name in agent.descriptor.slices)


def test_agents_that_die_are_replaced_as_neighbours_and_then_forgotten():
    plan = settled(24)
    dead = {f"a{i}" for i in range(0, 24, 4)}
    for me in dead:
        del plan.agents[me]
    rounds(plan, 2 * PATIENCE + 6)  # the one behind a dead neighbour may be dead too
    assert_rings(plan)
    rounds(plan, OLDEST - 2 * PATIENCE - 5)
    assert not any(dead & agent.sample.entries.keys() for agent in plan.agents.values())
    assert plan.connected()


def test_one_that_comes_back_at_another_address_is_found_where_it_is():
    plan = settled(16)
    plan.agents["a5"] = Gossiper(
        descriptor(5, TYPES[1], port=7000), [PeerDescriptor("a9", ("tcp://host9:9000",))], seed=1
    )
    rounds(plan, PATIENCE + 5)
    assert_rings(plan)
    for me in plan.agents["a5"].neighbours("all"):
        assert plan.agents[me].addresses("a5") == ("tcp://host5:7000",)


def test_one_that_joins_late_is_taken_in():
    plan = settled(20)
    plan.agents["a20"] = Gossiper(descriptor(20, "video+depth"), [PeerDescriptor("a7")], seed=3)
    rounds(plan, 8)
    assert_rings(plan)


def test_a_slice_gained_and_a_slice_lost_are_known_in_a_few_rounds():
    plan = settled(20)
    plan.agents["a0"].descriptor = descriptor(0, "audio+motion")
    plan.agents["a1"].descriptor = descriptor(1, "audio")
    rounds(plan, 8)
    assert_rings(plan)


def test_two_halves_that_lost_sight_of_each_other_find_together():
    plan = settled(16)
    plan.wall = frozenset(f"a{i}" for i in range(8))
    rounds(plan, OLDEST + 2)
    assert not plan.connected()
    assert all((peer in plan.wall) == (me in plan.wall) for me, a in plan.agents.items() for peer in a.sample.entries)
    plan.wall = frozenset()
    rounds(plan, RECALL + 10)
    assert_rings(plan)


def test_it_goes_on_asking_a_contact_that_is_not_up_yet():
    plan = network(2)
    first = plan.agents.pop("a0")
    rounds(plan, 3 * RECALL)
    plan.agents["a0"] = first
    rounds(plan, 3)
    assert_rings(plan)


def fakes(start):
    """As many agents that there are not as a message carries."""
    slices = frozenset({"all", "audio"})
    return tuple(
        PeerDescriptor(f"f{i}", ("tcp://nowhere:1",), (), slices) for i in range(start, start + MAX_DESCRIPTORS - 1)
    )


def flood(agent, liar, messages):
    """Every message tells of others, all as fresh as can be."""
    for k in range(messages):
        agent.receive(liar.id, GossipMessage((liar, *fakes(100 * k)), MAX_DESCRIPTORS, True))
        assert_bounded(agent)


def invented(entries):
    return [entry for entry in entries if entry.descriptor.id.startswith("f")]


def test_one_that_invents_agents_fills_a_share_of_the_lists_and_takes_no_edge():
    plan = settled(16)
    victim = plan.agents["a0"]
    before = {name: victim.neighbours(name) for name in victim.descriptor.slices}
    flood(victim, plan.agents["a1"].descriptor, 50)
    assert len(invented(victim.sample.rumours)) <= RUMOURS_OF_ONE and len(invented(victim.sample.view)) <= VIEW_OF_ONE
    assert {name: victim.neighbours(name) for name in victim.descriptor.slices} == before
    rounds(plan, 3)
    assert_rings(plan)


def test_one_that_invents_agents_all_the_time_does_not_keep_others_from_finding_each_other():
    plan = network(24, "first")
    liar = plan.agents["a1"].descriptor
    for k in range(16):
        plan.round()
        for agent in plan.agents.values():
            if agent.me != liar.id:
                agent.receive(liar.id, GossipMessage((liar, *fakes(1000 * k)), MAX_DESCRIPTORS, True))
    honest = [plan.overlay(name).subgraph(holders(plan, name) - {liar.id}) for name in plan.slices]
    assert all(nx.is_connected(graph) for graph in honest)


def test_those_that_answer_but_take_no_edge_cost_nobody_an_edge():
    plan = settled(16)
    before = edges(plan)
    mute = [descriptor(100 + i, "audio+motion") for i in range(16)]
    for _ in range(6):
        for agent in plan.agents.values():
            for other in mute:
                agent.receive(other.id, GossipMessage((other,)))
        plan.round()
    assert before <= edges(plan)


def test_hearsay_does_not_move_one_that_has_spoken_for_itself():
    plan = settled(8)
    victim, liar = plan.agents["a0"], plan.agents["a1"].descriptor
    known = next(entry.descriptor for entry in victim.sample.spoken if entry.descriptor.id != liar.id)
    lie = PeerDescriptor(known.id, ("tcp://trap:1",), known.modalities, frozenset())
    victim.receive(liar.id, GossipMessage((liar, lie), 2))
    assert victim.addresses(known.id) == known.addresses and victim.sample.entries[known.id].descriptor.alike(known)


def test_a_card_that_another_shows_as_mine_is_ignored():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    agent.receive("a1", GossipMessage((descriptor(1, "audio"), PeerDescriptor("a0", ("tcp://trap:1",))), 2))
    assert agent.descriptor == descriptor(0, "audio") and "a0" not in agent.sample.entries


def test_one_that_does_not_show_its_own_card_first_is_refused():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    for sender in ("a2", "a0"):
        with pytest.raises(MalformedFrame):
            agent.receive(
                sender, GossipMessage((descriptor(1, "audio") if sender == "a2" else descriptor(0, "audio"),))
            )
    assert not agent.sample.entries


def test_edges_for_slices_that_are_not_shared_are_not_taken():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    wish = {name: Edge(True, 1) for name in ("all", "motion", "video", "nonsense")}
    [answer] = agent.receive("a1", GossipMessage((descriptor(1, "motion"),), asks=True, edges=wish)).values()
    assert answer.edges.keys() == {"all"}


def test_no_agent_takes_more_edges_than_it_may():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    for i in range(1, 100):
        agent.receive(f"a{i}", GossipMessage((descriptor(i, "audio"),), asks=True, edges={"all": Edge(True, 0)}))
        assert_bounded(agent)
    agent.tick()
    for i in range(1, 100):
        agent.receive(f"a{i}", GossipMessage((descriptor(i, "audio"),), asks=True, edges={"all": Edge(True, 0)}))
    assert len(agent.neighbours("all")) == MOST


def test_it_answers_each_peer_once_a_round_and_no_more_peers_than_it_may():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    ask = [GossipMessage((descriptor(i, "audio"),), asks=True) for i in range(1, ANSWERS + 10)]
    answers = [agent.receive(message.descriptors[0].id, message) for message in [*ask, *ask]]
    assert sum(map(bool, answers)) == ANSWERS
    agent.tick()
    assert agent.receive("a1", ask[0]).keys() == {"a1"}


def test_unknown_peers_without_end_find_a_full_table():
    agent = Gossiper(descriptor(0, "audio"), [], seed=0)
    for i in range(1, 2 * SPOKEN):
        agent.receive(f"a{i}", GossipMessage((descriptor(i, "audio"),), 1, asks=True))
        assert_bounded(agent)
    agent.tick()
    assert len(agent.coholders("all")) <= len(agent.sample.entries) <= VIEW + 2 * RINGS * SPARE + MOST


def test_who_is_wanted_is_found_whatever_it_holds_and_is_nothing_special_then():
    plan = network(32, "first")
    for me, agent in plan.agents.items():
        agent.wanted.update(f"a{(int(me[1:]) + step) % 32}" for step in (7, 16))
    while any(agent.wanted for agent in plan.agents.values()):
        plan.round()
        assert plan.rounds < 100
        for agent in plan.agents.values():
            assert_bounded(agent)
    rounds(plan, OLDEST)
    assert_rings(plan)


def test_hearsay_does_not_say_where_a_contact_is_but_the_contact_does():
    agent = Gossiper(descriptor(0, "audio"), [descriptor(1, "audio")], seed=0)
    agent.receive("a2", GossipMessage((descriptor(2, "audio"), descriptor(1, "audio", port=666))))
    assert agent.addresses("a1") == ("tcp://host1:9000",)
    agent.receive("a1", GossipMessage((descriptor(1, "audio", port=7000),)))
    assert agent.addresses("a1") == ("tcp://host1:7000",)


@pytest.mark.parametrize(("recall", "asked"), [(1, ["a1", "a2"] * 3), (3, ["a1", "a2"])])
def test_contacts_that_answer_are_asked_again_in_turn(recall, asked):
    contacts = [PeerDescriptor(f"a{i}") for i in (1, 2)]
    agent = Gossiper(descriptor(0, "audio"), contacts, seed=0, recall=recall)
    found = []
    for _ in range(6):
        for other in (*contacts, PeerDescriptor("a3")):
            agent.receive(other.id, GossipMessage((other,), drawn=int(other.id == "a3")))
        found += [peer for peer, message in agent.tick().items() if message.asks and peer != "a3"]
    assert found == asked


def test_more_slices_than_a_card_can_name_are_refused():
    with pytest.raises(ConfigError, match="64 at most"):
        Gossiper(PeerDescriptor("a0", slices=frozenset(map(str, range(MAX_SLICES + 1)))), [], seed=0)

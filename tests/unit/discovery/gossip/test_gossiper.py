"""Gossip from one contact: overlays come together, stay within bounds, heal, and bear hostile mail."""

import math

import networkx as nx
import numpy as np
import pytest

from parse_p2p.core.errors import ConfigError, MalformedFrame
from parse_p2p.discovery.gossip.crowd import CONTACTS, Crowd, strangers
from parse_p2p.discovery.gossip.gossiper import ANSWERS, MOST, RECALL, RINGS, SPARE, Gossiper
from parse_p2p.discovery.gossip.messages import MAX_CARDS, MAX_SLICES, OLDEST, Card, Edge, Message
from parse_p2p.discovery.gossip.peer_sample import PATIENCE, RUMOURS, RUMOURS_OF_ONE, SPOKEN, VIEW, VIEW_OF_ONE
from parse_p2p.topology.graph import Topology
from parse_p2p.topology.ring_overlay import nearest

TYPES = ("audio", "motion", "audio+motion", "video")


def card(place, kind, port=9000):
    """Slices for everyone, for the holders of each modality, and for those of the same type."""
    kinds = kind.split("+")
    return Card(f"a{place}", (f"tcp://host{place}:{port}",), tuple(kinds), frozenset({"all", kind, *kinds}))


def cards(count):
    """Four types in turn, but the last and the one in the middle hold a slice that no one else does."""
    rare = {count // 2, count - 1}
    return [card(i, "video+depth" if i in rare else TYPES[i % 4]) for i in range(count)]


def crowd(count, contacts="tree", seed=0, loss=0.0):
    return Crowd(strangers(cards(count), contacts, seed), seed, loss)


def rounds(world, count):
    for _ in range(count):
        world.round()


def settled(count, **how):
    world = crowd(count, **how)
    rounds(world, 12)
    return world


def holders(world, name):
    return {me for me, agent in world.agents.items() if name in agent.card.slices}


def edges(world):
    agents = world.agents.items()
    return {(me, name, peer) for me, agent in agents for name in agent.card.slices for peer in agent.neighbours(name)}


def assert_bounded(agent):
    book = agent.book
    assert len(book.view) <= VIEW and len(book.rumours) <= RUMOURS and len(book.spoken) <= SPOKEN
    assert all(len(agent.neighbours(name)) <= MOST for name in agent.card.slices)


def assert_rings(world):
    """Every agent has for each slice the neighbours that the rings give, and both ends agree."""
    for name in world.slices:
        who = holders(world, name)
        for me in who:
            assert set(world.agents[me].neighbours(name)) == set(nearest(me, tuple(who - {me}), RINGS))


def test_what_gossip_settles_on_is_the_overlay_rings_with_its_weights():
    world = settled(40)
    graph = nx.empty_graph(0)
    graph.add_nodes_from(world.agents)
    topology = Topology("found", graph, overlay="rings")
    for name in sorted({name for agent in world.agents.values() for name in agent.card.slices}):
        overlay = topology.over(holders(world, name))
        assert nx.is_connected(overlay.graph)
        for me in holders(world, name):
            assert world.agents[me].weights(name) == pytest.approx(dict(overlay.weights(me)), abs=1e-12)


@pytest.mark.parametrize(("contacts", "seed"), [*zip(CONTACTS, range(3), strict=True), ("chain", 3)])
def test_all_overlays_of_64_agents_are_connected_within_one_and_a_half_log_n_rounds(contacts, seed):
    world = crowd(64, contacts, seed)
    while not world.connected():
        world.round()
        assert world.rounds <= 1.5 * math.log2(64)
        for agent in world.agents.values():
            assert_bounded(agent)


def test_they_come_together_where_a_fifth_of_the_mail_is_lost():
    world = crowd(32, "chain", loss=0.2)
    while not world.connected():
        world.round()
        assert world.rounds <= 3 * math.log2(32)


@pytest.mark.parametrize("count", [2, 3, 5, 24])
def test_in_the_end_each_has_its_neighbours_on_the_rings_and_no_other(count):
    world = settled(count)
    assert_rings(world)
    assert world.connected()


def test_overlays_once_connected_stay_so():
    world = crowd(24, "chain")
    seen = []
    for _ in range(14):
        world.round()
        seen.append(world.connected())
    assert seen == sorted(seen) and seen[-1]


def test_the_same_seed_gives_the_same_mail():
    first, second = crowd(16, loss=0.2), crowd(16, loss=0.2)
    rounds(first, 6)
    rounds(second, 6)
    assert (first.messages, first.bytes) == (second.messages, second.bytes)
    assert all(list(a.book.entries) == list(second.agents[me].book.entries) for me, a in first.agents.items())


@pytest.mark.parametrize("count", [2, 3, 17])
def test_weights_are_symmetric_and_doubly_stochastic(count):
    world = settled(count)
    for name in world.slices:
        who = sorted(holders(world, name))
        rows = [world.agents[me].weights(name) for me in who]
        matrix = np.array([[row.get(peer, 0.0) for peer in who] for row in rows])
        matrix += np.diag(1 - matrix.sum(axis=1))
        assert (matrix == matrix.T).all() and (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=0, atol=1e-12)
        graph = world.overlay(name)
        expected = {(a, b): 1 / (1 + max(graph.degree(a), graph.degree(b))) for a, b in graph.edges}
        assert all(world.agents[a].weights(name)[b] == weight for (a, b), weight in expected.items())


def test_weights_never_exceed_one_whatever_is_lost():
    world = crowd(24, "chain", loss=0.4)
    for _ in range(15):
        world.round()
        for agent in world.agents.values():
            assert all(sum(agent.weights(name).values()) < 1 for name in agent.card.slices)


def test_agents_that_die_are_replaced_as_neighbours_and_then_forgotten():
    world = settled(24)
    dead = {f"a{i}" for i in range(0, 24, 4)}
    for me in dead:
        del world.agents[me]
    rounds(world, 2 * PATIENCE + 6)  # the one behind a dead neighbour may be dead too
    assert_rings(world)
    rounds(world, OLDEST - 2 * PATIENCE - 5)
    assert not any(dead & agent.book.entries.keys() for agent in world.agents.values())
    assert world.connected()


def test_one_that_comes_back_elsewhere_is_found_where_it_is():
    world = settled(16)
    world.agents["a5"] = Gossiper(card(5, TYPES[1], port=7000), [Card("a9", ("tcp://host9:9000",))], seed=1)
    rounds(world, PATIENCE + 5)
    assert_rings(world)
    for me in world.agents["a5"].neighbours("all"):
        assert world.agents[me].addresses("a5") == ("tcp://host5:7000",)


def test_one_that_joins_late_is_taken_in():
    world = settled(20)
    world.agents["a20"] = Gossiper(card(20, "video+depth"), [Card("a7")], seed=3)
    rounds(world, 8)
    assert_rings(world)


def test_a_slice_gained_and_a_slice_lost_are_known_in_a_few_rounds():
    world = settled(20)
    world.agents["a0"].card = card(0, "audio+motion")
    world.agents["a1"].card = card(1, "audio")
    rounds(world, 8)
    assert_rings(world)


def test_two_halves_that_lost_sight_of_each_other_find_together():
    world = settled(16)
    world.wall = frozenset(f"a{i}" for i in range(8))
    rounds(world, OLDEST + 2)
    assert not world.connected()
    assert all((peer in world.wall) == (me in world.wall) for me, a in world.agents.items() for peer in a.book.entries)
    world.wall = frozenset()
    rounds(world, RECALL + 10)
    assert_rings(world)


def test_it_goes_on_asking_a_contact_that_is_not_up_yet():
    world = crowd(2)
    first = world.agents.pop("a0")
    rounds(world, 3 * RECALL)
    world.agents["a0"] = first
    rounds(world, 3)
    assert_rings(world)


def fakes(start):
    """As many agents that there are not as a message carries."""
    slices = frozenset({"all", "audio"})
    return tuple(Card(f"f{i}", ("tcp://nowhere:1",), (), slices) for i in range(start, start + MAX_CARDS - 1))


def flood(agent, liar, messages):
    """Every message tells of others, all as fresh as can be."""
    for k in range(messages):
        agent.receive(liar.id, Message((liar, *fakes(100 * k)), MAX_CARDS, True))
        assert_bounded(agent)


def invented(entries):
    return [entry for entry in entries if entry.card.id.startswith("f")]


def test_one_that_invents_agents_fills_a_share_of_the_lists_and_takes_no_edge():
    world = settled(16)
    victim = world.agents["a0"]
    before = {name: victim.neighbours(name) for name in victim.card.slices}
    flood(victim, world.agents["a1"].card, 50)
    assert len(invented(victim.book.rumours)) <= RUMOURS_OF_ONE and len(invented(victim.book.view)) <= VIEW_OF_ONE
    assert {name: victim.neighbours(name) for name in victim.card.slices} == before
    rounds(world, 3)
    assert_rings(world)


def test_one_that_invents_agents_all_the_time_does_not_keep_others_from_finding_each_other():
    world = crowd(24, "first")
    liar = world.agents["a1"].card
    for k in range(16):
        world.round()
        for agent in world.agents.values():
            if agent.me != liar.id:
                agent.receive(liar.id, Message((liar, *fakes(1000 * k)), MAX_CARDS, True))
    honest = [world.overlay(name).subgraph(holders(world, name) - {liar.id}) for name in world.slices]
    assert all(nx.is_connected(graph) for graph in honest)


def test_those_that_answer_but_take_no_edge_cost_nobody_an_edge():
    world = settled(16)
    before = edges(world)
    mute = [card(100 + i, "audio+motion") for i in range(16)]
    for _ in range(6):
        for agent in world.agents.values():
            for other in mute:
                agent.receive(other.id, Message((other,)))
        world.round()
    assert before <= edges(world)


def test_hearsay_does_not_move_one_that_has_spoken_for_itself():
    world = settled(8)
    victim, liar = world.agents["a0"], world.agents["a1"].card
    known = next(entry.card for entry in victim.book.spoken if entry.card.id != liar.id)
    lie = Card(known.id, ("tcp://trap:1",), known.modalities, frozenset())
    victim.receive(liar.id, Message((liar, lie), 2))
    assert victim.addresses(known.id) == known.addresses and victim.book.entries[known.id].card.alike(known)


def test_a_card_that_another_shows_as_mine_is_ignored():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    agent.receive("a1", Message((card(1, "audio"), Card("a0", ("tcp://trap:1",))), 2))
    assert agent.card == card(0, "audio") and "a0" not in agent.book.entries


def test_one_that_does_not_show_its_own_card_first_is_refused():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    for sender in ("a2", "a0"):
        with pytest.raises(MalformedFrame):
            agent.receive(sender, Message((card(1, "audio") if sender == "a2" else card(0, "audio"),)))
    assert not agent.book.entries


def test_edges_for_slices_that_are_not_shared_are_not_taken():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    wish = {name: Edge(True, 1) for name in ("all", "motion", "video", "nonsense")}
    [answer] = agent.receive("a1", Message((card(1, "motion"),), asks=True, edges=wish)).values()
    assert answer.edges.keys() == {"all"}


def test_no_agent_takes_more_edges_than_it_may():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    for i in range(1, 100):
        agent.receive(f"a{i}", Message((card(i, "audio"),), asks=True, edges={"all": Edge(True, 0)}))
        assert_bounded(agent)
    agent.tick()
    for i in range(1, 100):
        agent.receive(f"a{i}", Message((card(i, "audio"),), asks=True, edges={"all": Edge(True, 0)}))
    assert len(agent.neighbours("all")) == MOST


def test_it_answers_each_peer_once_a_round_and_no_more_peers_than_it_may():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    ask = [Message((card(i, "audio"),), asks=True) for i in range(1, ANSWERS + 10)]
    answers = [agent.receive(message.cards[0].id, message) for message in [*ask, *ask]]
    assert sum(map(bool, answers)) == ANSWERS
    agent.tick()
    assert agent.receive("a1", ask[0]).keys() == {"a1"}


def test_strangers_without_end_find_a_full_book():
    agent = Gossiper(card(0, "audio"), [], seed=0)
    for i in range(1, 2 * SPOKEN):
        agent.receive(f"a{i}", Message((card(i, "audio"),), 1, asks=True))
        assert_bounded(agent)
    agent.tick()
    assert len(agent.coholders("all")) <= len(agent.book.entries) <= VIEW + 2 * RINGS * SPARE + MOST


def test_who_is_wanted_is_found_whatever_it_holds_and_is_nothing_special_then():
    world = crowd(32, "first")
    for me, agent in world.agents.items():
        agent.wanted.update(f"a{(int(me[1:]) + step) % 32}" for step in (7, 16))
    while any(agent.wanted for agent in world.agents.values()):
        world.round()
        assert world.rounds < 100
        for agent in world.agents.values():
            assert_bounded(agent)
    rounds(world, OLDEST)
    assert_rings(world)


def test_hearsay_does_not_say_where_a_contact_is_but_the_contact_does():
    agent = Gossiper(card(0, "audio"), [card(1, "audio")], seed=0)
    agent.receive("a2", Message((card(2, "audio"), card(1, "audio", port=666))))
    assert agent.addresses("a1") == ("tcp://host1:9000",)
    agent.receive("a1", Message((card(1, "audio", port=7000),)))
    assert agent.addresses("a1") == ("tcp://host1:7000",)


@pytest.mark.parametrize(("recall", "asked"), [(1, ["a1", "a2"] * 3), (3, ["a1", "a2"])])
def test_contacts_that_answer_are_asked_again_in_turn(recall, asked):
    contacts = [Card(f"a{i}") for i in (1, 2)]
    agent = Gossiper(card(0, "audio"), contacts, seed=0, recall=recall)
    found = []
    for _ in range(6):
        for other in (*contacts, Card("a3")):
            agent.receive(other.id, Message((other,), drawn=int(other.id == "a3")))
        found += [peer for peer, message in agent.tick().items() if message.asks and peer != "a3"]
    assert found == asked


def test_more_slices_than_a_card_can_name_are_refused():
    with pytest.raises(ConfigError, match="64 at most"):
        Gossiper(Card("a0", slices=frozenset(map(str, range(MAX_SLICES + 1)))), [], seed=0)

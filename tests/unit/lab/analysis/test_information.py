"""The decomposition against closed forms, against its own identities, and against dit."""

import itertools
import math

import dit
import numpy as np
import pytest
from dit.pid import PID_BROJA
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from parse_p2p.data.sets import bits
from parse_p2p.lab.analysis import information
from parse_p2p.lab.analysis.information import count, decompose, entropy, mutual_information
from parse_p2p.lab.analysis.probes import codebook


def gate(sources, target, chances=None):
    """The table of some equally likely pairs of sources, and a target of each."""
    pairs = list(sources)
    chances = chances or [1 / len(pairs)] * len(pairs)
    found = {}
    for pair, chance in zip(pairs, chances, strict=True):
        found[(*pair, target(*pair))] = found.get((*pair, target(*pair)), 0) + chance
    values = [sorted({key[axis] for key in found}) for axis in range(3)]
    table = np.zeros([len(v) for v in values])
    for key, chance in found.items():
        table[tuple(v.index(x) for v, x in zip(values, key, strict=True))] += chance
    return table


def packed(*numbers):
    return sum(number << place for place, number in enumerate(numbers))


def fair(count):
    return list(itertools.product((0, 1), repeat=count))


PAIRS = fair(2)
DUPLICATED = [(0, 0), (1, 1)]
SHARED_AND_COIN = [(packed(r, a), packed(r, c)) for r, a, c in fair(3)]
ALL_FOUR = [(packed(r, u, a), packed(r, v, c)) for r, u, v, a, c in fair(5)]
THREE = [(packed(r, u), packed(r, v)) for r, u, v in fair(3)]


def bit(number, place):
    return number >> place & 1


TRUTH = {  # I_min would give (1, 0, 0, 1) for copy and (2, 0, 0, 2) for all four
    "duplicated": (gate(DUPLICATED, lambda x, y: x), (1, 0, 0, 0)),
    "xor": (gate(PAIRS, lambda x, y: x ^ y), (0, 0, 0, 1)),
    "first": (gate(PAIRS, lambda x, y: x), (0, 1, 0, 0)),
    "second": (gate(PAIRS, lambda x, y: y), (0, 0, 1, 0)),
    "copy": (gate(PAIRS, lambda x, y: (x, y)), (0, 1, 1, 0)),
    "and": (gate(PAIRS, lambda x, y: x & y), (0.3113, 0, 0, 0.5)),
    "or": (gate(PAIRS, lambda x, y: x | y), (0.3113, 0, 0, 0.5)),
    "sum": (gate(PAIRS, lambda x, y: x + y), (0.5, 0, 0, 1)),
    "duplicated and xor": (gate(SHARED_AND_COIN, lambda x, y: (bit(x, 0), bit(x, 1) ^ bit(y, 1))), (1, 0, 0, 1)),
    "redundant and two unique": (gate(THREE, lambda x, y: (bit(x, 0), bit(x, 1), bit(y, 1))), (1, 1, 1, 0)),
    "all four": (
        gate(ALL_FOUR, lambda x, y: (bit(x, 0), bit(x, 1), bit(y, 1), bit(x, 2) ^ bit(y, 2))),
        (1, 1, 1, 1),
    ),
    "independent": (np.full((2, 3, 2), 1 / 12), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", TRUTH)
def test_gates_have_their_known_atoms(name):
    table, truth = TRUTH[name]
    assert decompose(table).atoms == pytest.approx(truth, abs=1e-4)


def h(p):
    return entropy(np.array([p, 1 - p]))


def noisy(p, q):
    """Two copies of a fair bit, each flipped by itself."""
    table = np.zeros((2, 2, 2))
    for y, first, second in itertools.product((0, 1), repeat=3):
        table[y ^ first, y ^ second, y] = 0.5 * (p if first else 1 - p) * (q if second else 1 - q)
    return table


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.1), (0.05, 0.2), (0.3, 0.4)])
def test_noisy_copies_have_their_closed_form(p, q):
    found, both = decompose(noisy(p, q)), mutual_information(noisy(p, q).reshape(4, 2))
    truth = (1 - h(q), h(q) - h(p), 0, both - (1 - h(p)))
    assert found.atoms == pytest.approx(truth, abs=1e-4)


tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    elements=st.integers(0, 9).map(float),
).filter(lambda table: table.sum() > 0)


@settings(max_examples=60)
@given(tables)
def test_atoms_add_up_and_none_is_negative(table):
    found = decompose(table)
    assert min(found.atoms) >= -1e-12
    assert found.redundant + found.unique_1 == pytest.approx(mutual_information(table.sum(1)), abs=1e-9)
    assert found.redundant + found.unique_2 == pytest.approx(mutual_information(table.sum(0)), abs=1e-9)
    assert found.total == pytest.approx(mutual_information(table.reshape(-1, table.shape[2])), abs=1e-9)


@settings(max_examples=30)
@given(tables, st.randoms(use_true_random=False))
def test_sources_and_labels_may_change_places(table, random):
    """Names of codes mean nothing, counts may be scaled, and X2 before X1 changes U1 with U2."""
    orders = [random.sample(range(n), n) for n in table.shape]
    found, other = decompose(table), decompose(7 * table[np.ix_(*orders)].transpose(1, 0, 2))
    swapped = (other.redundant, other.unique_2, other.unique_1, other.synergistic)
    assert found.atoms == pytest.approx(swapped, abs=2e-4)


def by_dit(table, enough):
    """dit's atoms: {0:1} is synergy, {0}{1} redundancy.

    It stops where its random start leads, and the order of its sets, which Python draws: the best of three starts, or
    of up to twelve where none of them has enough redundancy.
    """
    where = [index for index in np.ndindex(*table.shape) if table[index] > 0]
    outcomes = ["".join(map(str, index)) for index in where]
    joint = dit.Distribution(outcomes, [table[index] / table.sum() for index in where])
    found = []
    for seed in range(12):
        if seed > 2 and max(found)[0] > enough:
            break
        np.random.seed(seed)  # dit draws from the global state
        atoms = PID_BROJA(joint)
        found.append(tuple(float(atoms[node]) for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))))
    return max(found)


def drawn(seed, shape):
    return np.random.default_rng(seed).dirichlet(np.full(math.prod(shape), 0.5)).reshape(shape)


CHECKED = {name: TRUTH[name][0] for name in ("and", "copy")} | {
    f"{shape}, seed {seed}": drawn(seed, shape) for shape, seed in [((2, 3, 2), 0), ((2, 3, 2), 1), ((2, 2, 3), 3)]
}


@pytest.mark.parametrize("name", CHECKED)
def test_dit_finds_the_same_or_a_worse_optimum(name):
    """Whoever finds less redundancy stopped before the minimum."""
    found = decompose(CHECKED[name]).atoms
    other = by_dit(CHECKED[name], found[0] - 3e-3)
    assert found == pytest.approx(other, abs=3e-3)
    assert found[0] >= other[0] - 1e-4


def test_a_table_without_counts_is_refused():
    with pytest.raises(ValueError, match="without counts"):
        decompose(np.zeros((2, 2, 2)))


def test_chance_is_booked_as_synergy_and_the_null_shows_it():
    """(k² − 1)(C − 1)/(2 n ln 2) bits between independent codes and classes."""
    rng, n, k, classes = np.random.default_rng(0), 2000, 8, 8
    first, second, target = (rng.integers(0, m, n) for m in (k, k, classes))
    shape = (k, k, classes)
    found, null = decompose(count(first, second, target, shape)), information.null(first, second, target, shape, 0)
    expected = (k * k - 1) * (classes - 1) / (2 * n * math.log(2))
    assert found.total == pytest.approx(expected, rel=0.2) and null.total == pytest.approx(expected, rel=0.2)
    assert found.synergistic > 0.7 * found.total and null.synergistic > 0.7 * null.total


def test_enough_samples_leave_little_to_chance():
    k, classes = 4, 4
    n = information.needed(k, classes)
    rng = np.random.default_rng(1)
    codes = [rng.integers(0, m, n) for m in (k, k, classes)]
    assert decompose(count(codes[0], codes[1], codes[2], (k, k, classes))).synergistic < 0.03


ATOMS = [
    ("redundant",),
    ("unique",),
    ("synergistic",),
    ("redundant", "synergistic"),
    ("redundant", "unique", "synergistic"),
]


@pytest.mark.parametrize("embedding", ["linear", "tanh"])
@pytest.mark.parametrize("atoms", ATOMS, ids="+".join)
def test_codes_of_made_data_have_the_atoms_that_were_put_there(atoms, embedding):
    options = bits.Options(samples=24000, atoms=atoms, noise=0.2, embedding=embedding)
    data = bits.open(options, 0)
    codes = []
    for x in data.inputs.values():
        rows = x.double().numpy()
        codes.append(codebook(rows[:2000], 8, 0).predict(rows[2000:]))
    found = decompose(count(codes[0], codes[1], data.targets.numpy()[2000:], (8, 8, data.classes)))
    truth = ["redundant" in atoms, "unique" in atoms, "unique" in atoms, "synergistic" in atoms]
    assert found.atoms == pytest.approx([float(t) for t in truth], abs=0.02)


def test_too_few_codes_keep_an_arbitrary_part():
    """Three bits in a modality and two codes: most of what is there is lost, and nothing in the estimate says so."""
    data = bits.open(bits.Options(samples=6000), 0)
    codes = [codebook(x.double().numpy(), 2, 0).predict(x.double().numpy()) for x in data.inputs.values()]
    assert decompose(count(codes[0], codes[1], data.targets.numpy(), (2, 2, 16))).total < 2.2

"""What the representations of a run's agents hold: is a redundant slice redundant, a unique one unique?

``analyse`` measures on held-out samples and gives lists of flat records, which ``parse-lab pid`` writes to ``pid.json``
(``pandas.DataFrame(json["slice_pid"])`` is a table). All information is in bits. Every record has the ``round`` (after
how many), and where it is of one agent its ``agent`` and ``type``. n is the number of samples, k of codes for each
source, C of classes.

dataset_pid   R, U1, U2, S of codes of trunk outputs and of the inputs themselves (``of``), for several k
slice_pid     the same of the codes of one slice in two modalities, at one k
              both: one, other (the sources), k, n, classes, enough (n ≥ 20·k²·C), redundant, unique_1, unique_2,
              synergistic, and null_redundant … null_synergistic, the same for shuffled labels; slice_pid also:
              slice, and purity, the share of the total that is of the slice's own kind (null where there is none)
slice_info    slice, modality, bits (I(slice; Y) is at least that), entropy (H(Y)), explained (share of the slice's
              variance that lies between classes), n, classes
leak          one, other (as redundant.audio), correlation (mean squared), cka (linear), n
use           branch, change (none, alone, dropped, permuted), accuracy, cross_entropy, n
agreement     component, holders, distance (√ of the mean ‖x_i − x̄‖²), relative (to ‖x̄‖), cka (of what the holders
              make of the same samples, mean over pairs; null where it cannot be told)
conflict      component, across (mean cosine between gradients of agents with one modality and with several),
              unimodal, multimodal (within each), each null where there is no pair
pooled        as slice_pid, of the codes of trunk outputs in one codebook, tables summed by push-sum: type, agents,
              exchanges (rounds of push-sum), apart (largest difference between agents in an atom), alone_redundant …
              alone_synergistic (mean over the agents of what each finds in its own samples)
notes         sentences
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from parse_p2p.config.run_plan import RunPlan
from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Kind, Modality, PeerId
from parse_p2p.data.base import Dataset
from parse_p2p.data.lazy import in_memory
from parse_p2p.lab.analysis import consensus, pooling
from parse_p2p.lab.analysis.information import Codes, Decomposition, count, decompose, entropy, needed, null
from parse_p2p.lab.analysis.probes import Features, cka, codebook, correlation, explained, one_thread, probe
from parse_p2p.learning.learner import Learner

Record = dict[str, Any]
SliceAnalysis = dict[str, list[Any]]

SLICES = (Kind.REDUNDANT, Kind.UNIQUE, Kind.SYNERGISTIC)
ATOMS = ("redundant", "unique_1", "unique_2", "synergistic")
SHUFFLES = 5
TOPICS = ("dataset_pid", "slice_pid", "slice_info", "leak", "use", "agreement", "conflict", "pooled", "notes")
NATS = float(np.log2(np.e))  # bits in one


@dataclass(frozen=True)
class View:
    """One agent, and what its model makes of its training samples and of the test set."""

    learner: Learner
    kind: str
    seed: int

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return self.learner.holder.modalities

    @property
    def target(self) -> Codes:
        return self.learner.test.targets.numpy()

    @property
    def classes(self) -> int:
        return self.learner.test.classes

    @property
    def sliced(self) -> bool:
        return any(kind in SLICES for zs in self.latents.values() for kind in zs)

    @cached_property
    def latents(self) -> dict[Modality, dict[Kind, Features]]:
        """Of the test set."""
        return self._latents(self.learner.test)

    @cached_property
    def trained_latents(self) -> dict[Modality, dict[Kind, Features]]:
        """Of the training samples: codebooks are made on them."""
        return self._latents(self.learner.data)

    def _latents(self, data: Dataset) -> dict[Modality, dict[Kind, Features]]:
        return {m: {k: array(z) for k, z in zs.items()} for m, zs in self.learner.outputs(data).latents.items()}

    def trunks(self, data: Dataset) -> dict[Modality, Features]:
        """What each encoder gives, before it is cut into slices."""
        self.learner.model.eval()
        with torch.no_grad():
            inputs = {m: in_memory(data.inputs[m]) for m in self.modalities}
            return {m: array(self.learner.model.trunk_of(m)(x).flatten(1)) for m, x in inputs.items()}

    def record(self, **fields: Any) -> Record:
        return {"agent": self.learner.me, "type": self.kind} | fields


def analyse(plan: RunPlan, learners: Mapping[PeerId, Learner], round: int, k: int = 8) -> SliceAnalysis:
    """All that can be told of these agents after so many rounds; see the module's docstring.

    Raises ConfigError where samples have no class, of which information is to be estimated.
    """
    if not plan.schema.solved.one_class:
        raise ConfigError(
            f"pid estimates information on the class of a sample, and the task of the run is {plan.schema.task}: take "
            "a run of classification"
        )
    seed = plan.run.seed
    views = {me: View(learner, plan.kind(me, max(0, round - 1)), seed) for me, learner in learners.items()}
    found: SliceAnalysis = {topic: [] for topic in TOPICS}
    with one_thread():
        for view in views.values():
            found["dataset_pid"] += dataset_pid(view, k)
            if view.sliced:
                found["slice_pid"] += slice_pid(view, k)
                found["slice_info"] += slice_info(view)
                found["leak"] += leak(view)
                found["use"] += use(view)
        found["agreement"] = consensus.agreement(learners, _probed(plan))
        found["conflict"] = consensus.conflict(learners)
        found["pooled"] = list(pooled(plan, views, k))
    found["notes"] = list(_notes(plan, views, found, k))
    for topic in TOPICS[:-1]:
        found[topic] = [{"round": round} | record for record in found[topic]]
    return found


def _probed(plan: RunPlan) -> dict[Modality, Tensor]:
    """As many test samples of each modality, which all agents are asked about: those of who has most modalities."""
    most = sorted(plan.peers, key=lambda me: len(plan.specs[me].modalities))
    holders = {m: me for me in most for m in plan.specs[me].modalities}
    found = {m: plan.data.share(me, [m])[1].inputs[m] for m, me in sorted(holders.items())}
    count = min(consensus.PROBED, *map(len, found.values()))
    return {m: x[:count] for m, x in found.items()}


def dataset_pid(view: View, k: int) -> list[Record]:
    """Of the codes of trunk outputs and of inputs, with half as many codes as asked for, as many, and twice as many."""
    learner = view.learner
    parts = {
        "inputs": (flat(learner.data), flat(learner.test)),
        "trunk": (view.trunks(learner.data), view.trunks(learner.test)),
    }
    return [
        view.record(of=of, **pid(view, fit, held, pair, n))
        for of, (fit, held) in parts.items() for n in dict.fromkeys((max(2, k // 2), k, 2 * k))
        for pair in pairs(view.modalities)
    ]  # fmt: skip


def slice_pid(view: View, k: int) -> list[Record]:
    """Of the codes of each slice, with the share of its own kind."""
    records = []
    for kind in (kind for kind in SLICES if all(kind in zs for zs in view.latents.values())):
        fit, held = ({m: zs[kind] for m, zs in of.items()} for of in (view.trained_latents, view.latents))
        for pair in pairs(view.modalities):
            found = pid(view, fit, held, pair, k)
            records.append(view.record(slice=str(kind), **found, purity=purity(kind, found)))
    return records


def purity(kind: Kind, found: Record) -> float | None:
    """The share of a slice's information that is of the slice's own kind; None where it has none."""
    total = sum(found[atom] for atom in ATOMS)
    own = [atom for atom in ATOMS if atom.startswith(str(kind))]
    return float(sum(found[atom] for atom in own) / total) if total > 1e-9 else None


Pair = tuple[tuple[Modality, ...], tuple[Modality, ...]]


def pairs(modalities: tuple[Modality, ...]) -> list[Pair]:
    """Two sources each: every two modalities, and where there are more, each one against all others.

    The lattice of atoms has 18 for three sources and 166 for four.
    """
    found: list[Pair] = [((a,), (b,)) for a, b in combinations(modalities, 2)]
    if len(modalities) > 2:
        found += [((m,), tuple(o for o in modalities if o != m)) for m in modalities]
    return found


def pid(view: View, fit: Mapping[Modality, Features], held: Mapping[Modality, Features], pair: Pair, k: int) -> Record:
    """The decomposition of two sources' codes, with its null; codebooks are made on ``fit``, counts on ``held``."""
    one, other = (codebook(joined(fit, s), k, view.seed).predict(joined(held, s)) for s in pair)
    shape = k, k, view.classes
    found = decompose(count(one, other, view.target, shape))
    chance = null(one, other, view.target, shape, view.seed, SHUFFLES)
    return described(pair, k, len(view.target), view.classes, found) | atoms(chance, "null_")


def joined(of: Mapping[Modality, Features], source: tuple[Modality, ...]) -> Features:
    """The features of some modalities side by side, each with the same variance in all."""
    if len(source) == 1:
        return of[source[0]]
    return np.concatenate([of[m] / max(float(np.sqrt(of[m].var(0).sum())), 1e-12) for m in source], axis=1)


def described(pair: Pair, k: int, n: int, classes: int, found: Decomposition) -> Record:
    one, other = ("+".join(source) for source in pair)
    asked = {"one": one, "other": other, "k": k, "n": n, "classes": classes, "enough": n >= needed(k, classes)}
    return asked | atoms(found)


def atoms(found: Decomposition, prefix: str = "") -> dict[str, float]:
    return {prefix + name: value for name, value in zip(ATOMS, found.atoms, strict=True)}


def slice_info(view: View) -> list[Record]:
    """What a linear probe reads of each slice: of agents with one modality as well."""
    about = {"entropy": entropy(np.bincount(view.target).astype(np.float64)), "n": len(view.target)}
    return [
        view.record(slice=str(kind), modality=m, bits=probe(z, view.target, view.seed),
                    explained=explained(z, view.target), **about, classes=view.classes)
        for m, zs in view.latents.items() for kind, z in zs.items()
    ]  # fmt: skip


def leak(view: View) -> list[Record]:
    """Overlap of the slices of one modality, and of slices of one kind across modalities."""
    named = {(m, kind): z for m, zs in view.latents.items() for kind, z in zs.items()}
    return [
        view.record(one=f"{a[1]}.{a[0]}", other=f"{b[1]}.{b[0]}", correlation=correlation(named[a], named[b]),
                    cka=cka(named[a], named[b]), n=len(view.target))
        for a, b in combinations(named, 2) if a[0] == b[0] or a[1] == b[1]
    ]  # fmt: skip


def use(view: View) -> list[Record]:
    """Accuracy and cross-entropy as it is, with each branch alone, without it, and with another sample's branch."""
    branches = view.learner.outputs(view.learner.test).branches
    whole = torch.stack(list(branches.values())).sum(0)
    draw = np.random.default_rng(view.seed)
    records = [view.record(branch="all", change="none", **_quality(view, whole))]
    for name, logits in branches.items():
        changes = {"alone": logits}
        if len(branches) > 1:
            other = torch.from_numpy(draw.permutation(len(logits)))
            changes |= {"dropped": whole - logits, "permuted": whole - logits + logits[other]}
        records += [view.record(branch=name, change=c, **_quality(view, said)) for c, said in changes.items()]
    return records


def _quality(view: View, logits: Tensor) -> dict[str, float]:
    targets = view.learner.test.targets
    right = float((logits.argmax(1) == targets).double().mean())
    return {"accuracy": right, "cross_entropy": float(cross_entropy(logits, targets)) * NATS, "n": len(targets)}


def pooled(plan: RunPlan, views: Mapping[PeerId, View], k: int) -> Iterator[Record]:
    """For agents with the same modalities, task and encoders: each counts a part of the test set that is its alone.

    The first of them makes the codebooks. What is apart beside ``alone`` is what pooling is good for. Of a stream there
    is none: each agent has tasks of its own there, and one label stands for other classes on each.
    """
    if plan.run.stream is not None:
        return
    for alike in _alike(views):
        graph = plan.topology.over([view.learner.me for view in alike])
        if len(alike) < 2 or len(graph.connected_components()) > 1:
            continue
        first = alike[0]
        order = np.random.default_rng(first.seed).permutation(len(first.target))
        parts = np.array_split(order, len(alike))
        held = {view.learner.me: view.trunks(view.learner.test) for view in alike}
        fit = first.trunks(first.learner.data)
        for pair in pairs(first.modalities):
            codebooks = [codebook(joined(fit, source), k, first.seed) for source in pair]
            coded = {
                me: [each.predict(joined(of, source)) for each, source in zip(codebooks, pair, strict=True)]
                for me, of in held.items()
            }
            yield _pooled(first, graph.peers, graph, coded, parts, pair, k)


def _pooled(first: View, peers: tuple[PeerId, ...], graph: Any, coded: Mapping[PeerId, list[Codes]],
            parts: list[NDArray[np.int64]], pair: Pair, k: int) -> Record:  # fmt: skip
    shape, target = (k, k, first.classes), first.target
    tables = np.stack([count(coded[me][0][p], coded[me][1][p], target[p], shape)
                       for me, p in zip(peers, parts, strict=True)])  # fmt: skip
    sums, exchanges = pooling.total(graph, tables)
    found = [decompose(np.maximum(table, 0)) for table in sums]
    alone = [decompose(table).atoms for table in tables]
    own = [np.concatenate([coded[me][i][p] for me, p in zip(peers, parts, strict=True)]) for i in (0, 1)]
    chance = null(own[0], own[1], target[np.concatenate(parts)], shape, first.seed, SHUFFLES)
    return (
        {"type": first.kind, "agents": len(peers), "exchanges": exchanges}
        | described(pair, k, len(target), first.classes, found[0])
        | {"apart": float(np.ptp([each.atoms for each in found], axis=0).max())}
        | atoms(chance, "null_")
        | atoms(Decomposition(*np.mean(alone, axis=0).tolist()), "alone_")
    )


def _alike(views: Mapping[PeerId, View]) -> list[list[View]]:
    groups: dict[tuple[Any, ...], list[View]] = {}
    for view in views.values():
        if len(view.modalities) > 1:
            key = view.kind, tuple(sorted(view.learner.model.architectures.items())), len(view.target)
            groups.setdefault(key, []).append(view)
    return list(groups.values())


def _notes(plan: RunPlan, views: Mapping[PeerId, View], found: SliceAnalysis, k: int) -> Iterator[str]:
    if not any(view.sliced for view in views.values()):
        yield (
            f"the network {plan.run.model.network!r} has no slices: slice_pid, slice_info, leak and use are left out"
        )
    if not found["dataset_pid"]:
        yield "no agent has two modalities: only paired samples show what is redundant or synergistic"
    if plan.run.stream is not None and any(len(alike) > 1 for alike in _alike(views)):
        yield "with a stream the agents' test sets differ and so do their labels: pooled is left out"
    few = [r for r in found["dataset_pid"] if r["k"] == k and not r["enough"]]
    if few:
        n, classes = few[0]["n"], few[0]["classes"]
        yield (
            f"{n} test samples are few for {k} codes a source and {classes} classes: chance adds synergy, as the null "
            f"shows, until there are about {needed(k, classes)}"
        )


def flat(data: Dataset) -> dict[Modality, Features]:
    return {m: array(x.flatten(1)) for m, x in data.in_memory().items()}


def array(x: Tensor) -> Features:
    """(N, D) in double, on the CPU."""
    return x.detach().cpu().double().numpy()

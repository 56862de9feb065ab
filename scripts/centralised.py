"""Centralised methods in docs/results.md: the same agents and data, a coordinator, and every module off in turn."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment import TYPES, Probe, Result, Row, Runs, interval, lines, verdict

from parse_p2p.draws import seeded
from parse_p2p.methods import fedcmi
from parse_p2p.methods.ensemble import separability
from parse_p2p.methods.representations import represent
from parse_p2p.participant import Participant

PUBLIC = {"share": 0.15}
GRID = (0.01, 0.02, 0.05, 0.1, 0.2)

ALTERNATING = ("audio", "audio", "motion", "motion", "audio+motion", "audio+motion", "audio", "motion")
OTHER_ENCODER = {"width": 48, "depth": 3}

SCENARIOS: dict[str, dict[str, Any]] = {
    "HTAD with public data, IID": {
        "dataset": "htad",
        "public": PUBLIC,
        "rounds": 30,
        "target": 0.75,
        "say": "Samples dealt IID.",
    },
    "HTAD with public data, Dirichlet(0.3)": {
        "dataset": "htad",
        "public": PUBLIC,
        "partition": {"kind": "dirichlet", "alpha": 0.3},
        "rounds": 30,
        "target": 0.7,
        "say": "Labels dealt by Dirichlet(0.3).",
    },
    "HTAD, tasks that shift": {
        "dataset": "htad",
        "public": PUBLIC,
        "stream": {"tasks": 2, "groups": 2, "rounds": 10, "shift": 0.5},
        "model": {"rank": 32, "blocks": 1},
        "rounds": 20,
        "say": "Two relevance groups of four agents; every agent goes through two tasks of ten rounds, each with a "
        "label rule of its group and an offset of its inputs, and replays the first during the second. Accuracy is "
        "that on an agent's own two tasks, *others* that on the tasks of all other agents. FedMosaic's adapters have "
        "rank 32 and one block here, which did better than the default of 6 and two on the development seeds.",
    },
    "HTAD, two architectures": {
        "dataset": "htad",
        "public": PUBLIC,
        "partition": {"kind": "dirichlet", "alpha": 0.3},
        "agents": [
            {"id": f"a{i}", "modalities": kind.split("+"), "model": {"encoder": OTHER_ENCODER} if i % 2 else {}}
            for i, kind in enumerate(ALTERNATING)
        ]
        + [{"id": "hub", "role": "coordinator"}],
        "rounds": 30,
        "target": 0.7,
        "say": "As before with Dirichlet(0.3), but every other agent has encoders that are narrower and "
        "deeper (48 by 3 in place of 64 by 2): parameters of encoders cross among agents that are alike only, "
        "representations and FedMosaic's P and Q among all.",
    },
}

PARSE = Row("parse, three slices", "parse", "fission")
PLAIN = [
    PARSE,
    *[Row(f"{name}, three slices", name, "fission")
      for name in ("local", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "fedavg", "fedprox")],
]  # fmt: skip
OTHERS = [
    Row("local, embedding", "local", "embedding"),
    Row("fedavg, embedding", "fedavg", "embedding"),
    Row("creamfl, embedding", "creamfl", "embedding"),
    Row("fedafd, embedding", "fedafd", "embedding"),
    Row("local, infiltration", "local", "infiltration"),
    Row("fedavg, infiltration", "fedavg", "infiltration"),
    Row("fedavg, infiltration, task loss alone", "fedavg", "infiltration", (("branch", 0.0),)),
    Row("fedcmi, infiltration", "fedcmi", "infiltration"),
    Row("fedmosaic, adapters", "fedmosaic", "adapters"),
]
METHODS = [*PLAIN, *OTHERS]
NAMED = {row.method: row for row in OTHERS if row.method not in ("local", "fedavg")}
PLAIN_FEDAVG = next(row for row in OTHERS if row.options)


def without(method: str, name: str, **options: Any) -> Row:
    """A row of the ablation of a method, at the learning rate of the whole method."""
    whole = NAMED[method]
    return Row(name, method, whole.network, tuple(options.items()), whole)


ABLATIONS: dict[str, list[Row]] = {
    "fedafd": [
        NAMED["fedafd"],
        without("fedafd", "without adversarial alignment (BAA)", baa=False),
        without("fedafd", "weaker alignment (β = 0.05)", beta=0.05),
        without("fedafd", "without fusion (GFF)", gff=False),
        without("fedafd", "plain mean for the ensemble (SED)", sed=False),
        without("fedafd", "without distillation (γ = 0)", gamma=0.0),
        without("fedafd", "variant: code", variant="code"),
        without("fedafd", "coordinator learns the classes too", server_task="both"),
    ],
    "fedcmi": [
        NAMED["fedcmi"],
        without("fedcmi", "without infiltration", infiltration="none"),
        without("fedcmi", "distilled into the self-projector", infiltration="self"),
        without("fedcmi", "without class-wise temperature", class_wise="none"),
        without("fedcmi", "temperature rising with the gap", cta_sign=1),
        without("fedcmi", "weights in place of temperatures", class_wise="weight"),
        without("fedcmi", "direction by client and round", direction="client_global"),
        without("fedcmi", "without warm-up", warm_up=0),
        without("fedcmi", "with the proximal term (μ = 0.1)", mu=0.1),
        without("fedcmi", "infiltration and classifiers personal", personalised=True),
    ],
    "fedmosaic": [
        NAMED["fedmosaic"],
        without("fedmosaic", "uniform weights in place of relevance", relevance="uniform"),
        Row("alone: nothing received is used", "fedmosaic", "adapters", (), NAMED["fedmosaic"], (("gate", "local"),)),
        Row("gate fixed at one half", "fedmosaic", "adapters", (), NAMED["fedmosaic"], (("gate", "fixed"),)),
        Row("gate by the input", "fedmosaic", "adapters", (), NAMED["fedmosaic"], (("gate", "input"),)),
        without("fedmosaic", "only P and Q shared", share_lora=False),
        without("fedmosaic", "frames aligned by output gradients", b_align="grad_map"),
        without("fedmosaic", "random frames", b_align="random"),
        without("fedmosaic", "column-wise similarity", similarity="column"),
        without("fedmosaic", "without noise on the sketches", noise=0.0),
    ],
}


def rows(scenario: str) -> list[Row]:
    """All rows of a scenario."""
    return [*METHODS, *(row for each in ABLATIONS.values() for row in each)]


# what only some networks can be asked


def embedding(participants: Mapping[str, Participant]) -> Result:
    """How well a linear probe tells the clients' representations of the public items from the coordinator's."""
    if "hub" not in participants:
        return {}
    hub = participants["hub"].learner
    theirs, found = represent(hub, hub.data.inputs), []
    for me, participant in participants.items():
        if me != "hub":
            mine = represent(participant.learner, hub.data.inputs)
            found += [separability(u, theirs[m], seeded("probe", me, m)) for m, u in mine.items()]
    return {"separability": statistics.mean(found)}


def infiltration(participants: Mapping[str, Participant]) -> Result:
    """What each modality of the global model is worth by itself, and its spread over the classes."""
    if "hub" not in participants:
        return {}
    learner = participants["hub"].learner
    said = fedcmi.predictions(learner)
    spreads = {f"spread.{name}": fedcmi.spread(logits, learner.test.targets) for name, logits in said.items()}
    return {**fedcmi.accuracies(learner), **spreads}


PROBES: dict[str, Probe] = {"embedding": embedding, "infiltration": infiltration}


# the page


@dataclass(frozen=True)
class Claim:
    """A behavioural property of a specification: what of the first row should be above the second's."""

    says: str
    key: str
    first: Row
    second: Row


def ablation(method: str, name: str) -> Row:
    return next(row for row in ABLATIONS[method] if row.name == name)


WEAK = "audio"  # the weaker modality of HTAD
CLAIMS = [
    Claim("A13: without BAA a linear probe tells the clients' representations from the coordinator's better",
          "separability", ablation("fedafd", "without adversarial alignment (BAA)"), NAMED["fedafd"]),
    Claim("A13: the same with β = 0.05 in place of the paper's 0.5", "separability",
          ablation("fedafd", "without adversarial alignment (BAA)"), ablation("fedafd", "weaker alignment (β = 0.05)")),
    Claim("A13: clients are more accurate with GFF", "all", NAMED["fedafd"],
          ablation("fedafd", "without fusion (GFF)")),
    Claim("A13: the coordinator retrieves better with SED and distillation (R@1)", "hub retrieval", NAMED["fedafd"],
          ablation("fedafd", "without distillation (γ = 0)")),
    Claim("B13: FedCMI's global model is better than FedAvg's with the weak modality alone", f"alone.{WEAK}",
          NAMED["fedcmi"], PLAIN_FEDAVG),
    Claim("B13: and not worse with both (fused)", "fused", NAMED["fedcmi"], PLAIN_FEDAVG),
    Claim("B13: so it is with the infiltration loss, compared with none", f"alone.{WEAK}", NAMED["fedcmi"],
          ablation("fedcmi", "without infiltration")),
    Claim("B13: distilling into the self-projector costs the weak modality's own accuracy", f"own.{WEAK}",
          NAMED["fedcmi"], ablation("fedcmi", "distilled into the self-projector")),
    Claim("B13: classes are not spread wider with class-wise temperature (spread without less with)",
          f"spread.own.{WEAK}", ablation("fedcmi", "without class-wise temperature"), NAMED["fedcmi"]),
    Claim("M14: relevance is not worse than uniform weights on a client's own tasks", "all", NAMED["fedmosaic"],
          ablation("fedmosaic", "uniform weights in place of relevance")),
]  # fmt: skip


def page(runs: Runs) -> list[str]:
    text = [
        "The same eight agents, their data and the seeds as above, with 15 % of the training samples kept apart as "
        "the coordinator's public data (no method trains an agent on them, only a coordinator, and only where the "
        "method needs them). Among peers the agents form a ring; with a coordinator all talk to it alone. Tuned alike; "
        "the rows of an ablation keep the rate of the whole method. Bytes are all that crosses the wire in a round, "
        "a coordinator's mail included, divided by the agents: what a method needs beside the models (public data "
        "once, representations, encoders, backbones) is in it. The last columns say what it had cost to reach a mean "
        "accuracy over all agents for the first time: rounds, megabytes for each agent, and seconds of computing on "
        "one core, all agents and the coordinator one after another; in brackets how many of five seeds reached it.",
    ]
    for scenario, settings in SCENARIOS.items():
        text += ["", f"## {scenario}", "", f"{settings['say']} {settings['rounds']} rounds.", ""]
        text += table(runs, scenario, METHODS)
        for method, rows in ABLATIONS.items():
            text += ["", f"### {scenario}: the modules of {method}", ""]
            text += table(runs, scenario, rows)
    text += ["", "## Do the modules do what they are for?", ""]
    text += ["Behavioural properties of the methods' specifications, paired by seed: the first less the second.", ""]
    return text + lines(["property", *SCENARIOS], [[c.says, *(tried(runs, s, c) for s in SCENARIOS)] for c in CLAIMS])


def table(runs: Runs, scenario: str, rows: list[Row]) -> list[str]:
    """As that of the decentralised methods, and what it had cost to reach the scenario's target."""
    target = SCENARIOS[scenario].get("target")
    head = ["", *TYPES, "all agents", "worst agent"]
    head += [] if target else ["others"]
    head += ["kB a round", "lr", "first row less this one"]
    head += [f"rounds to {target}", "MB", "seconds"] if target else []
    body: list[list[str]] = []
    first: list[float] | None = None
    for row in rows:
        results = runs.results(scenario, row)
        scores = [r["all"] for r in results]
        keys = (*TYPES, "all", "worst", *(() if target else ("others",)))
        cells = [row.name, *(interval([r[key] for r in results]) for key in keys)]
        cells += [f"{statistics.mean(r['bytes'] for r in results) / 1e3:.1f}", str(runs.lr(scenario, row))]
        cells.append("" if first is None else verdict([a - b for a, b in zip(first, scores, strict=True)]))
        first = first or scores
        body.append(cells + (cost(results) if target else []))
    return lines(head, body)


def cost(results: list[Result]) -> list[str]:
    """Rounds, megabytes and seconds to the target, over the seeds that reached it."""
    there = [r for r in results if "rounds to target" in r]
    if not there:
        return ["not reached", "", ""]
    names = ("rounds", "bytes", "seconds")
    rounds, nbytes, seconds = (statistics.mean(r[f"{name} to target"] for r in there) for name in names)
    missing = "" if len(there) == len(results) else f" ({len(there)} of {len(results)})"
    return [f"{rounds:.1f}{missing}", f"{nbytes / 1e6:.2f}", f"{seconds:.2f}"]


def tried(runs: Runs, scenario: str, claim: Claim) -> str:
    one, other = (runs.results(scenario, row) for row in (claim.first, claim.second))
    if any(claim.key not in result for result in (*one, *other)):
        return "–"
    return verdict([a[claim.key] - b[claim.key] for a, b in zip(one, other, strict=True)])

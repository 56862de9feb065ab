"""The part of docs/results.md on centralised methods: the same agents and data, a coordinator, every module off in turn."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from experiment import TYPES, Probe, Result, Row, Runs, interval, lines, verdict

from parse_p2p.draws import seeded
from parse_p2p.methods import fedcmi
from parse_p2p.methods.ensemble import separability
from parse_p2p.methods.representations import represent
from parse_p2p.participant import Participant

PUBLIC = {"share": 0.15}

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
        "rounds": 20,
        "say": "Two relevance groups of four agents; every agent goes through two tasks of ten rounds, each with a "
        "label rule of its group and an offset of its inputs, and replays the first during the second. Accuracy is "
        "that on an agent's own two tasks, *others* that on the tasks of all other agents.",
    },
}

PARSE = Row("parse, three slices", "parse", "fission")
PLAIN = [
    PARSE,
    *[Row(f"{name}, three slices", name, "fission")
      for name in ("local", "dsgd-task", "dsgd-modality", "dsgd-hybrid", "fedavg", "fedprox")],
]  # fmt: skip
FEDAFD, FEDCMI, FEDMOSAIC = Row("fedafd", "fedafd"), Row("fedcmi", "fedcmi"), Row("fedmosaic", "fedmosaic")
OTHERS = [
    Row("local, embedding", "local", "embedding"),
    Row("fedavg, embedding", "fedavg", "embedding"),
    Row("creamfl, embedding", "creamfl", "embedding"),
    Row("fedafd, embedding", "fedafd", "embedding"),
    Row("local, infiltration", "local", "infiltration"),
    Row("fedavg, infiltration", "fedavg", "infiltration"),
    Row("fedcmi, infiltration", "fedcmi", "infiltration"),
    Row("fedmosaic, adapters", "fedmosaic", "adapters"),
]
METHODS = [*PLAIN, *OTHERS]
NAMED = {row.method: row for row in OTHERS if row.method not in ("local", "fedavg")}


def without(method: str, name: str, **options: Any) -> Row:
    """A row of the ablation of a method, at the learning rate of the whole method."""
    whole = NAMED[method]
    return Row(name, method, whole.network, tuple(options.items()), whole)


ABLATIONS: dict[str, list[Row]] = {
    "fedafd": [
        NAMED["fedafd"],
        without("fedafd", "without adversarial alignment (BAA)", baa=False),
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

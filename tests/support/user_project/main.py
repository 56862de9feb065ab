"""Run all of one's own at once, and print what came of it as JSON."""

import json
from typing import assert_type

import parse_p2p

run = parse_p2p.run(
    "ring:4",
    {"left": 1, "right": 1, "left+right": 2},
    method="mine.method",
    dataset="mine.dataset",
    data={"samples": 120},
    codec="mine.codec",
    model={"encoder": {"kind": "mine.encoder", "width": 8}},
    options={"noise": 0.01},
    rounds=3,
)
assert_type(run, parse_p2p.Run)
assert_type(run.accuracy, float)  # and not Any: the types of the package are seen

refused = ""
try:
    parse_p2p.run("ring:3", {"left": 3}, dataset="mine.dataset", data={"samples": 1})
except parse_p2p.ConfigError as error:
    refused = str(error)

found = {"package": parse_p2p.__file__, "version": parse_p2p.__version__, "rounds": len(run.table()) // 4}
print(json.dumps({**found, "accuracy": run.accuracy, "bytes": run.bytes, "refused": refused}))  # noqa: T201

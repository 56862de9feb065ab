"""A real server answers as the model does, takes up newer checkpoints, and refuses all else in one sentence."""

import http.client
import json
import os
import shutil
import signal
import socket
import threading
from contextlib import closing, contextmanager

import loaded
import numpy as np
import ports
import pytest
import running
from trained import recorded

import parse_p2p
from parse_p2p.core.errors import ConfigError
from parse_p2p.launch.run_folder import RunFolder
from parse_p2p.runtime import checkpoint
from parse_p2p.serving import exported, server

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

LARGEST = 20_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, and one agent's state as it ended."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    _, agents = recorded(folder)
    return folder, agents["a2"].state()


@pytest.fixture(scope="module")
def port(run):
    """Of a server of that agent, in this process."""
    application = server.app(server.Newest(run[0], "a2"), server.Limits(rows=50, body=LARGEST))
    with serving(application) as port:
        yield port


@contextmanager
def serving(application):
    at = server.listening("127.0.0.1", 0)
    serves = uvicorn.Server(
        uvicorn.Config(application, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=serves.run, kwargs={"sockets": [at]})
    thread.start()
    try:
        yield at.getsockname()[1]
    finally:
        serves.should_exit = True
        thread.join()


def asked(port, method, path, body=None):
    """Status and JSON."""
    given = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=running.GUARD)) as connection:
        connection.request(method, path, given, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def sample(rows=3):
    rng = np.random.default_rng(0)
    return {m: rng.normal(size=(rows, 16)) for m in ("audio", "motion")}


def plain(inputs):
    return {m: x.tolist() for m, x in inputs.items()}


def test_it_answers_what_the_model_says(run, port):
    model = parse_p2p.load(run[0], "a2")
    status, found = asked(port, "POST", "/predict", {"inputs": plain(sample())})
    assert status == 200 and np.array_equal(np.float32(found["probabilities"]), model.predict(sample()))
    assert (found["labels"], tuple(found["classes"]), found["round"]) == (model.labels(sample()), model.classes, 2)


def test_samples_may_lack_a_modality(run, port):
    model, x = parse_p2p.load(run[0], "a2"), sample()
    status, found = asked(port, "POST", "/predict", {"inputs": plain({"audio": x["audio"]})})
    assert status == 200 and np.array_equal(np.float32(found["probabilities"]), model.predict({"audio": x["audio"]}))
    has = {"motion": np.array([True, False, True])}
    status, found = asked(port, "POST", "/predict", {"inputs": plain(x), "present": plain(has)})
    assert status == 200 and np.array_equal(np.float32(found["probabilities"]), model.predict(x, has))
    status, found = asked(port, "POST", "/predict", {"inputs": plain(x), "present": {"motion": [True]}})
    assert status == 422 and found["detail"].startswith("present: 'motion' is bool of shape [1]")
    rows = plain(x)["motion"]
    empty = plain(x) | {"motion": [rows[0], None, rows[2]]}
    status, found = asked(port, "POST", "/predict", {"inputs": empty, "present": plain(has)})
    assert status == 200 and np.array_equal(np.float32(found["probabilities"]), model.predict(x, has))


@pytest.mark.parametrize("flags", [["off", "yes", "on"], [0, 1, 1], [[True], [False], [True]]])
def test_what_says_who_has_a_modality_is_true_or_false(port, flags):
    question = {"inputs": plain(sample()), "present": {"motion": flags}}
    status, found = asked(port, "POST", "/predict", question)
    assert status == 422 and "'motion' holds what is neither true nor false" in found["detail"]


def test_it_says_how_it_is_and_what_it_reads(port):
    assert asked(port, "GET", "/health") == (200, {"status": "ok", "agent": "a2", "round": 2, "run": "run"})
    status, found = asked(port, "GET", "/schema")
    assert status == 200 and found["modalities"] == {"audio": [16], "motion": [16]} and found["rows"] == 50
    assert asked(port, "GET", "/openapi.json")[0] == 200


GOOD = json.dumps({"inputs": plain(sample())})
BAD = {
    "nothing": ("", "the body: field required; give {"),
    "no JSON": ("{", "the body is no JSON ("),
    "no bytes of text": (b"\xff\xfe{", "the body cannot be read: give {"),
    "deep": ("[" * 10_000, "the body cannot be read: give {"),
    "long number": ('{"inputs": {"audio": [1' + "0" * 5000 + "]}}", "the body cannot be read: give {"),
    "no inputs": ("{}", "inputs: field required; give {"),
    "a list": ("[1]", "the body: "),
    "more": (GOOD[:-1] + ', "more": 1}', "more: extra inputs are not permitted"),
    "empty": ('{"inputs": {}}', "inputs: give arrays by modality"),
    "unknown": ('{"inputs": {"smell": [[1]]}}', "inputs: the model has no modality 'smell'"),
    "text": ('{"inputs": {"audio": [["x"]]}}', "inputs: 'audio' holds texts; give numbers"),
    "objects": ('{"inputs": {"audio": [{}]}}', "inputs: 'audio' is object; give numbers"),
    "null": ('{"inputs": {"audio": [[null]]}}', "inputs: 'audio' is object; give numbers"),
    "ragged": ('{"inputs": {"audio": [[1], [1, 2]]}}', "inputs: the rows of 'audio' have different shapes"),
    "nested": ('{"inputs": {"audio": ' + "[" * 99 + "]" * 99 + "}}", "inputs: the rows of 'audio' have different"),
    "shape": ('{"inputs": {"audio": [[1]]}}', "inputs: 'audio' has the shape [1, 1]; give [rows, 16]"),
    "nan": ('{"inputs": {"audio": [[' + ",".join(["NaN"] * 16) + "]]}}", "inputs: 'audio' holds values that are NaN"),
    "too large": ('{"inputs": {"audio": [' + str([1e39] * 16) + "]}}", "inputs: 'audio' holds values that are NaN"),
    "many rows": ('{"inputs": {"audio": [' + ",".join(["1"] * 51) + "]}}", "inputs: 'audio' has 51 rows; give 50 at"),
}


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_answered_is_refused_in_one_sentence(port, body, said):
    status, found = asked(port, "POST", "/predict", body)
    assert status == 422 and set(found) == {"detail"} and found["detail"].startswith(said), found
    assert "\n" not in found["detail"]


def test_a_body_that_is_too_large_is_refused_whatever_its_header_says(port):
    refused = (413, {"detail": f"the body has more than {LARGEST} bytes: ask of fewer rows at once"})
    assert asked(port, "POST", "/predict", " " * LARGEST + "x") == refused
    chunks = iter([b" " * 7000] * 3)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=running.GUARD)) as connection:
        connection.request("POST", "/predict", chunks, {"transfer-encoding": "chunked"}, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == refused
    assert asked(port, "POST", "/predict", GOOD)[0] == 200
    assert asked(port, "POST", "/predict", GOOD + " " * (LARGEST - len(GOOD)))[0] == 200


# newer models


def test_the_newest_checkpoint_is_asked_and_the_one_before_where_that_is_broken(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "copy")
    folder = RunFolder(tmp_path / "copy")
    newest, kept = server.Newest(folder.path, "a2"), folder.checkpoints("a2")
    first = newest.model()
    assert first is newest.model() and first.round == 2
    checkpoint.save(kept, 3, run[1] | {"parameters": run[1]["parameters"] * 0}, 9)
    assert newest.model().round == 3 and np.ptp(newest.model().predict(sample())) == 0
    (kept / checkpoint.FORMAT.format(4)).write_bytes(b"half")
    assert newest.model().round == 3
    checkpoint.save(kept, 5, run[1], 9)
    assert newest.model().round == 5


def test_an_exported_model_can_be_asked_too(run, tmp_path):
    pytest.importorskip("safetensors")
    exported.write(parse_p2p.load(run[0], "a2"), exported.fresh(tmp_path / "a2"))
    assert server.Newest(tmp_path / "a2").model().round == 2
    with pytest.raises(ConfigError, match="holds the agent a2 and not a1"):
        server.Newest(tmp_path / "a2", "a1")


# the command


def test_a_port_that_is_taken_and_a_host_that_is_none_are_one_sentence(agent, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = agent("serve", run[0], "--id", "a2", "--port", taken.getsockname()[1])
    assert code == 2 and "nothing can listen there (address already in use" in err and err.count("\n") == 1
    code, _, err = agent("serve", run[0], "--id", "a2", "--host", "no host")
    assert code == 2 and "--host no host --port 8000: nothing can listen there" in err
    code, _, err = agent("serve", run[0])
    assert code == 2 and "has several agents; say which: a0, a1, a2" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_a_signal_without_a_word(run, number):
    port = ports.free(1)
    process = loaded.Command(["serve", str(run[0]), "--id", "a2", "--port", str(port)], dict(os.environ))

    def answers():
        try:
            return asked(port, "GET", "/health")[0] == 200
        except ConnectionError:
            return False

    try:
        running.until(answers)
        os.kill(process.pid, number)
        code, printed = running.ended(process)
    finally:
        running.end(process)
    assert (code, printed) == (130, f"a2 after 2 rounds on http://127.0.0.1:{port}/predict\n")

"""The live page is for this host alone, and its stream leads to what the logs say."""

import http.client
import json
import threading
from pathlib import Path

import brokers
import ports
import pytest
import running
from patches import applied

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.commands.watch import Server, watch, welcome
from parse_p2p.lab.report.live import Feed, source
from parse_p2p.launch.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """A run of which only its file is there as yet."""
    plan = running.plan(rounds=2)
    RunFolder(tmp_path).write(plan.run)
    return plan, tmp_path


@pytest.fixture
def served(run):
    """A feed and the port it is served on."""
    feed = Feed(source(run[1], None))
    with Server(feed, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield feed, server.server_port
        feed.close()
        server.shutdown()


def ask(port, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=running.GUARD)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    return connection, connection.getresponse()


def message(stream):
    """The next event and its data."""
    event = stream.readline().decode().strip()
    data = stream.readline().decode().strip()
    assert stream.readline() == b"\n"
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_stream_leads_to_what_the_logs_say(run, served):
    plan, path = run
    feed, port = served
    connection, stream = ask(port, "/events")
    event, shown = message(stream)
    assert event == "whole" and shown[0]["rounds"] == []
    running.over_memory(plan, path)
    feed.look()
    event, patch = message(stream)
    assert event == "change"
    shown = applied(shown, patch)
    assert shown == json.loads(json.dumps(feed.now()[1])) and shown[0]["rounds"] == [0, 1]
    feed.close()
    assert stream.read() == b""
    connection.close()


def test_what_is_written_after_the_last_line_is_shown(run):
    plan, path = run
    running.over_memory(plan, path)
    feed = Feed(source(path, None))
    assert feed.now()[1][0]["summary"] is feed.now()[1][0]["pid"] is None
    RunFolder(path).summary.write_text('{"seconds": 1}')
    feed.look()
    assert feed.now()[0] == 1 and feed.now()[1][0]["summary"] == {"seconds": 1}
    for k in (4, 16):  # and when it is written again
        (path / "pid.json").write_text(json.dumps({"k": k}))
        feed.look()
        assert feed.now()[1][0]["pid"] == {"k": k}
    feed.look()
    assert feed.now()[0] == 3  # nothing new


def test_half_a_surrogate_pair_is_served(run, served):
    _, path = run
    feed, port = served
    connection, stream = ask(port, "/events")
    message(stream)
    RunFolder(path).events("a0").parent.mkdir(parents=True)
    RunFolder(path).events("a0").write_text('{"event": "failed", "why": "\\ud800", "time": 2}\n')
    feed.look()
    assert message(stream)[0] == "change"
    connection.close()
    connection, answer = ask(port, "/")
    assert answer.status == 200 and b"failed: \\ud800" in answer.read()
    connection.close()


def test_brackets_in_a_path_are_no_markup(tmp_path, monkeypatch, capsys):
    def end(seconds):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    RunFolder(Path("[red]a")).write(running.plan().run)
    monkeypatch.setattr("parse_p2p.lab.commands.watch.time.sleep", end)
    watch(Path("[red]a"))
    assert "watching [red]a at http" in capsys.readouterr().out


def test_who_connects_later_gets_everything(run, served):
    plan, path = run
    feed, port = served
    running.over_memory(plan, path)
    feed.look()
    for _ in range(2):
        connection, stream = ask(port, "/events")
        assert message(stream)[1][0]["rounds"] == [0, 1]
        connection.close()
    connection, answer = ask(port, "/")
    text = answer.read().decode()
    assert answer.status == 200 and 'data-live="events"' in text and "connect-src 'self'" in text
    connection.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_it_answers_under_no_other_name(served, host):
    for path in ("/", "/events"):
        connection, answer = ask(served[1], path, host or " ")
        assert answer.status == 403 and b"agents" not in answer.read()
        connection.close()


LOOPBACK = ("localhost", "localhost:1", "127.0.0.1:8000", "[::1]:8000", "127.1.2.3")
ADDRESSES = ("0.0.0.0", "192.168.0.1:8000", "[fd00::1]:80")
NAMES = ("", "localhost.evil.example", "a3:8000", "[::1", "a b")


def test_names_of_loopback():
    assert all(welcome(host, near=True) for host in LOOPBACK)
    assert not any(welcome(host, near=True) for host in ADDRESSES + NAMES)


def test_beyond_loopback_every_address_is_welcome_and_no_name():
    assert all(welcome(host, near=False) for host in LOOPBACK + ADDRESSES)
    assert not any(welcome(host, near=False) for host in NAMES)


@pytest.mark.parametrize(("host", "status"), [("10.0.0.1:80", 200), ("evil.example", 403)])
def test_bound_beyond_loopback_it_answers_under_addresses(run, host, status):
    feed = Feed(source(run[1], None))
    with Server(feed, 0, "0.0.0.0") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection, answer = ask(server.server_port, "/", host)
        assert answer.status == status
        connection.close()
        feed.close()
        server.shutdown()


def test_it_listens_at_an_ip_address_only(run):
    with pytest.raises(ConfigError, match="--bind elsewhere: give an IP address"):
        watch(run[1], bind="elsewhere")


@pytest.mark.parametrize("path", ["/", "/none"])
def test_browsers_keep_nothing_of_it_and_hand_it_to_no_other_site(served, path):
    connection, answer = ask(served[1], path)
    answer.read()
    connection.close()
    headers = answer.headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"


def test_what_is_not_there_is_not_found(served):
    for path in ("/run.yaml", "/../run.yaml", "/events/"):
        connection, answer = ask(served[1], path)
        assert answer.status == 404
        answer.read()
        connection.close()


def test_agents_of_other_hosts_are_heard_of_through_a_broker(tmp_path):
    """Their runs' file is all there is here."""
    with brokers.running(tmp_path, ports.free(1)) as broker:
        plan = running.plan(rounds=2)
        file = running.write(plan, tmp_path)
        feed = Feed(source(file, broker.url))
        topic = f"parse-p2p/{plan.run.digest()}/telemetry/"
        with brokers.Ear(broker.port) as mouth:
            facts = {"event": "round", "round": 1, "accuracy": 0.5, "loss": 1.5, "wire_out": 100, "time": 1.0}

            def heard():
                mouth.say(f"{topic}a1", json.dumps(facts | {"agent": "a1"}), retain=False)
                feed.look()
                return feed.now()[1][0]["agents"][1]["final"] is not None

            mouth.say(f"{topic}a1", "no JSON")
            mouth.say(f"{topic}a2", json.dumps(facts | {"agent": "a3"}))
            mouth.say(f"{topic}a3", json.dumps(facts | {"agent": "a3", "event": []}))
            for event in ("made-up", "failed"):  # no report, by whatever name
                mouth.say(f"{topic}a2", json.dumps({"event": event, "agent": "a2", "why": "so", "says": "so"}))
            mouth.say(f"{topic}stranger", json.dumps(facts | {"agent": "stranger"}))
            running.until(heard)
        run = feed.now()[1][0]
    assert run["agents"][1]["accuracy"] == [None, 0.5] and run["agents"][1]["wire_out"] == [None, 100]
    assert [agent["final"] for agent in run["agents"] if agent["id"] != "a1"] == [None] * 4
    assert run["counts"].keys() == {"round"} and run["events"] == []
    assert "no edges and no distances" in run["notes"][-1]

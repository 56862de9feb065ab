"""Recorded contacts are read to the letter, or refused with file and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan

from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.topology import contact_trace

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
contacts = st.lists(st.tuples(st.integers(0, 99999), names, names).filter(lambda c: c[1] != c[2]), max_size=9)
RUN = "graph: {generator: ring}\nagents: {mix: {audio: 3}}\nvarying: {kind: trace, file: met.csv}\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("trace") / "met.csv"


@given(contacts, st.sampled_from(["", "round,agent,agent\n", "\ufeffRound, one, other\r\n"]), st.sampled_from("\n\r"))
def test_what_was_written_is_read(path, written, header, ending):
    text = header + "".join(f' {r},{a} ,"{b}"{ending}\n' for r, a, b in written)
    path.write_text(text, encoding="utf-8", newline="")
    assert contact_trace.read(path) == tuple(written)


@given(st.text(max_size=40) | st.lists(st.text('0123,a"\n \r-', max_size=9)).map("\n".join) | st.binary(max_size=40))
def test_whatever_stands_there_is_read_or_refused_in_a_sentence(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    try:
        for round, one, other in contact_trace.read(path):
            assert round >= 0 and one and other and one != other
    except ConfigError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [("1,a0", "the number of fields is 2"), ("1,a0,a1,a2", "the number of fields is 4"), ("-1,a0,a1", "the round '-1'"),
     ("one,a0,a1", "the round 'one'"), ("1.5,a0,a1", "the round '1.5'"), ("9" * 99 + ",a0,a1", "is no whole number"),
     ("1,,a1", "an agent has no name"), ("1,a1,a1", "'a1' meets itself"), ("round,a,b", "the round 'round'")],
)  # fmt: skip
def test_a_line_that_is_no_contact_is_named(path, line, said):
    path.write_text(f"round,agent,agent\n0,a0,a1\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        contact_trace.read(path)
    assert str(caught.value).startswith(f"{path}:4: ") and said in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the trace .*none\.csv cannot be read: no such file"):
        contact_trace.read(tmp_path / "none.csv")


def loaded(folder, text="0,a0,a1\n1,a1,a2\n", run=RUN):
    folder.mkdir(exist_ok=True)
    (folder / "met.csv").write_text(text, encoding="utf-8")
    (folder / "run.yaml").write_text(run, encoding="utf-8")
    return run_file.load(folder / "run.yaml")


def test_the_contacts_and_not_the_place_of_the_file_say_who_may_talk_to_whom(tmp_path):
    here, there = loaded(tmp_path / "here"), loaded(tmp_path / "there")
    assert here.varying.contacts == ((0, "a0", "a1"), (1, "a1", "a2"))
    assert here.varying.file == str(tmp_path / "here" / "met.csv")
    assert here.digest() == there.digest()
    assert here.digest() != loaded(tmp_path / "there", "0,a0,a1\n1,a1,a0\n").digest()
    assert here.digest() != loaded(tmp_path / "there", run=RUN.replace("met.csv", "met.csv, repeat: true")).digest()


def test_a_run_that_was_written_down_needs_the_file_no_more(tmp_path):
    run = loaded(tmp_path / "here")
    (tmp_path / "here" / "met.csv").unlink()
    (tmp_path / "resolved.yaml").write_text(run_file.dump(run), encoding="utf-8")
    again = run_file.load(tmp_path / "resolved.yaml")
    assert again == run and again.digest() == run.digest()


def test_a_trace_without_contacts_or_with_an_unknown_agent_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.yaml:3: varying: a trace needs a file with a contact or more"):
        loaded(tmp_path / "empty", "round,agent,agent\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:3: varying\.file: the kind trace alone has a file, not "):
        loaded(tmp_path / "other", run=RUN.replace("trace", "matching"))
    with pytest.raises(ConfigError, match=r"varying: m\.csv has 3,a0,b1 and 'b1' is none of the agents: .* a0, a1"):
        plan(varying={"kind": "trace", "file": "m.csv", "contacts": [[0, "a0", "a1"], [3, "a0", "b1"]]})

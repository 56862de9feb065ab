"""What a tokenizer.json makes of texts, and which are the same."""

import json
import sys
from pathlib import Path

import pytest
from texts import byte_pairs, changed, word_level

from parse_p2p.core.errors import ConfigError
from parse_p2p.data import tokenizer
from parse_p2p.data.tokenizer import Tokenizer

FILLING = {
    "strategy": "BatchLongest",
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}


def fault(row, wrong, remedy):
    return ConfigError(f"row {row} {wrong}; {remedy}")


@pytest.fixture
def words(tmp_path):
    return Tokenizer.read(word_level(tmp_path / "tokenizer.json", words=["good", "film"]))


def test_texts_are_cut_filled_and_counted(words):
    ids, cut = words.encoded(["good film", None, "film good film film", "film"], 3, 0, fault)
    assert ids.tolist() == [[4, 5, 0], [0, 0, 0], [5, 4, 5], [5, 0, 0]]
    assert cut == 1
    assert words.encoded(["what good"], 3, 5, fault)[0].tolist() == [[1, 4, 5]]  # filled with what is asked for


def test_special_tokens_stand_at_both_ends_of_what_is_cut(tmp_path):
    made = Tokenizer.read(word_level(tmp_path / "t.json", words=["good", "film"], special=True))
    assert made.encoded(["good film good film"], 4, 0, fault)[0].tolist() == [[2, 4, 5, 3]]
    with pytest.raises(ConfigError, match="adds 2 tokens to each text, which leaves none of 2: raise length"):
        made.encoded(["good"], 2, 0, fault)
    with pytest.raises(ConfigError, match="row 1 has an empty text"):  # though it has special tokens
        made.encoded(["good", ""], 4, 0, fault)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_a_sentence_with_its_row(words, text):
    with pytest.raises(ConfigError, match="row 2 has an empty text; leave it out"):
        words.encoded(["good", None, text], 3, 0, fault)


def test_how_a_file_cuts_and_fills_makes_no_other_tokenizer(words, tmp_path):
    plain = tmp_path / "tokenizer.json"
    filling = {"strategy": {"Fixed": 7}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 5,
               "pad_type_id": 0, "pad_token": "film"}  # fmt: skip
    cutting = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    other = Tokenizer.read(changed(plain, tmp_path / "other.json", padding=filling, truncation=cutting))
    assert other.digest == words.digest and other == words
    assert (words.padding, other.padding) == (0, 5)  # what it fills with is asked of it all the same
    assert other.encoded(["good film good"], 4, 0, fault)[0].tolist() == [[4, 5, 4, 0]]


def test_another_vocabulary_makes_another_tokenizer(words, tmp_path):
    swapped = Tokenizer.read(word_level(tmp_path / "other.json", words=["film", "good"]))
    assert swapped.vocabulary == words.vocabulary == 6
    assert swapped.digest != words.digest


def test_ids_of_padding_and_of_what_is_unknown_are_found(words, tmp_path):
    assert (words.padding, words.unknown) == (0, 1)
    assert Tokenizer.read(word_level(tmp_path / "none.json", padding="none")).padding is None
    pairs = Tokenizer.read(byte_pairs(tmp_path / "pairs.json"))
    assert (pairs.padding, pairs.unknown, pairs.vocabulary) == (0, 1, 90)


def test_a_folder_with_the_file_will_do(words, tmp_path):
    assert Tokenizer.read(tmp_path) == words


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist; give the path of a tokenizer.json, or its folder"),
        ("{", "cannot be read .*; give a tokenizer.json"),
        ("[]", "it has no model"),
        ('{"model": {"type": "Strange"}}', "cannot be read"),
        ("version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_no_tokenizer_is_a_sentence(content, said, tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said) as raised:
        Tokenizer.read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("id", [-5, True, "0", 0.5])
def test_padding_that_is_no_id_is_refused(id, words, tmp_path):
    other = changed(tmp_path / "tokenizer.json", tmp_path / "other.json", padding=FILLING | {"pad_id": id})
    with pytest.raises(ConfigError, match=f"other.json fills with {id!r}, which is no id"):
        Tokenizer.read(other)


def test_a_path_that_can_be_none_is_a_sentence(tmp_path):
    for path in (tmp_path / ("x" * 5000), Path("~nobody-of-this-name/tokenizer.json")):
        with pytest.raises(ConfigError, match="cannot be read"):
            Tokenizer.read(path)


def test_what_the_library_raises_over_a_text_is_a_sentence(words, tmp_path):
    model = json.loads(words.text)["model"]
    without = {word: id for word, id in model["vocab"].items() if word != "[UNK]"}
    made = Tokenizer.read(changed(Path(words.where), tmp_path / "other.json", model=model | {"vocab": without}))
    with pytest.raises(ConfigError, match=r"other.json cannot read some texts \(.*\[UNK\]") as raised:
        made.encoded(["what"], 3, 0, fault)
    assert "\n" not in str(raised.value)


def test_a_panic_is_a_sentence_and_a_wish_to_stop_is_none(words):
    class PanicException(BaseException):
        """As pyo3 has it."""

    with (
        pytest.raises(ConfigError, match=r"cannot be read .PanicException: on the floor"),
        words._asked("cannot be read"),
    ):
        raise PanicException("on the floor")
    with pytest.raises(KeyboardInterrupt), words._asked("cannot be read"):
        raise KeyboardInterrupt


def test_an_id_that_is_not_in_the_vocabulary_is_refused(tmp_path):
    file = word_level(tmp_path / "t.json", words=["good"], special=True)
    post = json.loads(file.read_text())["post_processor"]
    post["special_tokens"]["[CLS]"]["ids"] = [999]
    made = Tokenizer.read(changed(file, tmp_path / "other.json", post_processor=post))
    with pytest.raises(ConfigError, match="gives the id 999, and has 5 from 0"):
        made.encoded(["good"], 4, 0, fault)


def test_half_a_character_is_named_with_its_row(words):
    with pytest.raises(ConfigError, match="row 1 has a text with half a character"):
        words.encoded(["good", "good \ud800"], 3, 0, fault)


def test_what_is_kept_is_the_same_and_nothing_else(words, tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    assert tokenizer.kept(folder, words.digest) is None
    tokenizer.keep(folder, words)
    [path] = folder.iterdir()
    assert path.name == f"tokenizer-{words.digest}.json"
    assert tokenizer.kept(folder, words.digest) == words
    content = json.loads(path.read_text())
    content["model"]["vocab"] |= {"good": 5, "film": 4}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=f"and not {words.digest}: bring back"):
        tokenizer.kept(folder, words.digest)
    tokenizer.keep(folder, words)
    assert tokenizer.kept(folder, words.digest) == words


def test_a_library_that_is_missing_is_named_with_its_extra(words, monkeypatch, tmp_path):
    tokenizer.keep(tmp_path, words)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    found = tokenizer.kept(tmp_path, words.digest)
    assert found is not None and found == words  # a model is asked about ids without it
    with pytest.raises(ConfigError, match=r"pip install 'parse-p2p\[text\]'"):
        found.encoded(["good"], 3, 0, fault)
    with pytest.raises(ConfigError, match=r"pip install 'parse-p2p\[text\]'"):
        Tokenizer.read(tmp_path)

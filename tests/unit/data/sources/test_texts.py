"""Ids of tokens, and texts, from every source that may hold them."""

import json

import numpy as np
import pytest
import torch
from texts import LENGTH, changed, read_as, reviews, table, word_level

from parse_p2p.config.source import Source
from parse_p2p.core.errors import ConfigError, DataWarning
from parse_p2p.data import samples
from parse_p2p.data.base import fingerprint
from parse_p2p.data.kinds import TokenShape
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.tokenizer import Tokenizer

IDS = np.array([[4, 2, 0], [1, 0, 0], [3, 3, 4], [2, 0, 0]], np.int32)
Y = np.array([0, 1, 0, 1])
FIVE = {"text": {"vocabulary": 5}}


def opened(**values):
    return Source(values, "data").open(seed=0)


@pytest.fixture
def words(tmp_path):
    return word_level(tmp_path / "tokenizer.json")


class TestIds:
    """Arrays of them."""

    def test_they_are_int64_as_they_are_with_the_shape_of_their_vocabulary(self):
        found = samples({"text": IDS, "x": IDS, "y": Y}, tokens=FIVE)
        assert found.inputs["text"].dtype == torch.int64
        assert found.inputs["text"].tolist() == IDS.tolist()
        assert found.shape("text") == TokenShape((3,), 5) != (3,)
        assert found.inputs["x"].dtype == torch.float32  # which nobody calls tokens
        assert found.shape("x") == (3,)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int64])
    def test_any_whole_type_will_do(self, dtype):
        assert samples({"text": IDS.astype(dtype), "y": Y}, tokens=FIVE).inputs["text"].tolist() == IDS.tolist()

    @pytest.mark.parametrize("bad", [-1, 5, 2**40])
    def test_one_beyond_the_vocabulary_is_named_with_its_row(self, bad):
        ids = IDS.astype(np.int64)
        ids[2, 1] = bad
        with pytest.raises(
            ConfigError, match=f"'text' of data has the id {bad} in row 2, from 0; give ids from 0 to 4"
        ):
            samples({"text": ids, "y": Y}, tokens=FIVE)

    def test_a_row_of_padding_alone_lacks_the_modality(self):
        ids = IDS.copy()
        ids[1] = 3
        with pytest.warns(DataWarning, match="1 of 4 samples of data lack 'text'"):
            found = samples({"text": ids, "x": IDS, "y": Y}, tokens={"text": {"vocabulary": 5, "padding": 3}})
        assert found.present["text"].tolist() == [True, False, True, True]
        assert found.inputs["text"].tolist()[1] == [3, 3, 3]

    def test_lists_of_several_lengths_are_filled_and_cut(self):
        rows = [[1, 2, 3, 4], [1], [2, 2], [4, 4, 4]]
        found = samples({"text": rows, "y": Y}, tokens={"text": {"vocabulary": 5, "length": 3}})
        assert found.inputs["text"].tolist() == [[1, 2, 3], [1, 0, 0], [2, 2, 0], [4, 4, 4]]
        assert found.kinds["text"].cut == 1
        with pytest.raises(
            ConfigError, match="has 1 ids, and 4 in the first sample that has any, in row 1, from 0; give"
        ):
            samples({"text": rows, "y": Y}, tokens=FIVE)

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (IDS.astype(np.float32), r"is float32 of shape \(4, 3\); give ids as whole numbers"),
            (IDS[:, 0], "is int32 of shape"),
            (IDS[:2], "has 2 rows, but y has 4"),
            (np.zeros((4, 0), int), "give ids as whole"),
        ],
    )
    def test_what_is_no_array_of_ids_is_refused(self, array, said):
        with pytest.raises(ConfigError, match=said):
            samples({"text": array, "y": Y}, tokens=FIVE)

    def test_a_modality_that_is_not_there_is_named(self):
        with pytest.raises(ConfigError, match=r"data.tokens.txt: data has no array 'txt'; did you mean 'text'"):
            samples({"text": IDS, "y": Y}, tokens={"txt": {"vocabulary": 5}})

    def test_files_and_reading_lazily_give_the_same(self, tmp_path):
        ids = IDS.copy()
        ids[3] = 1  # padding alone
        options = {"tokens": {"text": {"vocabulary": 5, "padding": 1}}}
        x = np.ones((4, 2)) * np.arange(4)[:, None]
        np.savez(tmp_path / "a.npz", text=ids, x=x, y=Y)
        (tmp_path / "npy").mkdir()
        for name, array in {"text": ids, "x": x, "y": Y}.items():
            np.save(tmp_path / "npy" / f"{name}.npy", array)
        with pytest.warns(DataWarning, match="lack"):
            of_npz = opened(path=str(tmp_path / "a.npz"), **options)
            of_npy, lazy = (opened(path=str(tmp_path / "npy"), lazy=lazy, **options) for lazy in (False, True))
        assert isinstance(lazy.inputs["text"], LazyInput)
        assert lazy.inputs["text"][:].dtype == torch.int64
        assert lazy.shape("text") == of_npy.shape("text")
        assert fingerprint([of_npz]) == fingerprint([of_npy]) == fingerprint([lazy])
        assert lazy.batch([3, 0]).inputs["text"].tolist() == [[1, 1, 1], [4, 2, 0]]
        assert lazy.present["text"].tolist() == [True, True, True, False]

    def test_items_may_lack_them(self):
        items = [
            ({"text": torch.tensor(ids), "x": 1.0}, y) for ids, y in zip([[1, 2], [3], [4]], [0, 1, 0], strict=True)
        ]
        items.append(({"text": None, "x": 2.0}, 1))
        with pytest.warns(DataWarning, match="1 of 4"):
            found = samples(items, tokens={"text": {"vocabulary": 5, "length": 2}})
        assert found.inputs["text"].tolist() == [[1, 2], [3, 0], [4, 0], [0, 0]]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"tokens": {"text": {}}}, "how many ids are there"),
            ({"tokens": {"text": {"vocabulary": 5, "padding": 5}}}, "5 is none of the 5 ids from 0"),
            ({"tokens": FIVE, "embeddings": ["text"]}, "'text' would be of two kinds"),
        ],
    )
    def test_options_that_cannot_be(self, options, said, tmp_path):
        np.savez(tmp_path / "a.npz", text=IDS, y=Y)
        with pytest.raises(ConfigError, match=said):
            opened(path=str(tmp_path / "a.npz"), **options)


class TestTexts:
    """By a tokenizer, from all that holds texts."""

    def test_a_column_of_csv(self, tmp_path, words):
        found = opened(path=str(table(tmp_path / "a.csv")), target="label", text=read_as(words))
        made_by = Tokenizer.read(words)
        assert found.shape("review") == TokenShape((LENGTH,), made_by.vocabulary, 0, made_by.digest)
        assert made_by.encoded([reviews()[7][0]], LENGTH, 0, None)[0].tolist() == found.inputs["review"][7:8].tolist()
        assert found.class_names == ("bad", "good")

    def test_texts_that_look_like_something_else_are_texts(self, tmp_path):
        words = word_level(tmp_path / "t.json", words=["1", "01", "2020", "true"])
        path = table(tmp_path / "a.csv", [["1", "a"], ["01", "b"], ["2020", "a"]])
        assert opened(path=str(path), target="label", text=read_as(words, 2)).inputs["review"][:, 0].tolist() == [
            4,
            5,
            6,
        ]
        path = table(tmp_path / "b.csv", [["true", "a"], ["true", "b"]])
        assert opened(path=str(path), target="label", text=read_as(words, 2)).inputs["review"][:, 0].tolist() == [7, 7]

    def test_an_empty_cell_lacks_it_and_a_blank_one_is_refused(self, tmp_path, words):
        path = tmp_path / "a.csv"
        path.write_text("body,x,label\ngood film,1,a\n,2,b\nbad,3,a\n")
        columns = {"x": ["x"]}
        with pytest.warns(DataWarning, match="1 of 3"):
            found = opened(path=str(path), target="label", columns=columns, text=read_as(words))
        assert found.present["review"].tolist() == [True, False, True]
        path.write_text("body,x,label\ngood film,1,a\n  ,2,b\n")
        with pytest.raises(ConfigError, match=r"column 'body' of .*a.csv has an empty text in line 3; leave it out"):
            opened(path=str(path), target="label", columns=columns, text=read_as(words))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                {"column": "bdy"},
                "data.text: there is no input column 'bdy' in .*a.csv for 'review'; did you mean 'body'",
            ),
            ({"column": "b*"}, r"data.text: there is no input column 'b\*' in .*a.csv for 'review'; Known: body"),
            ({"tokenizer": "nowhere.json"}, "the tokenizer nowhere.json does not exist"),
            ({"padding": 999}, "padding 999 is none of the"),
        ],
    )
    def test_what_is_wrong_is_a_sentence(self, tmp_path, words, change, said):
        with pytest.raises(ConfigError, match=said):
            opened(
                path=str(table(tmp_path / "a.csv")), target="label", text={"review": read_as(words)["review"] | change}
            )

    def test_a_vocabulary_with_a_hole_that_no_table_could_hold_is_refused(self, tmp_path, words):
        model = json.loads(words.read_text())["model"]
        far = changed(words, tmp_path / "far.json", model=model | {"vocab": model["vocab"] | {"far": 4 * 10**9}})
        with pytest.raises(ConfigError, match=r"data.text.review: the tokenizer .*far.json has 4000000001 ids from 0"):
            opened(path=str(table(tmp_path / "a.csv")), target="label", text=read_as(far))

    def test_a_number_among_texts_in_memory_is_none(self, words):
        with pytest.raises(ConfigError, match="'body' of data is object with 1 axes; give one text for each sample"):
            samples({"body": ["good", 1], "y": np.array([0, 1])}, text=read_as(words))

    def test_lines_break_within_cells_wherever_a_block_ends(self, tmp_path, words, monkeypatch):
        monkeypatch.setattr("parse_p2p.data.sources.csv.BLOCK", 100)
        rows = [(f'the "film"\nwas {text}', label) for text, label in reviews(40)]
        found = opened(path=str(table(tmp_path / "a.csv", rows)), target="label", text=read_as(words, 8))
        again = samples({"body": [t for t, _ in rows], "y": [y for _, y in rows]}, text=read_as(words, 8))
        assert found.inputs["review"].tolist() == again.inputs["review"].tolist()

    def test_a_tokenizer_without_padding_needs_its_id(self, tmp_path):
        words, path = word_level(tmp_path / "t.json", padding="none"), str(table(tmp_path / "a.csv"))
        with pytest.raises(ConfigError, match=r"data.text.review: .*has no token of padding, such as \[PAD\]: say"):
            opened(path=path, target="label", text=read_as(words))
        assert opened(path=path, target="label", text=read_as(words, padding=0)).shape("review").padding == 0

    def test_parquet_has_texts_and_lists_of_ids(self, tmp_path, words):
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"body": ["good film", None, "bad"], "ids": [[1, 2], [3], None], "t0": [1, 2, 3], "t1": [4, 4, 0],
                   "label": ["a", "b", "a"]}  # fmt: skip
        parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
        tokens = {"ids": {"vocabulary": 5, "length": 2}, "side": {"vocabulary": 5}}
        options = {"path": str(tmp_path / "a.parquet"), "target": "label", "text": read_as(words, 3), "tokens": tokens}
        with pytest.warns(DataWarning, match="lack"):
            found = opened(**options, columns={"side": "t?"})
        assert found.inputs["ids"].tolist() == [[1, 2], [3, 0], [0, 0]]
        assert found.inputs["side"].tolist() == [[1, 4], [2, 4], [3, 0]]
        assert found.present["review"].tolist() == [True, False, True]
        with pytest.raises(ConfigError, match=r"column 't0, t1' of .* has the id 4 in row 1; give ids from 0 to 3"):
            opened(**options | {"tokens": {"side": {"vocabulary": 4}}}, columns={"side": ["t0", "t1"]})
        with pytest.raises(ConfigError, match=r"column 'ids' .*is list.* and no text"):
            opened(
                **options | {"tokens": {}, "text": {"review": {"column": "ids", "tokenizer": str(words), "length": 3}}}
            )

    def test_fractions_are_no_ids(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("t,label\n1.5,a\n2,b\n")
        with pytest.raises(ConfigError, match=r"column 't' of .* is double; give whole numbers or lists"):
            opened(path=str(path), target="label", tokens={"t": {"vocabulary": 5}})

    def test_arrays_and_items_of_texts(self, words):
        options = {"text": read_as(words, 3)}
        y, texts = [0, 1, 0], ["good film", "bad", "the plot"]
        of_arrays = samples({"body": np.array(texts), "y": np.array(y)}, **options)
        items = [({"body": text}, each) for text, each in zip(texts, y, strict=True)]
        assert torch.equal(of_arrays.inputs["review"], samples(items, **options).inputs["review"])
        with pytest.raises(ConfigError, match="has an empty text in row 1, from 0"):
            samples({"body": np.array(["good", "", "film"]), "y": np.array(y)}, **options)
        with pytest.raises(ConfigError, match="'body' of data is int64 with 1 axes; give one text for each sample"):
            samples({"body": np.arange(3), "y": np.array(y)}, **options)
        with pytest.raises(ConfigError, match=r"'body' of data is .*name it in data.text, or give numbers"):
            samples({"body": np.array(texts), "y": np.array(y)})

    def test_a_data_set_of_the_library_datasets(self, tmp_path, words):
        datasets = pytest.importorskip("datasets")
        columns = {"body": ["good film", "bad", None], "ids": [[1, 2, 3], [4], [2]], "label": [0, 1, 0]}
        saved = datasets.Dataset.from_dict(columns)
        with pytest.warns(DataWarning, match="lack 'review'"):
            found = samples(saved, text=read_as(words, 3), tokens={"ids": {"vocabulary": 5, "length": 2}})
        assert found.inputs["ids"].tolist() == [[1, 2], [4, 0], [2, 0]]
        assert found.present["review"].tolist() == [True, True, False]
        with pytest.raises(ConfigError, match="there is no column 'bdy'"):
            samples(saved, text={"review": {"column": "bdy", "tokenizer": str(words), "length": 3}})
        with pytest.raises(ConfigError, match="column 'ids' of data is List and no text"):
            samples(saved, text={"review": {"column": "ids", "tokenizer": str(words), "length": 3}})


def test_embeddings_are_vectors_by_another_name():
    x = np.random.default_rng(0).normal(size=(4, 3))
    found = samples({"a": x, "y": Y}, embeddings=["a"])
    assert found.kinds["a"].kind == "embedding" and found.shape("a") == (3,)
    with pytest.raises(ConfigError, match=r"data.embeddings: a sample of 'a' has the shape \[3, 2\]; give vectors"):
        samples({"a": np.ones((4, 3, 2)), "y": Y}, embeddings=["a"], layout={"a": "channels-first"})
    with pytest.raises(ConfigError, match="there is no modality 'b'"):
        samples({"a": x, "y": Y}, embeddings=["b"])

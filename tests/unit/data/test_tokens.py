"""Tokens in data sets, schemas and encoders: ids stay ids, and padding says nothing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.data import Dataset, samples, standardise
from parse_p2p.data.base import refuse_unlike, scaled, silent, unread, without
from parse_p2p.data.findings import findings, summary
from parse_p2p.data.kinds import Tokens, TokenShape
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.partition import PARTITIONS
from parse_p2p.data.schema import DataSchema, conform, scales, schema_of, united
from parse_p2p.data.streams import StreamOptions, join, stream
from parse_p2p.data.tokenizer import Tokenizer
from parse_p2p.models.base import initialise
from parse_p2p.models.encoder import EncoderOptions, trunk

FIVE = Tokens(5, padding=2)


def made(ids, kind=FIVE, **more):
    x = torch.tensor(ids)
    return Dataset(
        "d", {"text": x, "v": torch.randn(len(x), 3)}, torch.arange(len(x)) % 2, 2, kinds={"text": kind}, **more
    )


def schema(**text):
    keys = {"kind": "tokens", "shape": [3], "vocabulary": 5} | text
    return DataSchema.model_validate({"modalities": {"text": keys}, "classes": ["0", "1"]})


class TestShapes:
    """Which are equal only where ids mean the same."""

    def test_one_is_equal_to_its_copies_alone(self):
        shape = TokenShape((3,), 5, 2, "ab")
        for same in (TokenShape((3,), 5, 2, "ab"), copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
            assert same == shape and hash(same) == hash(shape) and same.padding == 2
        others = (TokenShape((4,), 5, 2, "ab"), TokenShape((3,), 6, 2, "ab"), TokenShape((3,), 5, 1, "ab"),
                  TokenShape((3,), 5, 2), (3,))  # fmt: skip
        for other in others:
            assert shape != other and other != shape

    def test_an_id_to_try_networks_on_is_no_padding(self):
        assert TokenShape((3,), 2, 0).any_id == 1
        assert TokenShape((3,), 2, 1).any_id == 0


class TestDatasets:
    """Ids are int64, and where there is none stands padding."""

    def test_floats_are_refused(self):
        with pytest.raises(ConfigError, match="'text' of data set 'd' is tokens, which have to be int64"):
            made([[1.0, 2.0]])

    def test_nothing_scales_them(self):
        data = made([[1, 4, 2], [0, 3, 2]])
        for found in (*standardise(data, data), scaled(data, {m: _far() for m in data.inputs})):
            assert found.inputs["text"].dtype == torch.int64
            assert found.inputs["text"].tolist() == data.inputs["text"].tolist()

    def test_a_broken_sensor_gives_padding_and_is_noticed(self):
        data = made([[1, 4, 2], [0, 3, 2]])
        assert unread(data) == ()
        assert unread(data.select([])) == ()
        broken = silent(data, ["text"])
        assert unread(broken) == ("text",)
        assert unread(silent(data, ["v"])) == ("v",)
        for found in (broken, without(data, ["text"])):
            assert found.inputs["text"].dtype == torch.int64
            assert found.inputs["text"].unique().tolist() == [2]
        assert without(data, ["v"]).inputs["v"].unique().tolist() == [0.0]

    def test_rows_batches_and_joins_keep_them(self):
        data = made([[1, 4, 2], [0, 3, 2]])
        batch = data.batch([1, 0]).inputs["text"]
        assert batch.dtype == torch.int64 and batch.tolist() == [[0, 3, 2], [1, 4, 2]]
        both = join([data, data.select([1])])
        assert both.inputs["text"].tolist() == [[1, 4, 2], [0, 3, 2], [0, 3, 2]]
        assert both.shape("text") == data.select([0]).shape("text") == TokenShape((3,), 5, 2)
        assert "text" not in data.select([0], ["v"]).kinds

    @pytest.mark.parametrize("kind", PARTITIONS)
    def test_they_can_be_dealt(self, kind):
        data = made(np.arange(120).reshape(40, 3) % 5, groups=torch.arange(40) // 10)
        rows = PARTITIONS[kind](data, 2, np.random.default_rng(0), 0.5)
        assert sorted(np.concatenate(rows).tolist()) == list(range(40))

    def test_public_data_of_another_vocabulary_are_refused(self):
        with pytest.raises(ConfigError, match="does not hold 'text' by the vocabulary and tokenizer of 'd'"):
            refuse_unlike(made([[1, 2, 3]] * 2, Tokens(6, 2)), made([[1, 2, 3]] * 2))

    def test_tasks_of_a_stream_leave_them_or_are_refused(self):
        data = made([[1, 4, 2], [0, 3, 2]] * 8)
        with pytest.raises(
            ConfigError, match=r"stream.shift: 'text' is tokens, whose ids cannot be moved: set shift: 0"
        ):
            stream(data, data, 0, 2, StreamOptions(), 0)
        still = stream(data, data, 0, 2, StreamOptions(shift=0), 0).at(9)
        assert still.inputs["text"].dtype == torch.int64
        assert sorted(still.inputs["text"].tolist()) == sorted(data.inputs["text"].tolist())

    def test_a_lazy_input_of_numbers_is_no_tokens(self):
        class Reader:
            shape = (2, 3)

            def read(self, rows):
                return np.zeros((len(rows), 3), np.float32)

        with pytest.raises(ConfigError, match="int64"):
            Dataset("d", {"text": LazyInput.of(Reader())}, torch.arange(2), 2, kinds={"text": FIVE})


def _far():
    from parse_p2p.data.base import Scale

    return Scale.given([5.0] * 3, [9.0] * 3, 1)


class TestSchemas:
    """Agents agree on vocabulary, padding and tokenizer, and on no scale."""

    def test_one_is_made_of_the_data_and_comes_back_from_text(self):
        words = Tokenizer('{"model":{}}')
        found = schema_of(made([[1, 4, 2], [0, 3, 2]], Tokens(5, 2, words)), "all")
        assert found.modalities["text"].model_dump() == {
            "kind": "tokens", "shape": (3,), "scale": "none", "vocabulary": 5, "padding": 2, "tokenizer": words.digest
        }  # fmt: skip
        assert found.modalities["v"].model_dump() == {"kind": "vector", "shape": (3,), "scale": "all"}
        assert DataSchema.model_validate(found.model_dump(mode="json")) == found
        assert found.shapes(["text"])["text"] == TokenShape((3,), 5, 2, words.digest)
        assert scales(found)["text"].mean is None

    def test_embeddings_are_not_scaled_unless_asked(self):
        keys = {"kind": "embedding", "shape": [3]}
        found = DataSchema.model_validate(
            {"modalities": {"a": keys, "b": keys | {"scale": "own"}}, "classes": ["0", "1"]}
        )
        assert scales(found)["a"].mean is None and found.modalities["a"].scale == "none"
        assert scales(found)["b"] is None
        data = samples({"a": np.eye(4, 3), "y": np.arange(4) % 2}, embeddings=["a"])
        assert schema_of(data, "all").modalities["a"] == found.modalities["a"]
        plain = samples({"a": np.eye(4, 3), "y": np.arange(4) % 2})
        conform(plain, schema_of(data, "all"), ["a"], "it")  # a vector will do

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ({"vocabulary": None}, "tokens need a vocabulary"),
            ({"padding": 5}, "padding 5 is none of the 5 ids"),
            ({"scale": "own"}, "cannot be scaled: leave it out"),
            ({"scale": {"mean": [0], "deviation": [1]}}, "scale has 1 numbers for 3|cannot be scaled"),
            ({"shape": [3, 4]}, r"the shape of a sequence of tokens is \[tokens\]"),
            ({"kind": "vector"}, "vocabulary is for tokens, and the kind is vector"),
        ],
    )
    def test_what_cannot_be_is_refused(self, text, said):
        with pytest.raises(ValidationError, match=said):
            schema(**text)

    def test_the_defaults_are_padding_0_and_no_scale(self):
        assert schema().modalities["text"] == schema(padding=0, scale="none").modalities["text"]

    @pytest.mark.parametrize(
        ("there", "said"),
        [
            ({"padding": 2}, None),
            ({}, r"\(vocabulary 5, padding 2\) here, and a sequence of 3 tokens \(vocabulary 5, padding 0\)"),
            ({"padding": 2, "vocabulary": 6}, "vocabulary 5, padding 2.* here, and .*vocabulary 6"),
            ({"padding": 2, "shape": [4]}, "sequence of 3 tokens .* here, and a sequence of 4 tokens"),
            ({"padding": 2, "tokenizer": "ab"}, "tokenizer ab.*: ids of another tokenizer mean other things"),
        ],
    )
    def test_an_agent_with_others_is_refused_and_both_are_named(self, there, said):
        data = made([[1, 4, 2], [0, 3, 2]])
        if said is None:
            assert conform(data, schema(**there), ["text"], "a3").inputs["text"].tolist() == [[1, 4, 2], [0, 3, 2]]
            return
        with pytest.raises(ConfigError, match=f"a3: 'text' is a .*{said}"):
            conform(data, schema(**there), ["text"], "a3")

    def test_two_tokenizers_refuse_each_other(self):
        one, other = (
            made([[1, 4, 2]] * 2, Tokens(5, 2, Tokenizer(text))) for text in ('{"model":{}}', '{"model":{"a":1}}')
        )
        with pytest.raises(ConfigError) as raised:
            united({"north": one, "south": other})
        assert all(each.kinds["text"].digest in str(raised.value) for each in (one, other))
        assert "north" in str(raised.value) and "south" in str(raised.value)

    def test_numbers_in_place_of_ids_are_answered_by_how_to_say_so(self):
        plain = samples({"text": np.ones((2, 3), int), "y": np.arange(2)})
        with pytest.raises(ConfigError, match=r"'text' is a vector of 3 features here, .*: say data.tokens: \{text:"):
            conform(plain, schema(), ["text"], "a3")


class TestEncoder:
    """The shipped one, which auto takes."""

    @pytest.mark.parametrize("norm", ["none", "layer"])
    @given(st.data())
    def test_padding_makes_no_difference_wherever_it_stands_at_the_ends(self, norm, data):
        """Convolutions over zeros are as convolutions over nothing; in double precision, which hides no rounding."""
        padding, vocabulary = data.draw(st.integers(0, 8)), 9
        ids = data.draw(
            st.lists(st.sampled_from([i for i in range(vocabulary) if i != padding]), min_size=1, max_size=6)
        )
        before, after = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
        encoder = _encoder(TokenShape((16,), vocabulary, padding), norm=norm).double()
        filled = [padding] * before + ids + [padding] * after
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)  # what normalises would go back to float32
            plain, other = (encoder(torch.tensor([each])) for each in (ids, filled))
        assert plain.dtype == torch.float64
        torch.testing.assert_close(other, plain, rtol=1e-10, atol=1e-11)

    def test_the_embedding_of_padding_is_never_read(self):
        encoder, ids = _encoder(TokenShape((4,), 9, 3)), torch.tensor([[1, 2, 3, 3]])
        before = encoder(ids)
        with torch.no_grad():
            encoder.embedding.weight[3] = 1e6
        assert torch.equal(encoder(ids), before)
        encoder(ids).sum().backward()
        assert not encoder.embedding.weight.grad[3].any() and encoder.embedding.weight.grad[1].any()

    def test_the_order_of_tokens_makes_one(self):
        encoder = _encoder(TokenShape((4,), 9))
        assert not torch.allclose(encoder(torch.tensor([[1, 2, 4, 5]])), encoder(torch.tensor([[5, 2, 4, 1]])))

    def test_auto_takes_it_for_tokens_and_no_other_kind_does(self):
        assert type(trunk(TokenShape((4,), 9), EncoderOptions())) is type(_encoder(TokenShape((4,), 9)))
        with pytest.raises(ConfigError, match="'vector' does not take inputs of shape"):
            trunk(TokenShape((4,), 9), EncoderOptions(kind="vector"))
        with pytest.raises(ConfigError, match="they are numbers and no tokens"):
            trunk((4,), EncoderOptions(kind="tokens"))

    def test_one_of_ones_own_is_given_ids(self):
        encoder = trunk(TokenShape((4,), 9, 1), EncoderOptions(kind="torch.nn:Embedding", args={
            "num_embeddings": 9, "embedding_dim": 5}))  # fmt: skip
        assert encoder(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4)


def _encoder(shape, **options):
    encoder = trunk(shape, EncoderOptions(width=8, depth=2, **options))
    initialise(encoder, torch.Generator().manual_seed(0))
    return encoder


class TestFindings:
    """What ``data check`` says of them."""

    def test_shares_are_those_of_what_is_there(self):
        data = made([[1, 4, 2, 2], [1, 2, 2, 2], [2, 2, 2, 2]], present={"text": torch.tensor([True, True, False])})
        found = summary(data)
        assert list(found.modalities) == ["v"]
        text = found.tokens["text"]
        assert (text.length, text.vocabulary, text.distinct, text.unknown) == (4, 5, 2, None)
        assert text.filled == pytest.approx(5 / 8)

    def test_what_is_unknown_cut_or_mostly_padding_is_said(self):
        words = Tokenizer('{"model":{"unk_id":1}}')
        data = made([[1, 4, 2, 2, 2, 2]] * 60, Tokens(5, 2, words, cut=40))
        said = [each for each in findings({"s": data}) if "'text'" in each]
        assert any("50% of the tokens of 'text' are not in the vocabulary" in each for each in said)
        assert any("40 of 60 samples of 'text' are cut to 6 tokens" in each for each in said)
        longer = made([[1] + [2] * 9] * 60)
        assert any("90% of 'text' is padding" in each for each in findings({"s": longer}))

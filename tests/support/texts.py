"""Texts whose words say what they are about, a tokenizer that was trained on them, and files of them."""

import csv
import json
import random

import pytest

FILL = [
    "the",
    "a",
    "film",
    "movie",
    "plot",
    "actor",
    "scene",
    "it",
    "was",
    "is",
    "with",
    "and",
    "of",
    "story",
    "very",
    "rather",
    "quite",
    "music",
]
WORDS = {"bad": ["bad", "awful", "poor", "dull", "weak"], "good": ["good", "great", "fine", "lovely", "superb"]}
LENGTH = 16


def reviews(count=240, seed=0):
    """Texts of 6 to 12 words, two of which tell the class, and classes in turn."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        label = ["bad", "good"][i % 2]
        words = [rng.choice(FILL) for _ in range(rng.randint(4, 10))] + [rng.choice(WORDS[label]) for _ in range(2)]
        rng.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def word_level(path, words=None, padding="[PAD]", special=False):
    """A tokenizer.json of whole words there, padding 0 and unknown 1; with ``special`` [CLS] and [SEP] around."""
    tokenizers = pytest.importorskip("tokenizers")
    known = ["[PAD]" if padding == "[PAD]" else "nothing", "[UNK]", "[CLS]", "[SEP]"]
    known += words or sorted({*FILL, *WORDS["bad"], *WORDS["good"]})
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(known)}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    made.save(str(path))
    return path


def byte_pairs(path, size=90):
    """A tokenizer.json of pairs of bytes, trained on the reviews."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, special_tokens=["[PAD]", "[UNK]"])
    made.train_from_iterator([text for text, _ in reviews()], trainer)
    made.save(str(path))
    return path


def table(path, rows=None):
    """A CSV file with the columns body and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["body", "label"])
        writer.writerows(reviews() if rows is None else rows)
    return path


def read_as(tokenizer, length=LENGTH, **more):
    """The options ``text`` of a source for the column body, as the modality review."""
    return {"review": {"column": "body", "tokenizer": str(tokenizer), "length": length, **more}}


def changed(path, to, **keys):
    """A copy of a tokenizer.json with other keys."""
    to.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return to

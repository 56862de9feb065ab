"""Pictures and words of one thing: how an icon looks, and what people who look for it type.

Font Awesome Free 6 (icons CC BY 4.0, font SIL OFL 1.1, Fonticons): 1,395 solid icons, each with a name and terms to
search for it by, in 68 categories that its makers file them under, any number of them each. They come with the package
fontawesomefree, which is not imported. What a picture is depends on the font, and a little on the version of Pillow
that draws it: hosts whose pictures differ find out by the fingerprint of the data.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from parse_p2p.core.errors import ConfigError
from parse_p2p.core.types import Modality
from parse_p2p.data.base import Dataset, packaged_file
from parse_p2p.data.kinds import Tokens
from parse_p2p.data.tasks.classification import CLASSIFICATION
from parse_p2p.data.tasks.multi_label import MultiLabel

ROOT = "static/fontawesomefree"
REMEDY = "run pip install 'parse-p2p[icons]'"
ACROSS = "humanitarian"
"""A collection of its own, whose icons are of things that the other categories hold too."""

PADDING, OTHER, FIRST = 0, 1, 2
"""Ids of tokens: nothing, a word of a single icon, and the first word of several."""


class Options(BaseModel, extra="forbid", frozen=True):
    """What is to be told of an icon, and how large it is."""

    labels: Literal["one", "several"] = Field(
        "one",
        description="one: icons of exactly one of the largest categories, a class each; several: all icons and "
        "categories, as multi-label",
    )
    categories: int = Field(12, ge=2, le=60, description="how many of the largest categories are classes, with one")
    size: int = Field(28, ge=8, le=128, description="pixels of a picture's side")
    words: int = Field(16, ge=1, le=64, description="tokens of a text: name and search terms, the rest is cut")


def open(options: Options, seed: int) -> Dataset:
    """image (N,1,size,size), 0 to 1; text (N, words), ids of words. N = 615 of 12 classes, or 1395 with 68 labels.

    The seed is not used. ConfigError if a file, or the library Pillow, is missing.
    """
    icons = {name: icon for name, icon in _read("icons.json", json.loads).items() if "solid" in icon["free"]}
    filed = _read("categories.yml", yaml.safe_load)
    categories = {category: {*each["icons"]} & icons.keys() for category, each in sorted(filed.items())}
    texts = {name: _words([icon["label"], *icon["search"]["terms"]]) for name, icon in icons.items()}
    targets: Mapping[str, int | list[float]]
    if options.labels == "one":
        named, targets = _of_one(icons, categories, options.categories)
    else:
        named = tuple(category for category, inside in categories.items() if inside)
        targets = {name: [float(name in categories[category]) for category in named] for name in icons}
    ids, kind = _ids(texts, [*targets], options.words)
    drawn = _pictures([int(icons[name]["unicode"], 16) for name in targets], options.size)
    task = CLASSIFICATION if options.labels == "one" else MultiLabel.of(named, {})
    return Dataset(
        "icons",
        {Modality("image"): torch.from_numpy(drawn), Modality("text"): torch.from_numpy(ids)},
        torch.tensor([*targets.values()]),
        len(named),
        labels=named,
        kinds={Modality("text"): kind},
        task=task,
    )


def _read(file: str, parse: Any) -> dict[str, Any]:
    path = packaged_file("fontawesomefree", f"{ROOT}/metadata/{file}", REMEDY)
    found: dict[str, Any] = parse(path.read_text(encoding="utf-8"))
    return found


def _of_one(
    icons: Iterable[str], categories: Mapping[str, set[str]], count: int
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The largest categories in alphabetical order, and the place of its own for each icon that is in one of them."""
    left = sorted(categories.keys() - {ACROSS}, key=lambda category: (-len(categories[category]), category))
    named = tuple(sorted(left[:count]))
    of = {name: [at for at, category in enumerate(named) if name in categories[category]] for name in icons}
    return named, {name: at[0] for name, at in of.items() if len(at) == 1}


def _words(texts: Iterable[str]) -> list[str]:
    """Each word once, in the order of the texts."""
    return list(dict.fromkeys(word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())))


def _ids(texts: Mapping[str, Sequence[str]], names: Sequence[str], length: int) -> tuple[NDArray[np.int64], Tokens]:
    """(N, length) of the icons of these names; the vocabulary is that of all, whatever the task."""
    counted = Counter(word for words in texts.values() for word in words)
    known = {word: FIRST + at for at, word in enumerate(sorted(w for w, icons in counted.items() if icons > 1))}
    ids = np.full((len(names), length), PADDING, np.int64)
    for row, name in enumerate(names):
        found = [known.get(word, OTHER) for word in texts[name][:length]]
        ids[row, : len(found)] = found
    cut = sum(len(texts[name]) > length for name in names)
    return ids, Tokens(FIRST + len(known), PADDING, cut=cut)


def _pictures(codes: Sequence[int], size: int) -> NDArray[np.float32]:
    """(N, 1, size, size): each character white on black, in the middle, and small enough for the widest."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError:
        raise ConfigError(f"the data set icons needs the package pillow, which draws them; {REMEDY}") from None
    path = packaged_file("fontawesomefree", f"{ROOT}/webfonts/fa-solid-900.ttf", REMEDY)
    font = ImageFont.truetype(str(path), round(size * 2 / 3), layout_engine=ImageFont.Layout.BASIC)
    pictures = []
    for code in codes:
        picture = Image.new("L", (size, size))
        ImageDraw.Draw(picture).text((size / 2, size / 2), chr(code), font=font, fill=255, anchor="mm")
        pictures.append(np.asarray(picture, np.float32) / 255)
    found: NDArray[np.float32] = np.stack(pictures)[:, None].astype(np.float32)
    return found

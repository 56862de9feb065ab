"""The forest plot: every row's difference with its interval where its table has it, filled where it is shown."""

import xml.etree.ElementTree as ElementTree

import pytest
from made_study import study
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

from parse_p2p.lab.experiments import pictures


@pytest.fixture
def figures(monkeypatch):
    """Those that would be closed after drawing."""
    kept = []
    monkeypatch.setattr(plt, "close", lambda *_: kept.append(plt.gcf()))
    yield kept
    monkeypatch.undo()
    plt.close("all")


def test_each_row_stands_at_its_difference_with_its_interval_and_is_filled_where_it_is_shown(tmp_path, figures):
    made = study(tmp_path)
    said = pictures.draw_differences(made, tmp_path / "all.svg")
    assert said.startswith("parse less each other row") and "hollow where no difference is shown" in said
    [figure] = figures
    panels = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in panels] == ["one", "two", "three"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["local", "harmony"]
    tested = {tuple(label for _, label in labels): found for labels, found in made.comparisons.found.items()}
    words = set()
    for axis in panels:
        lines, points = axis.collections
        for i, row in enumerate(("local", "harmony")):
            found = tested[axis.get_title(), row]
            assert tuple(points.get_offsets()[i]) == (pytest.approx(found.mean), i)
            (low, at), (high, _) = lines.get_segments()[i]
            assert (low, high, at) == (
                pytest.approx(found.mean - found.half),
                pytest.approx(found.mean + found.half),
                i,
            )
            colour = to_rgba({**pictures.COLOURS, "no difference shown": pictures.UNSHOWN}[found.word])
            assert tuple(points.get_edgecolors()[i]) == colour
            inside = colour if found.p < 0.05 else to_rgba("white")
            assert tuple(points.get_facecolors()[i]) == inside
            words.add(found.word)
    assert words == {"better", "no difference shown"}
    bottom, top = panels[0].get_ylim()
    assert top < bottom, "the first row is on top, as in a table"


def test_the_same_study_is_drawn_to_the_same_bytes_with_its_texts_as_texts(tmp_path):
    for name in ("a.svg", "b.svg"):
        pictures.draw_differences(study(tmp_path), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    texts = [each.text for each in ElementTree.parse(tmp_path / "a.svg").iter() if each.tag.endswith("text")]
    assert {"local", "harmony", "one", "two", "three", "parse less this row, accuracy of all agents"} <= set(texts)


def test_where_nothing_is_compared_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match=r"mine\.yaml: no row is compared"):
        pictures.draw_differences(study(tmp_path, seeds=[0]), tmp_path / "none.svg")

"""Which files in a folder are complete: by their names, and by two looks that find the same."""

import os

import pytest

from parse_p2p.runtime.arrivals.watched_folder import WatchedFolder


@pytest.fixture
def folder(tmp_path):
    return WatchedFolder(tmp_path)


def names(folder):
    return list(folder.look())


def test_a_file_counts_once_two_looks_find_the_same(folder):
    (folder.path / "b").write_text("1")
    assert names(folder) == []
    (folder.path / "a").write_text("1")
    assert names(folder) == ["b"]
    assert names(folder) == ["a", "b"], "by name"
    with (folder.path / "a").open("a") as file:
        file.write("2")
    assert names(folder) == ["b"]
    assert names(folder) == ["a", "b"]


def test_one_that_is_as_long_as_before_and_newer_has_changed(folder):
    path = folder.path / "a"
    path.write_text("1")
    names(folder), names(folder)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert names(folder) == [] and names(folder) == ["a"]


def test_one_that_was_written_over_has_changed_though_its_size_and_time_are_set_back(folder):
    path = folder.path / "a"
    path.write_text("1")
    names(folder), names(folder)
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # which has ticks
        path.write_text("2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(folder) == [] and names(folder) == ["a"]


def test_one_that_was_made_readable_has_changed(folder):
    path = folder.path / "a"
    path.write_text("1")
    path.chmod(0)
    names(folder), names(folder)
    path.chmod(0o644)
    assert names(folder) == [] and names(folder) == ["a"]


def test_what_a_link_leads_to_is_not_looked_through(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (folder.path / "link").symlink_to(other)
    (folder.path / "loop").symlink_to("loop")
    (folder.path / "inside").mkdir()
    (folder.path / "inside/up").symlink_to(folder.path)
    (other / "deep").mkdir()
    names(folder)
    (other / "deep/x").write_text("1")
    assert names(folder) == ["inside", "link"]


def test_names_that_cannot_be_shown_are_escaped(folder):
    (folder.path / "a\nb\x1b[31m\u202e").write_text("1")
    names(folder)
    assert names(folder) == ["a\\nb\\x1b[31m\\u202e"]


@pytest.mark.parametrize("name", [".a", "a.tmp", "a.csv.part", "a.PARTIAL"])
def test_names_of_what_is_being_written_do_not_count(folder, name):
    (folder.path / name).write_text("1")
    assert names(folder) == [] == names(folder)
    (folder.path / name).rename(folder.path / "a")
    assert names(folder) == [] and names(folder) == ["a"]


def test_a_folder_is_complete_when_nothing_in_it_changes(folder):
    inside = folder.path / "a" / "deep"
    inside.mkdir(parents=True)
    (inside / "x").write_text("1")
    names(folder)
    (inside / "x").write_text("22")
    assert names(folder) == []
    (inside / "y").write_text("")
    assert names(folder) == [] and names(folder) == ["a"]
    (inside / "y").rename(inside / "z")
    assert names(folder) == [] and names(folder) == ["a"]


def test_what_is_apart_or_gone_does_not_count(tmp_path):
    (tmp_path / "start.csv").write_text("1")
    (tmp_path / "new.csv").write_text("1")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "holds/deep").mkdir(parents=True)
    folder = WatchedFolder(tmp_path, frozenset([tmp_path / "x/../start.csv", tmp_path / "holds/deep/source.csv"]))
    assert names(folder) == [] and names(folder) == ["new.csv"]
    (tmp_path / "new.csv").unlink()
    assert names(folder) == [] and folder.stamp("new.csv") is None


def test_a_folder_that_is_gone_raises_and_may_come_back(tmp_path):
    folder = WatchedFolder(tmp_path / "in")
    with pytest.raises(OSError):
        folder.look()
    (tmp_path / "in").mkdir()
    assert names(folder) == []

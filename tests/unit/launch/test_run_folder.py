"""A run folder opens itself, with all that its agents announced, and says which version wrote it."""

import plans
import pytest
import yaml

import parse_p2p
from parse_p2p.config import run_file
from parse_p2p.core.errors import ConfigError
from parse_p2p.launch.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    """The folder of a run in which changes may be announced."""
    kept = RunFolder(tmp_path / "run")
    kept.write(plans.plan(events=[]).run)
    return kept


def rewritten(folder, **keys):
    raw = yaml.safe_load(folder.file.read_text()) | keys
    folder.file.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))


def test_what_is_opened_is_what_was_written(folder):
    before = plans.plan(events=[])
    assert folder.open().run.agreed() == before.run.agreed()
    assert yaml.safe_load(folder.file.read_text())["version"] == parse_p2p.__version__


def test_announced_changes_are_part_of_an_opened_run(folder):
    me = next(me for me, spec in folder.open().specs.items() if spec.modalities == ("audio",))
    mine = folder.announced(me)
    mine.parent.mkdir(parents=True)
    mine.write_text("2:audio+motion\n")
    plan = folder.open()
    assert plan.senses(me, 1) == ("audio",) and plan.senses(me, 2) == ("audio", "motion")


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, "parse-p2p 0.1 and"), ("0.1.7", "parse-p2p 0.1.7 and"), ("9.0.0", "parse-p2p 9.0.0 and")],
)
def test_a_run_of_another_version_is_refused_with_its_name(folder, version, said):
    rewritten(folder, version=version, discovery={"kind": "file"})  # as it was called then
    with pytest.raises(
        ConfigError, match=f"run.yaml was written by {said} this is {parse_p2p.__version__}: "
    ) as refused:
        folder.open()
    assert "\n" not in str(refused.value)


def test_a_run_of_a_version_that_differs_in_its_last_number_opens(folder):
    first, second, _ = parse_p2p.__version__.split(".")
    rewritten(folder, version=f"{first}.{second}.999")
    assert folder.open().run.rounds == 4


def test_a_file_of_ones_own_needs_no_version_and_one_that_was_written_is_refused_by_its_own(folder):
    rewritten(folder, version=None)
    assert run_file.load(folder.file).rounds == 4
    rewritten(folder, version="0.1.0")
    with pytest.raises(ConfigError, match=r"written by parse-p2p 0\.1\.0"):
        run_file.load(folder.file)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"^there is no run in {tmp_path}: give its folder, such as runs/"):
        RunFolder(tmp_path).open()

"""The check for machines with a GPU, tried where there need be none."""

import subprocess
import sys

import pytest
from paths import ROOT


def checked(*arguments):
    command = [sys.executable, "scripts/gpu_check.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@pytest.mark.timeout(500)  # it ends itself before
def test_the_check_says_all_it_is_for_and_that_two_runs_on_one_device_are_equal():
    code, said = checked("--cpu", "--agents", "3", "--rounds", "2", "--width", "16", "--samples", "160")
    assert code == 0, said
    for part in ("steps/s of all", "exchange", "\ncpu bf16", "\nthe CPU", "\nafter round 1 parameters differ from the "
                 "CPU's by at most 0,", "\nafter round 2", "MiB of parameters to the host", "all is well"):  # fmt: skip
        assert part in said, said


def test_a_check_of_too_few_rounds_is_refused():
    code, said = checked("--cpu", "--rounds", "1")
    assert code == 2 and said.endswith("--rounds: at least 2, for the first is not timed\n")


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_without_a_gpu_the_check_fails_at_once_in_a_sentence():
    code, said = checked()
    assert code == 1 and said.splitlines()[-1].startswith("FAILED: this torch sees no GPU; --cpu")

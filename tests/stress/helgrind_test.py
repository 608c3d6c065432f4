"""Four threads on the unshadowed copy, watched for races."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("period", [1, 2], ids=["every call", "1000"])
def test_helgrind_finds_no_race(build, exercised, period):
    program = [build / "tests" / "unshadowed_test", f"--gtest_filter=AtPeriod/*FourThreads*/{period}"]
    done = subprocess.run(
        ["valgrind", "--tool=helgrind", "--error-exitcode=9", *program], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "[  PASSED  ] 1 test" in done.stdout
    exercised.add("watched by", "helgrind")

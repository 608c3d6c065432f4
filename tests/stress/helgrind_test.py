"""Four threads on the unshadowed copy, watched for races. Without homes: those live on atomics, which helgrind takes
for races; the model tests of homes_test and the thread sanitizer watch their parts."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("period", [0], ids=["nothing sampled"])
def test_helgrind_finds_no_race(build, exercised, period):
    program = [build / "tests" / "unshadowed_test", f"--gtest_filter=AtPeriod/*FourThreads*/{period}"]
    done = subprocess.run(
        ["valgrind", "--tool=helgrind", "--error-exitcode=9", *program], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "[  PASSED  ] 1 test" in done.stdout
    exercised.add("watched by", "helgrind")

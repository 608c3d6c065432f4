"""Four threads on the unshadowed copy, watched for races. Without homes: those live on atomics, which helgrind takes
for races; the model tests of homes_test and the thread sanitizer watch their parts. What
is done now and then lives on them, too."""

from __future__ import annotations

import subprocess

import pytest

ATOMICS = """{
  what looks at the clock or at the governor
  Helgrind:Race
  ...
  fun:_ZN7poireau8governor*
}
{
  when a turn is due
  Helgrind:Race
  ...
  fun:_ZN7poireau7sampled*5judge*
}
{
  control
  Helgrind:Race
  ...
  fun:_ZN7poireau7control*
}
{
  who answers about usable sizes, from the first question on
  Helgrind:Race
  fun:*malloc_usable_size*
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("period", [0], ids=["nothing sampled"])
def test_helgrind_finds_no_race(build, exercised, period, tmp_path):
    program = [build / "tests" / "unshadowed_test", f"--gtest_filter=AtPeriod/*FourThreads*/{period}"]
    suppressions = tmp_path / "atomics.supp"
    suppressions.write_text(ATOMICS)
    watch = ["valgrind", "--tool=helgrind", "--error-exitcode=9", f"--suppressions={suppressions}"]
    done = subprocess.run([*watch, *program], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "[  PASSED  ] 1 test" in done.stdout
    exercised.add("watched by", "helgrind")

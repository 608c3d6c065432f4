"""The overhead governor: sampling stays within `overhead_budget` when a program's rate jumps, and says what it does."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.conftest import SOAK

LIMIT = 0.007 if SOAK else 0.02  # speed limits live in `make bench`
SETTLED = 2  # seconds after the jump
USE_AFTER_FREE = """
#include <stdlib.h>
int main(void) {
  char* volatile block = malloc(100);
  free(block);
  return ((volatile char*)block)[1] == 1;
}
"""


@dataclass(frozen=True)
class Second:
    """A line of tests/programs/jump.c."""

    phase: str
    cpu: float
    sampling: float
    with_waits: float
    samples: int
    period: int

    @property
    def share(self) -> float:
        return self.sampling / self.cpu


def seconds_of(output: str) -> list[Second]:
    lines = [line.split() for line in output.splitlines()]
    return [Second(line[0], *map(float, line[1:4]), *map(int, line[4:])) for line in lines]


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.soak), 4])
def test_a_rate_that_jumps_a_hundredfold_is_within_the_budget_two_seconds_later(
    program, run_preloaded, exercised, threads
):
    loud = 30 if SOAK else SETTLED + 1
    done = run_preloaded([program("jump.c", "-O1"), str(threads), "50", "1", str(loud)])
    assert (done.returncode, done.stderr) == (0, "")
    seconds = seconds_of(done.stdout)
    settled = [second for second in seconds if second.phase == "loud"][SETTLED:]
    assert len(settled) == loud - SETTLED
    worst = max(second.share for second in settled)
    exercised.add("a hundredfold jump", f"{threads} threads: at most {worst:.2%} of a second's CPU time")
    assert worst <= LIMIT, seconds
    assert all(second.period > 512 << 10 for second in settled), seconds


def test_who_sleeps_is_not_blind(program, run_preloaded, exercised):
    seconds = 40 if SOAK else 6
    done = run_preloaded([program("sleepy.c", "-O1"), str(seconds)], timeout=2 * seconds + 60)
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) == seconds
    samples = sum(line[0] for line in lines[seconds // 2 :]) / (seconds - seconds // 2)
    exercised.add("asleep", f"{samples:.0f} samples a second")
    assert samples >= 3, lines
    assert all(period <= 64 << 20 for _, period in lines), lines


def test_a_period_of_the_users_own_stays(program, run_preloaded):
    done = run_preloaded([program("jump.c", "-O1"), "1", "50", "0", "1"], {"POIREAU_SAMPLE_PERIOD": "512K"})
    assert [second.period for second in seconds_of(done.stdout)] == [512 << 10]


@pytest.mark.soak
def test_who_pins_a_period_that_is_too_much_is_told_once(program, run_preloaded):
    done = run_preloaded([program("jump.c", "-O1"), "1", "50", "0", "20"], {"POIREAU_SAMPLE_PERIOD": "64K"})
    said = r"poireau: [^:]+: sampling takes [\d.]+% of the CPU time, more than overhead_budget = 0.5%; "
    assert re.fullmatch(said + "sample_period is pinned\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "a sample every 512KiB (governed)"),
        ({"SAMPLE_PERIOD": "64K"}, "a sample every 64KiB (pinned)"),
        ({"SAMPLE_PERIOD": "64K", "OVERHEAD_BUDGET": "1%"}, "a sample every 64KiB (governed)"),
        ({"OVERHEAD_BUDGET": "off"}, "a sample every 512KiB,"),
        ({"SAMPLE_PERIOD": "1"}, "every call a sample,"),
        ({"SAMPLE_BY": "calls", "SAMPLE_PERIOD": "1000"}, "a sample every 1000 calls (pinned)"),
        ({"ARMED": "off"}, "sampling is off"),
    ],
)
def test_the_first_line_says_what_is_pinned(run_preloaded, options, line):
    env = {f"POIREAU_{option}": value for option, value in options.items()}
    assert line in run_preloaded(["true"], {"POIREAU_LOG": "info", **env}).stderr


def test_a_report_says_how_blocks_are_sampled(compile_c, run_preloaded):
    done = run_preloaded([compile_c(USE_AFTER_FREE, ["-fno-builtin"])], {"POIREAU_SAMPLE_PERIOD": "1"})
    assert "\n  every call a sample, guards all\n  going on;" in done.stderr, done.stderr

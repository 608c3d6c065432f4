"""Where something is scarce or strict, the program gets what it gets bare."""

from __future__ import annotations

import re
import resource

import pytest

from tests.conftest import CHECK_SHARE, SOAK

from .conftest import under

PERIODS = ["1", "1000"]
SHARE = f"-DSHARE={1 if SOAK else CHECK_SHARE + 1}"  # odd, so that sizes and numbers of errors are of all kinds
WHAT = [
    "memory",
    "descriptors",
    "stack",
    "threads",
    "mlockall",
    "mlocked",
    "file size",
    "signal stack",
    "floating point",
    "errno",
]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("what", WHAT)
def test_the_program_lives_as_bare_with_limited(program, same_as_bare, what, period):
    # With no room for a file at all there is no trace, which is said.
    environment = {"POIREAU_SAMPLE_PERIOD": period, "POIREAU_LOG": "off"}
    assert same_as_bare([program("limits.c", "-lm", SHARE), what], environment).returncode == 0


@pytest.mark.parametrize("period", PERIODS)
def test_threads_may_be_cancelled_at_any_instruction(program, run_preloaded, period):
    bump = program("bump.c", "-shared")
    done = run_preloaded(
        [program("limits.c", "-lm", SHARE), "cancellation"], {"POIREAU_SAMPLE_PERIOD": period}, preload=[bump]
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["return", "jump"])
@pytest.mark.parametrize("period", [1, 1000])
def test_a_storm_of_signals_loses_no_sample_unsaid(program, run_preloaded, scale, how, period):
    bump = program("bump.c", "-shared")
    count = scale(200_000 if period == 1 else 2_000_000)
    # With guards and stacks for every call the handler would take longer than the timer leaves it.
    environment = {"POIREAU_SAMPLE_PERIOD": str(period), "POIREAU_GUARD": "off", "POIREAU_STACK_DEPTH": "0"}
    done = run_preloaded([program("storm.c"), how, str(count)], environment, preload=[bump], timeout=600)
    assert done.returncode == 0, done
    requests, jumps, dropped, samples, sampled, counted = map(int, re.findall(r"\d+", done.stdout))
    slack = dropped * 10  # where a handler's requests pass untested, it is told once for all of them
    if how == "jump":  # out of the hot path's last instructions, and the thread is not sampled any more
        assert jumps > 0
        assert samples + dropped <= requests + jumps  # a call that was left may have been counted
    elif period == 1:
        assert sampled == samples * 50
        assert abs(samples + dropped - requests) <= slack
    else:
        expected = requests * (1 - pow(2.718281828459045, -50 / period))
        assert abs(samples - expected) <= 6 * expected**0.5 + slack
        assert abs(counted - requests * 50) <= (slack + 1) * 50 + 20 * period


def address_space_needed(run, argv, **more):
    """The smallest RLIMIT_AS, to a MiB, in which it starts and works."""
    low, high = 1, 1024
    while low < high:
        middle = (low + high) // 2
        limit = (middle << 20, middle << 20)
        if (
            run(argv, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, limit), **more).returncode
            == 0
        ):
            high = middle
        else:
            low = middle + 1
    return low


def test_a_tight_address_space_needs_hardly_more_room_than_bare(program, run_bare, run_preloaded):
    argv = [program("limits.c", "-lm", SHARE)]
    bare = address_space_needed(lambda argv, **more: run_bare(argv, {}, **more), argv)
    ours = address_space_needed(lambda argv, **more: run_preloaded(argv, {}, **more), argv)
    assert ours <= bare + 2


@pytest.mark.parametrize("descriptors", [0, 3, 4])
def test_few_descriptors_at_exec_are_no_more_trouble_than_bare(program, run_bare, run_preloaded, descriptors):
    # With three or fewer the loader can't open libc, nor us, and says so.
    limit = (descriptors, descriptors)
    more = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit)}
    argv, environment = [program("limits.c", "-lm", SHARE)], {"POIREAU_LOG": "info"}
    assert run_preloaded(argv, environment, **more).returncode == run_bare(argv, environment, **more).returncode


@pytest.mark.parametrize("log", ["info", "debug"])
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_file_that_takes_the_place_of_standard_error_is_not_written_to(program, run_preloaded, tmp_path, closed, log):
    mine = tmp_path / "mine"
    environment = {"POIREAU_LOG": log, "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_EXCLUDE": "sh,dash,bash"}
    run = run_preloaded(["sh", "-c", f"exec {program('limits.c', '-lm', SHARE)} file {mine} {closed}"], environment)
    assert run.returncode == 0
    assert mine.read_text() == "mine\n"


def test_errno_survives_every_successful_call(program, same_as_bare, allocator):
    environment = {"POIREAU_SAMPLE_PERIOD": "1000"}
    same_as_bare([program("limits.c", "-lm", SHARE), "errno"], environment, preload=under(allocator))

"""A fork child is another process; a vfork child is not; and nothing of ours can be seen in either."""

from __future__ import annotations

import math
import re

import pytest

from tests.conftest import SOAK

from .conftest import ALLOCATORS, under

NEW = """generations 0 1 0 {}
identities: child different, parent after same, other child different, children different
picks: child different, parent after different, children different
"""
ALONE = {"POIREAU_CONTROL": "off"}  # but for the control socket, nothing of ours stays open
FORKS = ["fork", "threads", "raw", "_Fork", "clone"]


@pytest.mark.parametrize("way", FORKS)
def test_a_fork_child_has_its_own_identity_and_draws(program, run_preloaded, exercised, way):
    done = run_preloaded([program("lifecycle.c"), way], {"POIREAU_SAMPLE_PERIOD": "64"})
    assert (done.stdout, done.stderr, done.returncode) == (NEW.format(1), "", 0)
    exercised.add("lifecycle", way)


@pytest.mark.parametrize("way", ["fork", "raw"])
def test_a_fork_child_draws_its_own_samples_under_a_fixed_seed_too(program, run_preloaded, way):
    done = run_preloaded([program("lifecycle.c"), way], {"POIREAU_SAMPLE_PERIOD": "64", "POIREAU_SEED": "5"})
    assert "picks: child different, parent after different" in done.stdout


def test_a_grandchild_is_of_the_second_generation(program, run_preloaded):
    done = run_preloaded([program("lifecycle.c"), "grandchild"], {"POIREAU_SAMPLE_PERIOD": "64"})
    assert (done.stdout, done.stderr, done.returncode) == (NEW.format(2), "", 0)


def test_a_daemon_that_closed_every_descriptor_goes_on(program, run_preloaded):
    done = run_preloaded([program("lifecycle.c"), "daemon"], {"POIREAU_SAMPLE_PERIOD": "64"})
    assert done.stdout.startswith("generations 0 2 0 0\nidentities: child different, parent after same")


@pytest.mark.parametrize("way", ["spawn", "vfork+exec", "fork+exec"])
def test_an_executed_child_is_a_process_of_its_own(program, run_preloaded, exercised, way):
    done = run_preloaded([program("lifecycle.c"), way], {"POIREAU_SAMPLE_PERIOD": "64"})
    expected = NEW.format(0).replace("generations 0 1", "generations 0 0")
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    exercised.add("lifecycle", way)


@pytest.mark.parametrize("way", ["vfork", "CLONE_VM"])
def test_a_child_in_its_parents_memory_changes_nothing(program, run_preloaded, exercised, way):
    done = run_preloaded([program("lifecycle.c"), way], {"POIREAU_SAMPLE_PERIOD": "64"})
    assert done.stdout.startswith(
        "generations 0 0 0 0\nidentities: child same, parent after same, other child same, children same\n"
        "picks: child different"
    )
    assert done.returncode == 0
    exercised.add("lifecycle", way)


@pytest.mark.parametrize("period", ["1", "512KiB", "0"])
def test_the_library_leaves_no_trace_in_the_process(program, same_as_bare, period):
    same_as_bare([program("footprint.c")], {**ALONE, "POIREAU_SAMPLE_PERIOD": period, "POIREAU_GUARD": "off"})


@pytest.mark.parametrize("mechanism", ["markers", "mprotect"])
def test_guarded_homes_leave_two_signal_handlers_and_nothing_else(program, run_bare, run_preloaded, mechanism):
    environment = {**ALONE, "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD_MECHANISM": mechanism}
    bare, ours = (run([program("footprint.c")], environment) for run in (run_bare, run_preloaded))
    assert ours.stdout != bare.stdout
    assert re.sub("(SigCgt:.*)440", r"\g<1>000", ours.stdout) == bare.stdout


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 2])
def test_the_nth_request_of_a_thread_is_as_likely_as_any(program, run_preloaded, scale, seed, nth):
    threads, period = scale(100_000), 80
    environment = {"POIREAU_SAMPLE_PERIOD": str(period), "POIREAU_SEED": str(seed or 1)}
    done = run_preloaded([program("first_of_thread.c"), str(threads), str(nth)], environment, timeout=600)
    p = 1 - math.exp(-16 / period)
    assert abs(int(done.stdout) - threads * p) <= 6 * math.sqrt(threads * p * (1 - p)) + 1


@pytest.mark.slow
def test_the_first_request_of_a_process_is_as_likely_as_any(program, run_preloaded, scale):
    # The program's own first request is not the process's first, but each is a start of its own.
    runs = scale(4000)
    binary = program("first_of_thread.c")
    picked = sum(int(run_preloaded([binary, "1", "1"], {"POIREAU_SAMPLE_PERIOD": "80"}).stdout) for _ in range(runs))
    p = 1 - math.exp(-16 / 80)
    assert abs(picked - runs * p) <= 6 * math.sqrt(runs * p * (1 - p)) + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "beneath"), [*(("fork", name) for name in ALLOCATORS), ("_Fork", "glibc"), ("raw", "glibc")]
)
def test_forks_of_a_threaded_program_never_hang(program, run_preloaded, way, beneath):
    # Nearly every request of the children is a sample: most of their time would be stacks.
    depth = "2" if (way, beneath) == ("raw", "glibc") else "0"
    environment = {"POIREAU_SAMPLE_PERIOD": "1000", "POIREAU_STACK_DEPTH": depth, "POIREAU_OVERHEAD_BUDGET": "off"}
    done = run_preloaded(
        [program("fork_storm.c"), way, str(1000 if SOAK else 20)], environment, preload=under(beneath), timeout=600
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)

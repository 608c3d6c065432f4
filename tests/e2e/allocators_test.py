"""Each request counts once, whatever allocator serves it and however it goes down."""

from __future__ import annotations

import pytest

from .conftest import ALLOCATORS, under


@pytest.mark.parametrize("where", ["preloaded", "linked"])
def test_every_request_counts_exactly_once(program, run_preloaded, exercised, allocator, where):
    needed = ["-Wl,--no-as-needed", f"-l:{ALLOCATORS[allocator]}"] if where == "linked" and under(allocator) else []
    done = run_preloaded(
        [program("every_call.cc", *needed), *(["no pvalloc"] if allocator == "jemalloc" else [])],
        {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_LOG": "info"},
        preload=under(allocator) if where == "preloaded" else [],
    )
    assert done.stdout.startswith("0 of "), done.stdout
    assert done.returncode == 0
    assert f"over lib{allocator.replace('glibc', 'c')}" in done.stderr
    exercised.add("allocators", allocator)


def test_a_failed_request_counts_for_nothing(program, run_preloaded, allocator):
    done = run_preloaded([program("failed_calls.c")], {"POIREAU_SAMPLE_PERIOD": "1"}, preload=under(allocator))
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("period", ["1", "1000"])
def test_counted_bytes_are_those_granted_whatever_failed_between(program, run_preloaded, scale, period, seed):
    environment = {"POIREAU_SAMPLE_PERIOD": period, "POIREAU_SEED": str(seed or 1)}
    done = run_preloaded([program("totals.c"), str(scale(200_000))], environment)
    assert (done.stdout, done.returncode) == ("", 0)

"""Threads that hammer every function lose nothing: no block, no byte of one, no request, whatever goes on meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOAK, Exercised

ALLOCATORS = {  # what lies beneath, and what it can't do without us either
    "glibc": ([], []),
    "jemalloc": (["libjemalloc.so.2"], ["no-pvalloc"]),
    "tcmalloc": (["libtcmalloc_minimal.so.4"], []),
    "mimalloc": (["libmimalloc.so.2.0"], ["loose-alignment"]),
}
BENEATH = ["glibc", *(name + how for name in ("jemalloc", "tcmalloc", "mimalloc") for how in ("", "+extension"))]
PERIODS = {"1": 1, "1000": 1000, "64K": 64 << 10}
DISTURBANCES = {"quiet": [], "forks": ["forks"], "signals": ["signals"], "forks+signals": ["forks", "signals"]}
CHECKED = {  # a slice for `make check`; `make soak` does the whole product
    ("glibc", "1", 2, "quiet"),
    ("glibc", "1", 4, "forks+signals"),
    ("glibc", "1000", 4, "signals"),
    ("glibc", "64K", 2, "forks"),
    ("jemalloc", "1", 2, "forks+signals"),
    ("jemalloc+extension", "1", 2, "quiet"),
    ("tcmalloc", "1", 2, "forks+signals"),
    ("tcmalloc+extension", "1", 2, "signals"),
    ("tcmalloc+extension", "1000", 2, "quiet"),
    ("mimalloc", "1", 2, "forks+signals"),
    ("mimalloc+extension", "1", 2, "signals"),
    ("mimalloc+extension", "1000", 2, "quiet"),
}
MILLISECONDS = 60_000 // 4  # for each of the product; two threads over glibc get their whole minute


@pytest.fixture(scope="module")
def hammer(compile_c: Callable[..., Path]) -> Path:
    source = (ROOT / "tests" / "stress" / "hammer.cc").read_text()
    flags = ["-std=c++20", "-O1", "-fno-builtin", "-faligned-new", "-pthread", f"-I{ROOT}"]
    return compile_c(source, flags, "c++", "c++")


def cases() -> list[object]:
    return [
        pytest.param(
            *case, id="-".join(map(str, case)), marks=[pytest.mark.slow] if case in CHECKED else [pytest.mark.soak]
        )
        for beneath in BENEATH
        for period in PERIODS
        for threads in (2, 4)
        for meanwhile in DISTURBANCES
        for case in [(beneath, period, threads, meanwhile)]
    ]


def within_six_sigma(got: float, expected: float, variance: float, slack: float) -> bool:
    return abs(got - expected) <= 6 * sqrt(variance) + slack


@pytest.mark.parametrize(("beneath", "period", "threads", "meanwhile"), cases())
def test_hammering_loses_nothing(
    beneath: str,
    period: str,
    threads: int,
    meanwhile: str,
    hammer: Path,
    run_preloaded: Callable[..., object],
    scale: Callable[[int], int],
    seed: int,
    exercised: Exercised,
) -> None:
    allocator, _, extension = beneath.partition("+")
    preload, lacks = ALLOCATORS[allocator]
    whole_minute = SOAK and (beneath, threads, meanwhile) == ("glibc", 2, "quiet")
    milliseconds = scale(60_000 if whole_minute else MILLISECONDS)
    argv = [hammer, threads, milliseconds, PERIODS[period], seed, *DISTURBANCES[meanwhile]]
    done = run_preloaded(
        [*map(str, argv), *lacks],
        {"POIREAU_SAMPLE_PERIOD": period, "POIREAU_SEED": str(seed % 1_000_003 + 1)},
        extensions=[allocator] if extension else [],
        preload=preload,
        timeout=None,
    )
    assert done.returncode == 0, done  # type: ignore[attr-defined]
    got = json.loads(done.stdout)  # type: ignore[attr-defined]
    assert got["wrong"] == got["dropped"] == 0, got
    assert got["requests"] > 1000, got
    assert ("forks" in meanwhile) <= (got["children"] > 0 or got["requests"] < 100_000), got
    if PERIODS[period] == 1:
        assert got["samples"] == got["requests"], got
        assert got["sampled_bytes"] == got["bytes"], got
        assert got["counted_bytes"] == got["weight"], got
    else:
        assert within_six_sigma(got["samples"], got["expected_samples"], got["samples_variance"], 1), got
        bytes_slack = 1 << 20
        expected, variance = got["expected_sampled_bytes"], got["sampled_bytes_variance"]
        assert within_six_sigma(got["sampled_bytes"], expected, variance, bytes_slack), got
        # Each thread has the bytes since its last sample still to report: more than 60 periods only once in e^60.
        # What an allocator builds on other functions of its own is counted as it asks those, a little rounded.
        built_on = 1e-4 if extension else 0
        assert abs(got["counted_bytes"] - got["weight"]) <= threads * 60 * PERIODS[period] + built_on * got["weight"], (
            got
        )
    exercised.count("hammered requests", beneath, got["requests"])
    exercised.count("forks under the hammer", beneath, got["children"])

"""Estimates of populations that are known exactly are unbiased, and 95 of a hundred intervals hold the truth."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poireau import estimates, requested
from poireau.estimates import Estimates
from tests.claims import Claim, usual_error
from tests.conftest import ROOT, Exercised

POPULATIONS = 4000
STACKS = 8
WAYS = ["plain", "change", "calls", "multipliers", "forks", "calls,change", "change,multipliers,forks"]
AMOUNTS = ("bytes", "count", "before", "after", "byte_seconds")
TRUTH = np.dtype(
    [(name, "f8") for name in ("period", "shape", "end", "asked_for")]
    + [("stack", [(amount, "f8") for amount in AMOUNTS], STACKS)]
)
ROW = np.dtype(
    [(name, "u4") for name in ("population", "stack", "process", "thread")]
    + [(name, "u8") for name in ("size", "period", "since", "by_calls")]
    + [(name, "i8") for name in ("born", "died")]
)
RATES = {1: 8, 2: 1 / 4}  # of those stacks, with multipliers
# Shapes in which a stack's requests are of about one size: equal, or uniform from 0.
ONE_SIZE = (0, 3)
Columns = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def generator(build: Path, compile_c: Callable[..., Path]) -> Path:
    source = (ROOT / "tests" / "stress" / "populations.cc").read_text()
    flags = ["-std=c++20", "-O2", "-ftls-model=initial-exec", f"-I{ROOT}", str(build / "libpoireau-unshadowed.a")]
    return compile_c(source, flags, "c++", "c++")


def claims(ways: str, truths: NDArray[Any], rows: NDArray[Any]) -> Iterator[Claim]:
    by_calls = "calls" in ways
    count, population = len(truths), rows["population"].astype(np.intp)
    stack = population * STACKS + rows["stack"]
    lives: Columns = {name: rows[name] for name in ROW.names or ()} | {"by_calls": rows["by_calls"] != 0}
    stacks, period = truths["stack"], truths["period"]
    rates = np.array([RATES.get(i, 1) if "multipliers" in ways else 1 for i in range(STACKS)])
    expected = stacks["count" if by_calls else "bytes"] / period[:, None] * rates
    # Somebody who knows the options knows how long periods may have been.
    longest = np.zeros(count)
    np.maximum.at(longest, population, lives["period"].astype(np.float64))
    own = longest[:, None] * (rates / rates.min() if "multipliers" in ways else np.ones(STACKS))

    def of_all(part: Columns, what: str) -> Estimates:
        of = part["population"].astype(np.intp)
        return estimates.grouped(of, count, part, what, period=longest[of])

    what = "count" if by_calls else "bytes"
    in_all, of_stacks = stacks[what].sum(1), stacks[what].reshape(-1)
    yield Claim(f"{what} in all", of_all(lives, what), in_all, usual_error(in_all, in_all / period))

    got = estimates.grouped(
        stack, count * STACKS, lives, what, period=None if "multipliers" in ways else longest[population]
    )
    none = {} if by_calls else {"unit": np.where(got.samples == 0, own.reshape(-1), got.unit)}
    got = replace(got, **none)
    for name, marks, covers in (
        ("a stack's, of 2 to 20 expected samples", (expected >= 2) & (expected < 20), (0.93, 0.97)),
        ("a stack's, of more", expected >= 20, (0.93, 0.97)),
        # Less than 3 periods are never more than what none seen allows.
        ("a stack's, of fewer", (expected > 0) & (expected < 2), (0.93, 1)),
    ):
        which = marks.reshape(-1)
        yield Claim(
            f"{what}, {name}",
            got.take(which),
            of_stacks[which],
            usual_error(of_stacks, expected.reshape(-1))[which],
            covers,
        )

    # By calls a sample says little of bytes, unless all have about as many.
    even = np.isin(truths["shape"], ONE_SIZE) if by_calls else np.ones(count, np.bool_)
    births = {**lives, "process": population * 4 + rows["process"]}
    counted = requested.asked_for(births, inherited=rows["process"] > 0)
    threads = np.unique(births["process"].astype(np.uint64) << np.uint64(32) | rows["thread"]) >> np.uint64(34)
    counted = counted.grouped(threads.astype(np.intp), count)
    sample = period * stacks["bytes"].sum(1) / stacks["count"].sum(1) if by_calls else period
    yield Claim("bytes asked for", counted.take(even), truths["asked_for"][even], sample[even])

    if not by_calls:
        yield from shared_out_totals(truths[: len(truths) // 4], births, rows, expected)

    half = (truths["end"] // 2)[population]
    at_half = (rows["born"] <= half) & (rows["died"] > half)
    at_end = rows["died"] == np.iinfo(np.int64).max
    alive, gone, come = (
        of_all({name: column[marks] for name, column in lives.items()}, what)
        for marks in (at_end, at_half & ~at_end, at_end & ~at_half)
    )
    after, before = stacks["after"].sum(1), stacks["before"].sum(1)
    yield Claim(f"{what} alive", alive, after, usual_error(after, after / period))
    yield Claim(f"{what}, growth", estimates.difference(gone, come), after - before, usual_error(after, after / period))
    if not by_calls:
        lived = {**lives, "died": np.minimum(rows["died"], truths["end"].astype(np.int64)[population])}
        truth, many = stacks["byte_seconds"].sum(1), in_all / period > 50
        yield Claim(
            "byte-seconds, of 50 samples and more", of_all(lived, "byte_seconds").take(many), truth[many],
            usual_error(truth, in_all / period)[many], (0.91, 0.97),
        )  # fmt: skip


def shared_out_totals(
    truths: NDArray[Any], births: Columns, rows: NDArray[Any], samples: NDArray[Any]
) -> Iterator[Claim]:
    """As views have it. What is known of all bytes makes each stack's better, most of all the largest one's."""
    ends = np.searchsorted(rows["population"], np.arange(len(truths) + 1))
    parts = []
    for begin, end in zip(ends, ends[1:]):
        own = {name: column[begin:end] for name, column in births.items()}
        got = estimates.grouped(own["stack"].astype(np.intp), STACKS, own)
        counted = requested.asked_for(own, own["process"] % 4 > 0).sum()
        parts.append(requested.shared_out(got, counted) if requested.agree(got, counted) else got)
    truth, expected = truths["stack"]["bytes"].reshape(-1), samples[: len(truths)].reshape(-1)
    for name, which in (("", expected >= 20), (", of 2 to 20 expected samples", (expected >= 2) & (expected < 20))):
        yield Claim(
            f"bytes, a stack's, shared out{name}", estimates.joined(parts).take(which), truth[which],
            usual_error(truth, expected)[which], (0.91, 0.97),
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("ways", WAYS)
def test_populations_are_estimated_without_bias_and_with_honest_intervals(
    ways: str, generator: Path, tmp_path: Path, seed: int, scale: Callable[[int], int], exercised: Exercised
) -> None:
    command = [generator, str(seed), str(scale(POPULATIONS)), ways, tmp_path / "drawn"]
    subprocess.run(command, check=True, timeout=600)
    truths, rows = np.fromfile(tmp_path / "drawn.truth", TRUTH), np.fromfile(tmp_path / "drawn.samples", ROW)
    for claim in claims(ways, truths, rows):
        exercised.add(f"95 % intervals, {ways}", claim.check())

"""Every byte is equally likely to be picked, whatever its request, and every caller at the rate given it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from math import expm1, sqrt
from pathlib import Path

import pytest

from tests.conftest import ROOT, Exercised

PERIOD = 4096
SIZES = {1: 4_000_000, 16: 4_000_000, 100: 2_000_000, 1000: 1_000_000, 65536: 50_000, 1 << 20: 2_000}
SEEDS = [1, 2, 3]
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "preload/poireau.h"
#pragma weak poireau_get_stats
static void* volatile kept;
#define SITE(name) __attribute__((noinline, noclone)) void* name(size_t size) { return kept = malloc(size), kept; }
SITE(site_a) SITE(site_b) SITE(site_c) SITE(site_d)
int main(int argc, char** argv) {
  void* (*sites[])(size_t) = {site_a, site_b, site_c, site_d};
  const long number = atol(argv[1]);
  for (int s = 0; s < 4; ++s)
    for (int i = 2; i < argc; ++i) {
      const size_t size = strtoul(argv[i], 0, 0);
      struct poireau_stats before, after;
      poireau_get_stats(&before, sizeof before);
      for (long n = 0; n < number; ++n) free(sites[s](size));
      poireau_get_stats(&after, sizeof after);
      printf("%d %zu %llu %llu\n", s, size, (unsigned long long)(after.samples - before.samples),
             (unsigned long long)(after.sampled_bytes - before.sampled_bytes));
      fflush(stdout);
    }
  return 0;
}
"""
SITES = ["site_a", "site_b", "site_c", "site_d"]


def probability(weight: float, period: float) -> float:
    return -expm1(-weight / period)


def assert_near(samples: int, trials: int, p: float, what: str) -> None:
    expected, sigma = trials * p, sqrt(trials * p * (1 - p))
    assert abs(samples - expected) <= 6 * sigma + 1, (
        f"{what}: {samples} samples, {expected:.1f} +- {sigma:.1f} expected"
    )


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path]) -> Path:
    return compile_c(PROGRAM, ["-O1", "-fno-builtin", f"-I{ROOT}"])


@pytest.fixture(scope="module")
def sample(program: Path, run_preloaded: Callable[..., object]) -> Callable[..., list[dict[int, int]]]:
    """The samples of each call site, by size."""

    def run(number: int, sizes: list[int], **options: object) -> list[dict[int, int]]:
        environment = {f"POIREAU_{name.upper()}": str(value) for name, value in options.items()}
        done = run_preloaded([program, str(number), *map(str, sizes)], environment, timeout=None)
        assert (done.returncode, done.stderr) == (0, ""), done  # type: ignore[attr-defined]
        counts: list[dict[int, int]] = [{} for _ in SITES]
        for line in done.stdout.splitlines():  # type: ignore[attr-defined]
            site, size, samples, sampled_bytes = map(int, line.split())
            assert sampled_bytes == samples * size
            counts[site][size] = samples
        return counts

    return run


@pytest.fixture(scope="module")
def return_addresses(program: Path) -> dict[str, int]:
    """Where each site's call of malloc returns to, from the program's start."""
    addresses = {}
    for site in SITES:
        listing = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={site}", program],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found = re.search(r"call .*<malloc@plt>\n +([0-9a-f]+):", listing)
        assert found, listing
        addresses[site] = int(found[1], 16)
    return addresses


@pytest.mark.parametrize("seed_", SEEDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_byte_is_equally_likely(
    size: int,
    seed_: int,
    sample: Callable[..., list[dict[int, int]]],
    scale: Callable[[int], int],
    exercised: Exercised,
) -> None:
    number = scale(SIZES[size])
    counts = sample(number, [size], sample_period=PERIOD, seed=seed_)
    total = sum(count[size] for count in counts)
    assert_near(total, number * len(SITES), probability(size, PERIOD), f"size {size}, seed {seed_}")
    exercised.count("requests in statistics", "by bytes", number * len(SITES))


@pytest.mark.parametrize("seed_", SEEDS)
def test_a_mixture_of_sizes_leaves_each_size_its_share(
    seed_: int, sample: Callable[..., list[dict[int, int]]], scale: Callable[[int], int]
) -> None:
    number = scale(100_000)
    for site in sample(number, [100, 1, 65536, 0, 1000], sample_period=PERIOD, seed=seed_):
        for size, samples in site.items():
            assert_near(samples, number, probability(max(size, 1), PERIOD), f"size {size}, seed {seed_}")


@pytest.mark.parametrize("seed_", SEEDS)
def test_by_calls_every_call_is_equally_likely(
    seed_: int, sample: Callable[..., list[dict[int, int]]], scale: Callable[[int], int]
) -> None:
    number = scale(1_000_000)
    for site in sample(number, [0, 16, 1000], sample_period=64, sample_by="calls", seed=seed_):
        for size, samples in site.items():
            assert_near(samples, number, probability(1, 64), f"size {size}, seed {seed_}")


@pytest.mark.parametrize("by", ["bytes", "calls"])
@pytest.mark.parametrize("seed_", SEEDS)
def test_each_call_site_is_sampled_at_its_own_rate(
    by: str,
    seed_: int,
    program: Path,
    return_addresses: dict[str, int],
    sample: Callable[..., list[dict[int, int]]],
    scale: Callable[[int], int],
) -> None:
    rates = {"site_a": "8", "site_b": "1/16", "site_c": "0"}
    callers = ", ".join(f"{program.name}+0x{return_addresses[site]:x}={rate}" for site, rate in rates.items())
    number, size = scale(2_000_000), 100
    period = PERIOD if by == "bytes" else 64
    weight = size if by == "bytes" else 1
    counts = sample(number, [size], sample_period=period, sample_by=by, seed=seed_, callers=callers)
    periods = [period / 8, period * 16, None, period]
    for site, count, own in zip(SITES, counts, periods):
        p = 0.0 if own is None else probability(weight, own)
        if own is None:
            assert count[size] == 0, site
        else:
            assert_near(count[size], number, p, f"{site}, seed {seed_}, by {by}")


@pytest.mark.parametrize(("rate", "factor"), [("8", 8.0), ("1/16", 1 / 16), ("0", 0.0)])
def test_a_module_is_sampled_at_its_own_rate(
    rate: str,
    factor: float,
    program: Path,
    return_addresses: dict[str, int],
    sample: Callable[..., list[dict[int, int]]],
    scale: Callable[[int], int],
) -> None:
    number, size = scale(2_000_000), 100
    callers = f"elsewhere.so=3,{program.name}={rate},{program.name}+0x{return_addresses['site_d']:x}=2"
    *sites, own = sample(number, [size], sample_period=PERIOD, seed=7, callers=callers)
    for name, site in zip(SITES, sites):
        if factor == 0:
            assert site[size] == 0, name
        else:
            assert_near(site[size], number, probability(size, PERIOD / factor), name)
    assert_near(own[size], number, probability(size, PERIOD / 2), "the site named besides its module")

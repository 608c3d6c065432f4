"""What the pages make of sums is what Python makes of them: flamegraph/test/estimates.json holds the two together."""

from __future__ import annotations

import json

import numpy as np
import pytest

from poireau import estimates
from poireau.estimates import Estimates
from poireau.report.picture_text import sums
from tests.conftest import ROOT
from tests.poireau.report import goldens

VECTORS = ROOT / "flamegraph" / "test" / "estimates.json"
COLUMNS = ("value", "variance", "third", "seen", "samples", "unit")


def parts() -> list[dict[str, list[float]]]:
    """Sums of samples of few and many, small and large, all or some taken, with one period and several; in parts."""
    random = np.random.default_rng(8)
    found = [sums(estimates.nothing(1)), {**sums(estimates.nothing(1)), "unit": [524288]}]
    for number in range(300):
        count = int(random.choice([1, 1, 2, 3, 5, 20, 300]))
        periods = random.choice([1, 4096, 65536, 524288, 8 << 20], int(random.integers(1, 4)))
        lives = {
            "size": np.rint(np.exp(random.uniform(0, 18, count))),
            "period": random.choice(periods, count),
            "by_calls": np.full(count, number % 7 == 0),
            "born": np.zeros(count, np.int64),
            "died": random.integers(0, 10**11, count),
        }
        what = estimates.WHATS[number % 3]
        codes = random.integers(0, 3, count)
        whole = estimates.grouped(codes, 3, lives, what)
        found.append(sums(whole.take(np.unique(codes))))
    return found


def total(columns: dict[str, list[float]]) -> Estimates:
    return Estimates(*(np.array(columns[name], np.float64) for name in COLUMNS))


def test_golden_of_estimates_for_the_pages() -> None:
    cases = []
    for columns in parts():
        estimate = total(columns).sum()
        figures = {name: float(f"{getattr(estimate, name):.10g}") for name in ("value", "low", "high")}
        cases.append({"sums": columns, **figures, "samples": estimate.samples})
    lines = ",\n".join(json.dumps(case) for case in cases)
    goldens.check(str(VECTORS), f'{{"cases": [\n{lines}\n]}}\n')


def test_the_vectors_have_all_kinds_of_sums() -> None:
    cases = json.loads(VECTORS.read_text())["cases"]
    counts = {case["samples"] for case in cases}
    assert {0, 1, 2} < counts and max(counts) == 300
    assert any(case["low"] == case["high"] > 0 for case in cases)
    assert any(len(case["sums"]["value"]) == 3 for case in cases)
    assert all(case["low"] <= case["value"] <= case["high"] for case in cases)


@pytest.mark.parametrize("name", COLUMNS)
def test_sums_are_written_to_five_digits(name: str) -> None:
    exact = total({**{each: [0.0] for each in COLUMNS}, name: [123456789.0]})
    assert sums(exact)[name] == ([123456789] if name == "samples" else [123460000])

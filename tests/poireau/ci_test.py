"""What counts as a leak of several runs, and what JSON and words say of it."""

from __future__ import annotations

import numpy as np
import pytest

from poireau import ci, ci_report
from poireau.ci_run import Looked, Run
from poireau.estimate import Estimate
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("seen", "samples", "runs", "exact", "counts"),
    [
        (1, 50, 1, True, True),
        (1, 50, 5, True, False),  # every block is sampled: it leaked in that run only
        (3, 3, 5, True, True),
        (1, 1, 5, False, True),  # one sample may have been anywhere
        (1, 50, 5, False, False),  # ten a run, and four runs without
        (2, 3, 5, False, True),
    ],
)
def test_what_varies_is_told_from_what_is_sampled_seldom(
    seen: int, samples: int, runs: int, exact: bool, counts: bool
) -> None:
    assert ci._counts(seen, samples, runs, 0.5, exact) == counts


def test_leaks_of_each_run_alike_are_seldom_called_flaky(seed: int) -> None:
    """At 6 sigma of the 5 % that are promised."""
    random = np.random.default_rng(seed)
    runs, trials = 6, 4000
    wrong = 0
    for mean in (0.2, 0.5, 1.0, 2.0):
        of_runs = random.poisson(mean, (trials, runs))
        of_runs = of_runs[of_runs.sum(axis=1) > 0]
        counted = [ci._counts(int((each > 0).sum()), int(each.sum()), runs, 0.5, False) for each in of_runs]
        wrong = max(wrong, len(counted) - sum(counted))
    assert wrong <= 0.05 * trials + 6 * (0.05 * 0.95 * trials) ** 0.5


def check_of(status: int, leaked: Estimate, limits: ci.Limits) -> ci.Check:
    run = Run(ROOT, status, 1.0, ())
    return ci.Check(["./a b"], [run], limits, (), (), leaked, None, (), 0, ())


def test_a_check_fails_where_leaks_surely_are_too_many() -> None:
    maybe = Estimate(2000.0, 900.0, 4000.0, 3, 500.0)
    assert not check_of(0, maybe, ci.Limits(leak=1000)).failed
    assert check_of(0, maybe, ci.Limits(leak=800)).failed
    assert check_of(256, maybe, ci.Limits(leak=1000)).failed


def test_what_could_not_be_scanned_is_no_pass() -> None:
    looked = Looked("", "sealed[7]", np.zeros(0, np.uint64), 0, 0.0, (), "sealed[7] may not be looked into")
    nothing = Estimate(0.0, 0.0, 0.0, 0, 0.0)
    check = ci.Check(["x"], [Run(ROOT, 0, 1.0, (looked,))], ci.Limits(), (), (), nothing, None, (), 0, ())
    assert ci_report.cases(check)[-1].failure == "can't be looked for: sealed[7] may not be looked into"


def test_a_run_is_told_as_shells_tell_it() -> None:
    nothing = Estimate(0.0, 0.0, 0.0, 0, 0.0)
    assert [check_of(status, nothing, ci.Limits()).runs[0].exit_status for status in (0, 256, 9)] == [0, 1, 137]
    assert check_of(9, nothing, ci.Limits()).runs[0].told == "killed by SIGKILL"
    failing = check_of(256, nothing, ci.Limits())
    assert ci_report.suite(failing) == "poireau check: './a b'"
    assert [case.failure for case in ci_report.cases(failing)] == ["exit status 1", "", ""]
    assert ci_report.as_json(failing)["runs"][0]["status"] == 1

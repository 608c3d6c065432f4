"""The C++ unit tests, one case a binary. What they skip and what they exercised reaches the end of the run."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOAK, Exercised, clean_environment

# Which builds must have passing unit tests; `make soak` names more than the one every run has.
PRESETS = os.environ.get("POIREAU_CHECK_PRESETS", "dev").split()
RECORDED = "exercised_"  # RecordProperty("exercised_guards", "markers") becomes "exercised: guards: markers"
TIMEOUT = 7200 if SOAK else 600
SHOWN_LINES = 80  # of a failure: a property that fails once tends to fail a thousand times
SANITIZERS = {  # a finding must fail the test, and tsan's own report is the message
    "ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0",
}


def binaries(preset: str) -> list[Path]:
    """All there are, and all there should be: a test that was never built must not go unnoticed."""
    directory = ROOT / "build" / preset / "tests"
    present = {path for path in directory.rglob("*_test") if path.is_file() and os.access(path, os.X_OK)}
    known = {path.name for path in present}
    expected = {source.stem for source in (ROOT / "tests").rglob("*_test.cc")} if preset == "dev" else set()
    return sorted(present | {directory / name for name in expected - known})


CASES = [pytest.param(path, preset, id=f"{preset}-{path.name}") for preset in PRESETS for path in binaries(preset)]


@pytest.mark.parametrize("preset", PRESETS)
def test_each_build_under_check_has_unit_tests(preset: str) -> None:
    assert binaries(preset), f"build/{preset} has no unit tests: run `make build` or `scripts/build {preset}`"


@pytest.mark.parametrize(("binary", "preset"), CASES)
def test_unit_tests_pass(binary: Path, preset: str, tmp_path: Path, exercised: Exercised) -> None:
    assert binary.is_file(), f"{binary} was not built: run `make build`"
    report = tmp_path / "report.xml"
    command = [str(binary), "--gtest_brief=1", f"--gtest_output=xml:{report}"]
    scaling = {name: value for name, value in os.environ.items() if name in ("POIREAU_SOAK", "POIREAU_SEED")}
    environment = clean_environment(**SANITIZERS, **scaling)
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        if len(said) > SHOWN_LINES:
            said = [*said[: SHOWN_LINES // 2], f"... {len(said) - SHOWN_LINES} lines ...", *said[-SHOWN_LINES // 2 :]]
        pytest.fail("\n".join([f"{binary} ended with {done.returncode}", *said]), pytrace=False)
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert cases, f"{binary} holds no test"
    skips = [skipped for case in cases for skipped in case.iter("skipped")]
    for skipped in skips:
        reason = skipped.get("message", "").strip() or "no reason given"
        exercised.skip(f"{binary.name}: {reason.splitlines()[-1]}")
    for case in cases:
        for fact in case.iter("property"):
            if fact.get("name", "").startswith(RECORDED):
                exercised.add(fact.get("name", "").removeprefix(RECORDED), fact.get("value", ""))
    exercised.count("unit test cases", preset, len(cases) - len(skips))

"""The parsers, fed with what nobody would write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import SOAK, clean_environment

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("preset", ["asan", "ubsan"])
def test_no_configuration_breaks_the_parser(build, scale, seed, exercised, preset):
    seconds = scale(100)
    fuzzer = build.parent / preset / "config_fuzz"
    done = subprocess.run([fuzzer, str(seconds), str(seed)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"configuration ({preset}) {done.stdout.strip().splitlines()[-1]}")


@pytest.mark.parametrize("preset", ["asan", "ubsan"])
def test_no_request_breaks_the_process(build, seed, exercised, tmp_path, preset):
    # The corpus as it is, then mutations of it; `make soak` takes 10 minutes.
    seconds, seeds = 600 if SOAK else 10, sorted((CORPUS / "control").iterdir())
    assert len(seeds) >= 30
    fuzzer = build.parent / preset / "control_fuzz"
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [fuzzer, str(seconds), str(seed), *seeds]
    done = subprocess.run(command, env=environment, capture_output=True, errors="replace", timeout=seconds + 100)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"control requests ({preset}) {done.stdout.strip().splitlines()[-1]}")

"""The parsers, fed with what nobody would write."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.parametrize("preset", ["asan", "ubsan"])
def test_no_configuration_breaks_the_parser(build, scale, seed, exercised, preset):
    seconds = scale(100)
    fuzzer = build.parent / preset / "config_fuzz"
    done = subprocess.run([fuzzer, str(seconds), str(seed)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"configuration ({preset}) {done.stdout.strip().splitlines()[-1]}")

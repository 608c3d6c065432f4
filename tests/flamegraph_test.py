"""The pages' sources: their types, and their own tests."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("check", ["tsc --noEmit", "vitest run"])
def test_sources_of_pages_are_sound(check: str) -> None:
    command = ["npx", "--no-install", "--prefix", ".", *check.split()]
    done = subprocess.run(command, cwd=ROOT / "flamegraph", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)

"""The sources are as the formatters and checkers want them, and what is generated is up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CHECKS = {
    "format": ["scripts/format", "--check"],
    "ruff": [sys.executable, "-m", "ruff", "check", "--quiet"],
    "mypy": [sys.executable, "-m", "mypy", "--no-error-summary"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_sources_are_clean(check: str, build: Path) -> None:
    done = subprocess.run(CHECKS[check], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr + "\n`make format` mends what is about form", pytrace=False)

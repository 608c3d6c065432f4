"""What reports have looked like, in goldens/: `scripts/record-goldens` writes them, and tests compare."""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).parent / "goldens"
RECORDING = bool(os.environ.get("POIREAU_RECORD_GOLDENS"))


def check(name: str, got: str | bytes) -> None:
    """`name`: of the file."""
    path = DIRECTORY / name
    content = got if isinstance(got, bytes) else got.encode("utf-8", "surrogateescape")
    if RECORDING:
        DIRECTORY.mkdir(exist_ok=True)
        path.write_bytes(content)
    if not path.is_file():
        pytest.fail(f"{path} is not there: run scripts/record-goldens, and look at what it wrote", pytrace=False)
    expected = path.read_bytes()
    if content != expected:
        lines = [each.decode("utf-8", "backslashreplace").splitlines() for each in (expected, content)]
        shown = "\n".join(list(unified_diff(*lines, "recorded", "now", lineterm=""))[:60])
        pytest.fail(f"{path}: run scripts/record-goldens if this is meant\n{shown}", pytrace=False)

"""Traces of any size by tests/programs/trace_writer.cc: the same seed writes the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT

_SOURCES = ("preload/ctf.cc", "preload/ctf_metadata.cc", "preload/base/text.cc")


def write_trace(
    compile_c: Callable[..., Path],
    directory: Path,
    events: int,
    *,
    stacks: int = 1000,
    frames: int = 16,
    seed: int = 1,
    process: int = 4242,
) -> Path:
    """The directory of a process that did so many things, `stacks` different ones at most."""
    source = (ROOT / "tests" / "programs" / "trace_writer.cc").read_text()
    flags = ["-std=c++20", "-O2", f"-I{ROOT}", *(str(ROOT / each) for each in _SOURCES)]
    writer = compile_c(source, flags, "c++", "c++")
    arguments = map(str, (directory, seed, events, stacks, frames, process))
    subprocess.run([writer, *arguments], check=True, timeout=600)
    return directory

"""Who wrote a line, and when, as git has it: a question for each line, bounded in time, that runs nothing else."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from poireau.text import plain

SECONDS = 5.0
_QUIET = {"GIT_PAGER": "cat", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# Whatever the repository's configuration says: no hook, no monitor, no pager, nobody's program.
_OPTIONS = ["--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "blame.ignoreRevsFile="]
_SHORT = 10


def blame(row: Mapping[str, Any]) -> str:
    """`3f2a1b9c0d Ann Author, 2026-03-01: what it was for`; empty: there is no repository, or git says nothing."""
    file, line = str(row["file"]), int(row["line"])
    directory, name = os.path.split(file)
    if not os.path.isabs(file) or line <= 0 or not os.path.isfile(file):
        return ""
    command = ["git", "-C", directory, *_OPTIONS, "blame", "--no-textconv", "-L", f"{line},{line}", "--porcelain"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _QUIET
    try:
        done = subprocess.run(
            [*command, "--", name], capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _told(done.stdout.decode("utf-8", "replace")) if done.returncode == 0 else ""


def _told(porcelain: str) -> str:
    first, *rest = porcelain.split("\n")
    said = dict(line.partition(" ")[::2] for line in rest if line and not line.startswith("\t"))
    commit = first.partition(" ")[0]
    if not commit.strip("0"):
        return "blame: not committed yet"
    try:
        day = time.strftime("%Y-%m-%d", time.gmtime(int(said.get("author-time", "0"))))
    except (ValueError, OverflowError, OSError):
        day = "?"
    return plain(f"blame: {commit[:_SHORT]} {said.get('author', '?')}, {day}: {said.get('summary', '')}".rstrip(": "))

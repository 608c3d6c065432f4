"""How long the shell takes to its first prompt, and to the answers of a first and a second `top`: in a terminal of its
own, as somebody who types sees it. `python -m tests.bench.shell [--json] [TRACE]`"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, ROUNDS_OF_TRACE = 11, 3
PROMPT_LIMIT = 0.7  # seconds
PROMPT = b"poireau>"


def session(trace: str | None, state: str) -> dict[str, float]:
    """Seconds to the prompt, and, of a trace, to the prompts behind two commands."""
    began = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": state, "COLUMNS": "100", "LINES": "30"}
        os.execve(sys.executable, [sys.executable, str(ROOT / "poireau.py")], environment)
    _until(terminal, PROMPT)
    found = {"prompt": time.monotonic() - began}
    if trace is not None:
        for number, name in enumerate(("first", "second"), 1):
            began = time.monotonic()
            os.write(terminal, f"top {trace} > /dev/null\r={number}00 * 7 + 1\r".encode())
            _until(terminal, f"{number * 700 + 1}".encode())
            found[name] = time.monotonic() - began
    os.close(terminal)
    os.kill(pid, signal.SIGHUP)
    os.waitpid(pid, 0)
    return found


def _until(terminal: int, wanted: bytes, seconds: float = 20.0) -> None:
    """Who asks where the cursor is gets an answer, as from any terminal."""
    got, deadline = b"", time.monotonic() + seconds
    while wanted not in got:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise SystemExit(f"no {wanted!r} in {seconds:.0f} s: {got[-400:]!r}")
        got += os.read(terminal, 1 << 16)
        if b"\x1b[6n" in got:
            os.write(terminal, b"\x1b[1;1R")
            got = got.replace(b"\x1b[6n", b"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("trace", nargs="?")
    asked = parser.parse_args()
    count = ROUNDS if asked.trace is None else ROUNDS_OF_TRACE
    with tempfile.TemporaryDirectory() as state:
        rounds = [session(asked.trace, state) for _ in range(count)]
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    if asked.json:
        print(json.dumps(figures))
        return 0
    for name, seconds in figures.items():
        spread = sorted(each[name] for each in rounds)
        limit = f"; limit {PROMPT_LIMIT} s" if name == "prompt" else ""
        print(f"{name:<7} {seconds:.3f} s ({spread[0]:.3f} to {spread[-1]:.3f} in {count} rounds{limit})")
    return 0 if figures["prompt"] <= PROMPT_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

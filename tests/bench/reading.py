"""How fast a trace of our own is read to columns: a million events of 16 frames, 100,000 different stacks. By CPU time,
of which it takes one processor's; and how much memory that takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from poireau.reader import open_trace
from tests.trace_writer import write_trace

EVENTS, STACKS, FRAMES = 1_000_001, 100_000, 16
LIMIT = 3_000_000  # events a second


def events_a_second(rounds: int = 5) -> list[float]:
    """Of each round."""
    with tempfile.TemporaryDirectory() as directory:

        def compiled(source: str, flags: Sequence[str], compiler: str, language: str) -> Path:
            program = Path(directory, "writer")
            command = [compiler, "-x", language, "-", "-x", "none", "-o", program, *flags]
            subprocess.run(command, input=source, text=True, check=True)
            return program

        trace = write_trace(compiled, Path(directory, "trace"), EVENTS, stacks=STACKS, frames=FRAMES)
        return [_read(trace) for _ in range(rounds)]


def _read(trace: Path) -> float:
    opened = open_trace([trace])
    begin = time.process_time()
    events = sum(len(columns["order"]) for batch in opened.batches() for columns in batch.values())
    tables = opened.tables()
    passed = time.process_time() - begin
    opened.close()
    assert events == EVENTS and not tables.losses and len(tables.stack_ends) > 0.99 * STACKS
    return events / passed


if __name__ == "__main__":
    rates = events_a_second()
    print("our own layout:", ", ".join(f"{rate / 1e6:.2f}" for rate in rates), "M events/s,", end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB, {os.cpu_count()} processors")
    raise SystemExit(max(rates) < LIMIT)

"""reading.py [LIBRARY]: how fast traces are read to columns: our own layout, a million events of 16 frames, 100,000
different stacks; and what LTTng recorded of as many, if it is told which library is to be profiled. By CPU time, in
turns, the median of each: whatever else the machine does weighs on both. And how much memory that takes."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from poireau.reader import open_trace
from tests.bench import reading_lttng
from tests.trace_writer import write_trace

EVENTS, STACKS, FRAMES = 1_000_001, 100_000, 16
LIMIT = 3_000_000  # events a second
ROUNDS = 7
NAMES = {"own": "our own layout", "lttng": "LTTng's"}


def write(directory: str) -> Path:
    def compiled(source: str, flags: Sequence[str], compiler: str, language: str) -> Path:
        program = Path(directory, "writer")
        command = [compiler, "-x", language, "-", "-x", "none", "-o", program, *flags]
        subprocess.run(command, input=source, text=True, check=True)
        return program

    return write_trace(compiled, Path(directory, "trace"), EVENTS, stacks=STACKS, frames=FRAMES)


def rate(trace: Path) -> float:
    """Events a second."""
    opened = open_trace([trace])
    begin = time.process_time()
    events = sum(len(columns["order"]) for batch in opened.batches() for columns in batch.values())
    tables = opened.tables()
    passed = time.process_time() - begin
    opened.close()
    assert events == EVENTS and not tables.losses and len(tables.stack_ends) > 0.99 * STACKS
    return events / passed


def main(arguments: Sequence[str]) -> bool:
    """Whether all are as fast as they are to be. `arguments`: --json, and a library that LTTng is to record with."""
    libraries = [each for each in arguments if each != "--json"]
    with ExitStack() as held:
        trace = write(held.enter_context(tempfile.TemporaryDirectory()))
        measures: dict[str, tuple[Callable[[], float], int]] = {"own": (partial(rate, trace), LIMIT)}
        for library in libraries:
            theirs = held.enter_context(reading_lttng.recorded(Path(library).resolve()))
            measures["lttng"] = partial(reading_lttng.rate, theirs), reading_lttng.LIMIT
        rates = [{name: measure() for name, (measure, _) in measures.items()} for _ in range(ROUNDS)]
    if "--json" in arguments:
        print(json.dumps({name: [round_[name] for round_ in rates] for name in measures}))
        return True
    fast = True
    for name, (_, limit) in measures.items():
        each = [round_[name] for round_ in rates]
        median = statistics.median(each)
        fast = fast and median >= limit
        print(f"{NAMES[name]}: {median / 1e6:.2f} M events/s ({min(each) / 1e6:.2f} to {max(each) / 1e6:.2f})")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB, {os.cpu_count()} processors")
    return fast


if __name__ == "__main__":
    raise SystemExit(not main(sys.argv[1:]))

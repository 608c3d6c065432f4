"""What LTTng has recorded, for reading.py: events with some frames, through libbabeltrace2, to columns."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poireau.native import binding
from tests.e2e.lttng_test import lttng_of

FRAMES = 16
LIMIT = 400_000  # events a second
PROGRAM = """
#include <stdlib.h>
static __attribute__((noinline)) void down(int frames, long count) {
  if (frames != 0) down(frames - 1, count);
  else while (count-- != 0) { void* volatile block = malloc(100); free(block); }
  __asm__ volatile("");
}
int main(int arguments, char** argument) {
  for (int i = 0; i < 100; ++i) down(FRAMES - 4 + i % 5, atol(argument[1]) / 200);
  return 0;
}
"""


@contextmanager
def recorded(library: Path, events: int = 1_000_000) -> Iterator[Path]:
    """A trace of so many."""
    for lttng in lttng_of(False, library):
        program = lttng.folder / "program"
        command = ["cc", "-O1", "-fno-optimize-sibling-calls", f"-DFRAMES={FRAMES}", "-xc", "-", "-o", program]
        subprocess.run(command, input=PROGRAM, text=True, check=True)
        output = lttng.folder / "trace"
        lttng.run(["lttng", "create", "s", f"--output={output}"])
        lttng.run(["lttng", "enable-channel", "-u", "-s", "s", "--subbuf-size=8M", "--num-subbuf=8", "c"])
        lttng.run(["lttng", "enable-event", "-u", "-s", "s", "-c", "c", "poireau:*"])
        lttng.run(["lttng", "add-context", "-u", "-s", "s", "-c", "c", "-t", "vpid", "-t", "vtid"])
        lttng.run(["lttng", "start", "s"])
        lttng.run(lttng.profiled([program, str(events)], OVERHEAD_BUDGET="off"))
        lttng.run(["lttng", "destroy", "s"])
        yield output


def rate(trace: Path) -> float:
    """Events a second."""
    reader = binding.Reader(binding.BABELTRACE, [trace])
    begin = time.process_time()
    events = sum(len(columns["order"]) for batch in reader.batches() for columns in batch.values())
    passed = time.process_time() - begin
    reader.close()
    return events / passed

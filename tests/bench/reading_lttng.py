"""How fast what LTTng has recorded is read: events with some frames, through libbabeltrace2, to columns. By CPU time,
of which it takes one processor's."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

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


def events_a_second(library: Path, events: int = 1_000_000, rounds: int = 3) -> list[float]:
    """Of each round."""
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
        return [_read(output) for _ in range(rounds)]
    raise AssertionError("unreachable")


def _read(trace: Path) -> float:
    reader = binding.Reader(binding.BABELTRACE, [trace])
    begin = time.process_time()
    events = sum(len(columns["order"]) for batch in reader.batches() for columns in batch.values())
    passed = time.process_time() - begin
    reader.close()
    return events / passed


if __name__ == "__main__":
    rates = events_a_second(Path(sys.argv[1]))
    print("LTTng, through libbabeltrace2:", ", ".join(f"{rate:,.0f} events/s" for rate in rates))
    raise SystemExit(max(rates) < LIMIT)

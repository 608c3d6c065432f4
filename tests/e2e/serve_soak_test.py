"""An hour of a busy day and more, sixty times as fast: processes come and go, are watched and left, and the daemon's
memory stays what it is. Its clock is what goes faster: points, their thinning, sums made anew, leaks, alerts."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tests.e2e.serving import Daemon, until

PACE, HOURS = 60, 5
MOST = 300 << 20  # bytes
CHURN = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void* any(int d, size_t s);
#define G(n) __attribute__((noinline)) static void* f##n(int d, size_t s) { return memset(any(d, s), 1, 8); }
G(0) G(1) G(2) G(3) G(4) G(5) G(6) G(7)
static void* (*const every[])(int, size_t) = {f0, f1, f2, f3, f4, f5, f6, f7};
__attribute__((noinline)) static void* any(int d, size_t s) { return d <= 1 ? malloc(s) : every[d & 7](d >> 3, s); }
int main(void) {
  static void* kept[20000];
  for (unsigned n = 1;; usleep(1000))
    for (int i = 0; i < 200; ++i) {
      n = n * 1103515245 + 12345;
      void** at = &kept[n / 65536 % 20000];
      free(*at);
      *at = any(512 + n / 65536 % 512, 16 + n / 65536 % 9000);
    }
}
"""


@pytest.mark.soak
def test_hours_of_work_leave_its_memory_as_it_was(
    compile_c: Callable[..., Path], library: Path, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    program = compile_c(CHURN, ["-O1", "-fno-builtin", "-fno-optimize-sibling-calls"])
    env = clean_environment(LD_PRELOAD=str(library), POIREAU_TRACE=str(tmp_path), POIREAU_SAMPLE_PERIOD="8K")
    daemon = Daemon(tmp_path / "log", pace=PACE)
    seconds = float(os.environ.get("POIREAU_SOAK_SECONDS", HOURS * 3600 / PACE))
    running, sizes, until_then = list[subprocess.Popen[bytes]](), list[int](), time.monotonic() + seconds
    try:
        while time.monotonic() < until_then:
            running.append(subprocess.Popen([program], env=env))
            row = daemon.listed(running[-1].pid)
            events = daemon.events(row["id"], draw.choice(["line", "function", "stack", "thread", "size"]))
            events.wait("point")
            daemon.get(f"/api/flame?id={row['id']}")
            time.sleep(draw.random() * 10)
            if draw.random() < 0.5:
                events.close()
            if len(running) > 3:
                gone = running.pop(draw.randrange(len(running)))
                gone.kill()
                gone.wait()
            sizes.append(
                int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            )
            assert sizes[-1] < MOST, sizes
        assert until(lambda: daemon.get("/api/processes"))
        points = len(events.all("point"))
        print(
            f"{max(sizes) >> 20} MiB at the most, {sizes[-1] >> 20} at the end, in {len(sizes)} rounds; {points} points"
        )
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert daemon.end() == 0

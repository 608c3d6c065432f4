"""How fast a process is scanned, and for how long it is stopped: `python -m tests.bench.scan [--json] [GIB]`.

The process has so many GiB of memory that is read (random bytes, words that look like pointers here and there), some
sampled blocks, a third of which nothing points at, and threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT, clean_environment

MOST_SECONDS, MOST_STOPPED, LEAST_RATE = 1.0, 0.050, 2e9  # seconds a GiB; seconds; bytes a second and core
BLOCKS, THREADS = 20_000, 32

PROGRAM = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void* rest(void* unused) { for (;;) pause(); return unused; }
int main(int argc, char** argv) {
  const size_t size = strtoull(argv[1], NULL, 10) << 20;
  const long blocks = atol(argv[2]), threads = atol(argv[3]);
  uint64_t* words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(words, size, MADV_NOHUGEPAGE);
  uint64_t x = 88172645463325252;
  for (size_t i = 0; i < size / 8; ++i) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    words[i] = i % 16 == 0 ? (uint64_t)(words + x % (size / 8)) : i % 3 ? x : x & 0xffff;
  }
  for (long i = 0; i < blocks; ++i) {
    void* got = malloc(64 + i % 1000);
    memset(got, 0, 64);
    if (i % 3) words[(size_t)(i * 7919 + 13) % (size / 8)] = (uint64_t)got;
  }
  pthread_t thread;
  for (long i = 0; i < threads; ++i) pthread_create(&thread, NULL, rest, NULL);
  puts("ready");
  fflush(stdout);
  return (int)read(0, words, 1);
}
"""


def measure(mib: int) -> dict[str, float]:
    import poireau
    from poireau import scan
    from poireau.reached import LOST

    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "program"
        subprocess.run(
            ["cc", "-O2", "-fno-builtin", "-pthread", "-x", "c", "-", "-o", program],
            input=PROGRAM,
            text=True,
            check=True,
        )
        library = os.environ.get("POIREAU_LIBRARY", str(ROOT / "build/release/libpoireau.so"))
        environment = clean_environment(LD_PRELOAD=library, POIREAU_SAMPLE_PERIOD="1", POIREAU_TRACE=directory)
        environment |= {"POIREAU_TRACE_LIMIT": "128M", "POIREAU_OVERHEAD_BUDGET": "off"}
        command = [program, str(mib), str(BLOCKS), str(THREADS)]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin and process.stdout
            try:
                assert process.stdout.readline() == "ready\n"
                heap = poireau.open(directory)
                cpu, begun = time.process_time(), time.monotonic()
                seen = scan.of_process(process.pid)
                seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
                found = scan.look(heap, apart=0.0)
            finally:
                process.kill()
    return {
        "bytes": seen.facts.bytes,
        "seconds": seconds,
        "rate": seen.facts.bytes / max(cpu, 1e-9),
        "stopped": max(found.stopped_seconds, seen.facts.stopped_seconds),
        "blocks": seen.facts.blocks,
        "lost": int((found.state == LOST).sum()),
    }


def main(arguments: list[str]) -> int:
    sizes = [each for each in arguments if each != "--json"]
    mib = int(float(sizes[0]) * 1024) if sizes else 4096
    got = measure(mib)
    if "--json" in arguments:
        print(json.dumps(got))
    else:
        print(
            f"scan of {got['bytes'] / (1 << 30):.2f} GiB: {got['seconds']:.2f} s, {got['rate'] / 1e9:.1f} GB/s a core; "
            f"{got['blocks']} blocks, {got['lost']} lost; {THREADS} threads, "
            f"stopped {got['stopped'] * 1e3:.2f} ms at most"
        )
    kept = got["seconds"] <= MOST_SECONDS * mib / 1024 and got["stopped"] <= MOST_STOPPED and got["rate"] >= LEAST_RATE
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

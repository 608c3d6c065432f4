"""How long `ps` takes among many processes that have the library, some of them idle, and what starting us costs.

.venv/bin/python -m tests.bench.listing [--json] [LIBRARY]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, RUNS = 200, 5
PS_SECONDS, START_SECONDS = 1.0, 0.1
SOURCE = """
#include <stdlib.h>
#include <unistd.h>
int main(int count, char** arguments) {
  for (int i = 0; i < 64; ++i) *(char* volatile)malloc(1 << 16) = 1;
  for (;; usleep(100000)) {
    char* volatile block = malloc(count > 1 ? 1 << 20 : 1);
    free(block);
  }
}
"""


def seconds(*words: str) -> float:
    """The median of some."""
    taken = []
    for _ in range(RUNS):
        begin = time.monotonic()
        done = subprocess.run([PYTHON, ROOT / "poireau.py", *words], capture_output=True, text=True, check=True)
        taken.append(time.monotonic() - begin)
        if words == ("ps",) and len(done.stdout.splitlines()) <= PROCESSES:
            raise SystemExit(f"ps has not found all of them: {done.stderr}")
    return statistics.median(taken)


PYTHON = "/usr/bin/python3"  # bare: these need nothing else


def measure(library: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="poireau-listing-") as directory:
        program = Path(directory, "program")
        subprocess.run(["cc", "-O1", "-x", "c", "-", "-o", program], input=SOURCE, text=True, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "POIREAU_TRACE": directory}
        started = [
            subprocess.Popen([program, *(["works"] if number % 2 else [])], env=environment)
            for number in range(PROCESSES)
        ]
        try:
            time.sleep(2)
            figures = {"ps": seconds("ps")}
        finally:
            for each in started:
                each.kill()
                each.wait()
    return {**figures, **{word: seconds(word) for word in ("lib", "--help")}}


def main(arguments: list[str]) -> int:
    words = [word for word in arguments if word != "--json"]
    figures = measure(Path(words[0]) if words else ROOT / "build" / "release" / "libpoireau.so")
    if "--json" in arguments:
        print(json.dumps(figures))
    else:
        for name, taken in figures.items():
            print(f"{name:<8} {taken:.3f} s")
    return int(figures["ps"] > PS_SECONDS or figures["lib"] > START_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""What `serve` takes of a processor, and of memory, while it streams a program of 500 stacks twice a second: the
daemon's own CPU time, as the kernel counts it, over the seconds in which somebody watched."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.serving import STACKS, Crowd, Served, cpu_of, memory_of  # noqa: E402

SECONDS, WARM = 60.0, 15.0  # the first leaks have been looked for by then
SHARE, MEMORY = 0.10, 300 << 20  # at most
BYS = ("stack", "line")


def watched(served: Served, pid: int, by: str, seconds: float) -> dict[str, Any]:
    url = urlsplit(served.url)
    token = url.query

    def get(path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("GET", f"{path}&{token}" if "?" in path else f"{path}?{token}")
        return connection.getresponse()

    until = time.monotonic() + 60
    while not (found := [row for row in json.load(get("/api/processes"))["processes"] if row["pid"] == pid]):
        assert time.monotonic() < until, "it is not found"
        time.sleep(0.2)
    stream = get(f"/api/events?watch={found[0]['id']}&by={by}")
    size, points = 0, 0
    begin = cpu = 0.0
    while not begin or time.monotonic() - begin < seconds:
        line = stream.readline()
        size += len(line)
        points += line.startswith(b"event: point")
        if points == round(2 * WARM) and not begin:
            begin, cpu, size, points = time.monotonic(), cpu_of(served.pid), 0, 0
    took = time.monotonic() - begin
    return {
        "share": (cpu_of(served.pid) - cpu) / took,
        "points_per_second": points / took,
        "bytes_per_second": size / took,
        "memory": memory_of(served.pid),
    }


def main() -> int:
    figures: dict[str, Any] = {}
    with Crowd(POIREAU_SAMPLE_PERIOD="64K") as crowd:
        for by in BYS:
            with Served() as served:
                figures[by] = found = watched(served, crowd.pid, by, SECONDS)
            print(
                f"{STACKS} stacks by {by}: {found['share']:.1%} of a core (at most {SHARE:.0%}), "
                f"{found['points_per_second']:.2f} points and {found['bytes_per_second'] / 1000:.1f} kB a second, "
                f"{found['memory'] / (1 << 20):.0f} MiB of memory (at most {MEMORY >> 20})",
                flush=True,
            )
    (ROOT / "build" / "serving.json").write_text(json.dumps(figures, indent=1))
    bad = [by for by, each in figures.items() if each["share"] > SHARE or each["memory"] > MEMORY]
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("POIREAUPY_NATIVE", str(ROOT / "build" / "dev"))
    sys.exit(main())

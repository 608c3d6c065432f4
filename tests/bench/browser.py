"""Pages in Chromium: that of a trace of a hundred thousand stacks, how large it is, how long until it is seen, and how
long until what was clicked is; and what the live page takes, here and in its server, of a program with 500 stacks.

`python -m tests.bench.browser [--json] [--live SECONDS]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.pictures import measure
from tests.bench.reporting import EVENTS, FRAMES, ROOT, STACKS, WRITER
from tests.browser.browsers import Browser, Page
from tests.browser.serving import Crowd, Served, cpu_of, memory_of, own_memory_of, watch

WRITTEN, BYTES, PAINT, ZOOM = 3.0, 8 << 20, 1500.0, 100.0  # s without reading the trace; bytes; ms; ms
SERVER, PAGE = 0.10, 0.25  # of a core
ROUNDS, ZOOMS = 5, 9
# From an input to the frame that shows what came of it, as Chromium itself tells; in steps of 8 ms.
_WATCH = """
window.took = [];
new PerformanceObserver((list) => { for (const each of list.getEntries()) window.took.push(each.duration); })
  .observe({ type: 'event', durationThreshold: 16 });
"""
_FRAME = "new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(() => then(performance.now()))))"
_DRAWN = f"Promise.resolve(poireau.shown).then(() => {_FRAME})"


def of_file(browser: Browser, page: Path) -> dict[str, float]:
    """Milliseconds until it is drawn, and until what a key asked for is: the middle of some rounds, the worst."""
    drawn, took = [], []
    for _ in range(ROUNDS):
        shown = browser.open(page, width=1920, height=1080)
        drawn.append(float(shown.evaluate(_DRAWN)))
        took += _zooms(shown)
        shown.close()
    return {
        "drawn_ms": statistics.median(drawn),
        "zoom_ms": statistics.median(took),
        "slowest_zoom_ms": max(took),
    }


def _zooms(page: Page) -> list[float]:
    """In, three levels at a time, and out again."""
    page.evaluate(_WATCH)
    page("focus", "[role=tree]")
    took = []
    for number in range(ZOOMS):
        if number % 3 < 2:
            page.key("ArrowDown", "ArrowDown", "ArrowDown")
        time.sleep(0.2)
        page.evaluate("void (window.took.length = 0)")
        page.key("Enter" if number % 3 < 2 else "Escape")
        time.sleep(0.3)
        took.append(float(page.evaluate("Math.max(0, ...window.took)")))
    return took


def of_live(browser: Browser, seconds: float) -> dict[str, float]:
    """Shares of a core that the server and the page take, and their memory, once all stacks are there."""
    with Crowd() as crowd, Served() as served:
        page = browser.open(served.url)
        watch(page, crowd.pid)
        time.sleep(10)
        server, before = cpu_of(served.pid), _cpu_of_chromium(browser)
        began = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        figures = {
            "server_share": (cpu_of(served.pid) - server) / passed,
            "page_share": (_cpu_of_chromium(browser) - before) / passed,
            "server_bytes": float(memory_of(served.pid)),
            "page_bytes": float(_memory_of_chromium(browser)),
        }
        page.close()
    return figures


def _cpu_of_chromium(browser: Browser) -> float:
    """All of its processes: what paints is apart from what computes."""
    return sum(float(each["cpuTime"]) for each in browser.processes())


def _memory_of_chromium(browser: Browser) -> int:
    """Of the process that has the page; there are spare ones."""
    return max(own_memory_of(each["id"]) for each in browser.processes() if each["type"] == "renderer")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--live", type=float, default=30, metavar="SECONDS")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="poireau-browser-") as directory:
        writer, trace, picture = (Path(directory, name) for name in ("trace_writer", "trace", "flame.html"))
        subprocess.run(["c++", "-std=c++20", "-O2", f"-I{ROOT}", *WRITER, "-o", writer], cwd=ROOT, check=True)
        subprocess.run([writer, trace, "1", str(EVENTS), str(STACKS), str(FRAMES)], check=True)
        figures: dict[str, Any] = measure(trace, picture, ["flame"])
        browser = Browser(Path(directory))
        try:
            figures |= of_file(browser, picture)
            figures |= of_live(browser, asked.live)
        finally:
            browser.end()
    limits = {
        "drawing_seconds": WRITTEN,
        "bytes": BYTES,
        "drawn_ms": PAINT,
        "slowest_zoom_ms": ZOOM,
        "server_share": SERVER,
        "page_share": PAGE,
    }
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<18} {value:12.3f}" + (f"  at most {limits[name]:g}" if name in limits else ""))
    return int(any(figures[name] > limit for name, limit in limits.items()))


if __name__ == "__main__":
    sys.exit(main())

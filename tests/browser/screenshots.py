"""What scripts/screenshots does: the demo's server under load, its pages in Chromium, four pictures in docs/."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from demo.load import Client, Load
from tests.browser.browsers import ROOT, Browser, Page
from tests.browser.serving import Served, Target, environment, watch

MOST = 250_000  # bytes
WAVES = 5  # of uploads, 5 s each
_LEAK = "note"


def take(page: Page, name: str) -> None:
    """In 256 colours, which is a third of the size."""
    path = page.screenshot(ROOT / "docs" / f"{name}.png")
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    assert size < MOST, f"{path} is of {size} bytes"
    print(f"{path.relative_to(ROOT)}: {size / 1024:.0f} KiB")
    page.close()


def poireau(*words: str | Path) -> None:
    subprocess.run([sys.executable, ROOT / "poireau.py", *words], env=environment(), check=True)


def make(browser: Browser, directory: Path) -> None:
    program, heap, growth = (directory / name for name in ("demo", "heap.html", "growth.html"))
    source = ROOT / "demo" / "demo.cc"
    build = ["g++", "-std=c++20", "-O2", "-g", "-pthread", f"-ffile-prefix-map={ROOT}=/src", "-o", program, source]
    subprocess.run(build, check=True)
    with Target([program], POIREAU_SAMPLE_PERIOD="256K", POIREAU_GUARD="all") as server, Served() as served:
        port = int(server.told(re.compile(r"port (\d+)"))[1])
        load = Load(port)
        page = browser.open(served.url, height=900)
        watch(page, server.pid)
        client = Client(port)
        for wave in range(WAVES):
            names = [f"w{wave}-{number}" for number in range(25)]
            for name in names:
                client.ask(f"upload {name} {300_000 + 100_000 * (wave % 3)}")
                time.sleep(0.08)
            time.sleep(1)
            for name in names:
                client.ask(f"cancel {name}")
                time.sleep(0.04)
            time.sleep(1)
        for attempt in range(100):
            client.ask(f"upload u{attempt} 4000", f"cancel u{attempt}", f"sum u{attempt}")
        page.until("/error/.test(document.querySelector('table[aria-label=Processes]').innerText)")
        name = json.dumps(os.uname().nodename)
        page.evaluate(
            "(() => { for (const each of document.querySelectorAll('header span'))"
            f" each.textContent = each.textContent.replace({name}, 'somewhere') }})()"
        )
        take(page, "live")
        load.stop()
        poireau("flame", server.traces, "-o", heap)
        poireau("stream", server.traces, "-o", growth)
    for name, dark, act in (("flame", False, zoomed), ("flame-dark", True, brushed)):
        page = browser.open(heap, dark=dark)
        page.shown("root()")
        act(page)
        take(page, name)
    page = browser.open(growth)
    page.shown("bands()")
    take(page, "stream")


def zoomed(page: Page) -> None:
    """Something is pointed at."""
    page.point(page.box(_LEAK))
    page.until("document.querySelector('[role=tooltip]:not([hidden])')")


def brushed(page: Page) -> None:
    """The middle of the time: what was allocated in it and is held still; zoomed to who answers."""
    page.shown("root()")
    page.drag("[role=group][aria-label=Timeline] .plot", 0.4, 0.7)
    page.choose("Window shows", "held")
    page.click_box(_LEAK)


def main() -> None:
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="poireau-screenshots-") as directory:
        browser = Browser(Path(directory))
        try:
            make(browser, Path(directory))
        finally:
            browser.end()


if __name__ == "__main__":
    main()

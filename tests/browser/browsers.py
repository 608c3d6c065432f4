"""Debian's Chromium, driven by playwright-core through driver.mjs: pages as functions that a test calls.

    page = browser.open(path, width=1280, height=720, dark=True)
    page.click("role=button[name='invert']")
    page.key("Escape")
    assert page.text("#total") == "12 MiB"

What isn't here is a method of playwright's Page, by its name: page("mouse.wheel", 0, 100). Chromium ends when its
driver's input does, however this process ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import ROOT

HERE = Path(__file__).parent
PACKAGES = ROOT / "flamegraph"
LONGEST = 20_000  # ms that anything may take to come


class Browser:
    def __init__(self, directory: Path) -> None:
        """`directory`: where downloads go."""
        chromium = shutil.which("chromium")
        assert chromium, "chromium is not installed: run `make setup`"
        assert (PACKAGES / "node_modules" / "playwright-core").is_dir(), "run `scripts/build pages`"
        self._log = (directory / "driver.log").open("w+")
        self._driver = subprocess.Popen(
            ["node", HERE / "driver.mjs", PACKAGES, chromium, directory / "downloads"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "FONTCONFIG_FILE": str(HERE / "fonts.conf"), "XDG_CACHE_HOME": str(directory / "cache")},
        )

    def call(self, call: str, *given: Any, page: int | None = None) -> Any:
        assert self._driver.stdin and self._driver.stdout
        self._driver.stdin.write(json.dumps({"page": page, "call": call, "with": given}) + "\n")
        self._driver.stdin.flush()
        line = self._driver.stdout.readline()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"the driver has ended with {self._driver.wait()}: {self._log.read()}")
        answer = json.loads(line)
        assert "error" not in answer, f"{call}{given}: {answer['error']}"
        return answer["value"]

    def open(self, where: Path | str, *, width: int = 1280, height: int = 720, dark: bool = False, **more: Any) -> Page:
        """A page in a profile of its own. `more`: playwright's own options of a context."""
        scheme = "dark" if dark else "light"
        given = {"viewport": {"width": width, "height": height}, "colorScheme": scheme, "reducedMotion": "reduce"}
        page = Page(self, self.call("open", {**given, **more}))
        page.goto(where)
        return page

    def processes(self) -> list[Mapping[str, Any]]:
        """Chromium's own: type, id, cpuTime in seconds."""
        told: list[Mapping[str, Any]] = self.call("processes")
        return told

    def end(self) -> None:
        assert self._driver.stdin
        self._driver.stdin.close()
        self._driver.wait(timeout=60)
        self._log.close()


class Page:
    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self._number = number
        self.origin = ""
        self.url = ""
        self.expected: list[str] = []  # what console errors may hold

    def __call__(self, call: str, *given: Any) -> Any:
        return self._browser.call(call, *given, page=self._number)

    def goto(self, where: Path | str) -> None:
        self.url = where.as_uri() if isinstance(where, Path) else where
        parts = urlsplit(self.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self("goto", self.url)

    def reload(self) -> None:
        self("reload")

    def evaluate(self, expression: str) -> Any:
        return self("evaluate", expression)

    def until(self, expression: str) -> None:
        """Waits for it to be true."""
        self("until", expression, LONGEST)

    def click(self, where: str, **options: Any) -> None:
        self("click", where, options)

    def key(self, *keys: str) -> None:
        for each in keys:
            self("keyboard.press", each)

    def type(self, text: str) -> None:
        self("keyboard.type", text)

    def text(self, where: str = "body") -> str:
        told: str = self("innerText", where)
        return told

    def screenshot(self, path: Path) -> Path:
        self("screenshot", {"path": str(path), "animations": "disabled", "caret": "hide"})
        return path

    def choose(self, label: str, value: str) -> None:
        self("selectOption", f"select[aria-label='{label}'], label:has-text('{label}') select", value)

    def point(self, box: Mapping[str, float]) -> None:
        """At its middle."""
        self("mouse.move", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def drag(self, where: str, begin: float, end: float) -> None:
        """From one share of its width to another."""
        area = self.evaluate(f"document.querySelector({json.dumps(where)}).getBoundingClientRect().toJSON()")
        height = area["y"] + area["height"] / 2
        x = [area["x"] + share * area["width"] for share in (begin, (begin + end) / 2, end)]
        self("mouse.move", x[0], height)
        self("mouse.down")
        for each in x[1:]:
            self("mouse.move", each, height)
        self("mouse.up")

    def shown(self, what: str) -> Any:
        """What the page's own component says: `root()`, `view()`."""
        return self.evaluate(f"Promise.resolve(poireau.shown).then((shown) => shown.{what})")

    def box(self, function: str) -> Mapping[str, float]:
        """Where the widest box of that function is."""
        found: Mapping[str, float] | None = self.shown(f"at({json.dumps(function)})")
        assert found, f"no box of {function} is drawn"
        return found

    def click_box(self, function: str) -> None:
        self.point(self.box(function))
        self("mouse.down")
        self("mouse.up")

    def downloads(self) -> list[tuple[str, Path]]:
        return [(each["name"], Path(each["path"])) for each in self("downloads")]

    def axe(self) -> list[str]:
        """What is seriously wrong for who can't see it all, or has no mouse; a line each."""
        options = {"resultTypes": ["violations"]}
        return [
            f"{each['impact']}: {each['id']}: {each['help']}: {each['at'][:3]}"
            for each in self("axe", options)
            if each["impact"] in ("serious", "critical")
        ]

    def memory(self) -> float:
        """Bytes that its script holds."""
        self("devtools", "HeapProfiler.collectGarbage")
        return float(self("devtools", "Runtime.getHeapUsage")["totalSize"])

    def misbehaviour(self) -> list[str]:
        """Requests to anywhere else, errors, dialogs: what no page of ours ever does."""
        seen = self("seen")
        inner = ("data:", "blob:", "about:")
        if self.origin == "file://":
            away = [
                url
                for url in seen["requests"]
                if url.partition("#")[0] != self.url.partition("#")[0] and not url.startswith(inner)
            ]
        else:
            away = [url for url in seen["requests"] if not url.startswith((f"{self.origin}/", *inner))]
        bad = [line for line in seen["console"] if line.startswith(("error", "warning"))]
        bad = [line for line in bad if not any(each in line for each in self.expected)]
        return [
            *(f"asks {url}" for url in away),
            *bad,
            *seen["errors"],
            *(f"dialog: {each}" for each in seen["dialogs"]),
        ]

    def close(self) -> None:
        self("close")

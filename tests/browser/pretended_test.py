"""The live page at its ends: told by a server that is not the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.browsers import Page
from tests.browser.heaps import HOSTILE
from tests.browser.pretended import BEGIN, Event, Pretended, band, bands, estimate, history, point, process
from tests.browser.serving import AWAY
from tests.browser.shots import looks_as_before

Opened = Callable[..., Page]
MANY = 1000
NAMES = ["load_table", "Cache::put", "read_request", "Job::Job"]
ID = "4711-1"
TIMES = [BEGIN + 500 * at for at in range(120)]
_CUT = """[...document.querySelectorAll('.processes td.number')]
  .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.innerText)"""
# Bytes of the drawn canvas; where in it there is nothing but paper and rules: a share of its width to another.
_DRAWN = "document.querySelector('canvas').toDataURL()"
_COLOURS = """((share) => {{
  const canvas = document.querySelector('canvas');
  const at = [Math.round(canvas.width * share), Math.round(canvas.height * 0.1), 1, Math.round(canvas.height * 0.5)];
  const bytes = canvas.getContext('2d').getImageData(...at).data;
  return new Set(Array.from({{ length: bytes.length / 4 }}, (_, i) => bytes.slice(4 * i, 4 * i + 4).join())).size;
}})({share})"""


def processes(*all: dict[str, Any], more: int = 0) -> Event:
    return "processes", {"processes": list(all), "more": more}


def leak(name: str, **more: Any) -> dict[str, Any]:
    found = {
        "verdict": "leak",
        "reason": "it grows all the time",
        "function": name,
        "file": f"/src/{name}.cc",
        "line": 7,
    }
    rate = {"value": 3e9, "ci95": [2.5e9, 3.6e9]}
    return {**found, "where": [name, "main"], "bytes": estimate(5e7), "rate": rate, "known": False, **more}


def error(name: str, thread: str = "worker") -> dict[str, Any]:
    stacks = {"where": [name, "main"], "allocated": [name], "freed": [name, "main"]}
    return {
        "t": BEGIN,
        "kind": "use-after-free",
        "message": f"use after free: {name}",
        "thread": thread,
        **stacks,
        "count": 3,
    }


def health() -> Event:
    costs = {"samples": 12_345, "lost": 0, "drops": {"ring_full": 3}, "overhead": 0.004, "rss": 5_000_000}
    return "health", {
        "period": 1 << 19,
        "governed": True,
        **costs,
        "trace_bytes": 1_234_567,
        "written": "/var/lib/trace",
    }


def server() -> Pretended:
    watched = [
        bands(ID, NAMES),
        history(NAMES, TIMES),
        ("leaks", {"t": BEGIN, "rows": [leak("note"), leak("get", verdict="levels off")], "note": "30 s are seen"}),
        ("errors", {"total": 3, "rows": [error("sum")]}),
        health(),
    ]
    return Pretended(
        [processes(process(4711, "server", errors=3456, leaks=12), process(12, "idle", live=None))], watched
    )


def coming(opened: Opened, pretended: Pretended, **options: Any) -> Page:
    page = opened(pretended.url, **options)
    page.expected = [*AWAY, "willReadFrequently"]
    return page


def watching(page: Page, id: str = ID) -> Page:
    page.click(f"tr[data-id='{id}'] button")
    page.until("poireau.shown.total() > 0")
    return page


def test_a_thousand_processes_are_a_list_as_quick_as_one(opened: Opened) -> None:
    """Only what is in view is in the page; and the one that is looked for is found by pid, and by keys."""
    crowd = [process(1000 + at, f"server{at}") for at in range(MANY)]
    with Pretended([processes(*crowd, more=17)]) as pretended:
        page = coming(opened, pretended)
        page.until("document.querySelectorAll('tr[data-id]').length > 5")
        assert "1,017" in page.text(".processes .toolbar") and "17 more" in page.text(".processes .toolbar")
        assert page.evaluate("document.querySelectorAll('tr[data-id]').length") < 60
        assert page.evaluate("document.querySelector('table').getAttribute('aria-rowcount')") == str(MANY + 1)
        page("focus", "tr[data-id] button[tabindex='0']")
        page.key("End")
        page.until("document.activeElement.getAttribute('aria-label') === 'server0 1000'")  # it has least
        page.key("Home", "PageDown", "ArrowUp")
        assert page.evaluate("document.activeElement.closest('tr').dataset.id").startswith("19")
        busier = [{**each, "live": estimate(9e9)} if each["pid"] == 1500 else each for each in crowd]
        pretended.tell(processes(*busier, more=17))
        page.key("/")
        page.type("server500")
        page.until("document.querySelectorAll('tr[data-id]:not([hidden])').length === 1")
        assert "8.38GiB" in page.text("tr[data-id]")
        assert not page.axe()


def test_names_on_the_live_page_are_text(opened: Opened) -> None:
    every = [process(100 + at, name, command=name, user=name) for at, name in enumerate(HOSTILE)]
    watched: list[Event] = [
        (
            "bands",
            {"id": "101-1", "by": "line", "bands": [band(name, at) for at, name in enumerate(HOSTILE)], "reset": True},
        ),
        history(HOSTILE, TIMES),
        (
            "leaks",
            {"t": BEGIN, "rows": [leak(name, reason=name, verdict=name) for name in HOSTILE], "note": HOSTILE[0]},
        ),
        ("errors", {"total": len(HOSTILE), "rows": [error(name, thread=name) for name in HOSTILE]}),
        ("health", {**health()[1], "written": HOSTILE[1], "drops": dict.fromkeys(HOSTILE, 1)}),
        *(("alert", {"t": BEGIN, "id": "101-1", "name": name, "level": "leak", "text": name}) for name in HOSTILE),
        ("gone", {"id": "101-1", "why": HOSTILE[1]}),
    ]
    with Pretended([processes(*every)], watched) as pretended:
        page = coming(opened, pretended)
        page("addInitScript", {"content": "window.ran = []; window.pwned = (what) => window.ran.push(what);"})
        page.reload()
        page.until("document.querySelectorAll('tr[data-id]').length > 5")
        watching(page, "101-1")
        page.choose("Bands shown", "32")
        pretended.tell(point(HOSTILE[:9], TIMES[-1] + 500))
        for tab in ("Bands", "Leaks", "Errors", "Health", "Alerts"):
            page.click(f"[role=tab]:has-text('{tab}')")
            assert "<img src=x onerror" in page.text("[role=tabpanel] >> visible=true"), tab
            assert not any(
                ord(each) in range(0x202A, 0x202F)
                for each in page.evaluate("document.title + document.body.textContent")
            )
        for x in range(80, 1280, 151):
            page("mouse.move", x, 480)
        assert page.evaluate("window.ran") == []
        assert (
            page.evaluate(
                "document.querySelectorAll('img, b, svg, [onerror], [onload], body > script:not(:last-of-type)').length"
            )
            == 0
        )


LOOKS = [("light", 1280, 900, False), ("dark", 1920, 1080, True), ("narrow", 480, 900, False)]


@pytest.mark.parametrize(("name", "width", "height", "dark"), LOOKS, ids=[each[0] for each in LOOKS])
def test_it_looks_as_before(name: str, width: int, height: int, dark: bool, opened: Opened, tmp_path: Path) -> None:
    with server() as pretended:
        page = watching(coming(opened, pretended, width=width, height=height, dark=dark))
        page.until("document.querySelectorAll('table.bands tbody tr').length === 4")
        looks_as_before(page, f"live-{name}", tmp_path)


def test_figures_are_never_cut_off_where_it_is_narrow(opened: Opened) -> None:
    """An interval of which the end is missing is another interval."""
    with server() as pretended:
        page = watching(coming(opened, pretended))
        for width in (360, 480, 700, 800, 1000, 1280, 1700, 1800, 1920):
            page("setViewportSize", {"width": width, "height": 900})
            assert page.evaluate(_CUT) == [], width
            page.until("document.documentElement.scrollWidth <= innerWidth")


def test_where_nothing_was_told_nothing_is_drawn(opened: Opened) -> None:
    """The server was stopped for as long as it had been told of the process."""
    later = [*TIMES, *(TIMES[-1] + 60_000 + 500 * at for at in range(120))]
    with Pretended([processes(process(4711, "server"))], [bands(ID, NAMES), history(NAMES, later)]) as pretended:
        page = coming(opened, pretended)
        page.until("poireau.shown.total() > 0")
        page.until(f"{_COLOURS.format(share=0.25)} > 4")
        assert page.evaluate(_COLOURS.format(share=0.8)) > 4
        assert page.evaluate(_COLOURS.format(share=0.42)) <= 2
        assert page.evaluate(_COLOURS.format(share=0.6)) <= 2


def test_while_it_is_paused_what_is_chosen_is_shown_at_once(opened: Opened) -> None:
    with server() as pretended:
        page = watching(coming(opened, pretended))
        page.key("p")
        pretended.tell(*(point(NAMES, TIMES[-1] + 500 * at) for at in range(1, 9)))
        page.until("poireau.shown.points() === 8")
        before = page.evaluate(_DRAWN)
        page.choose("Bands shown", "8")
        page.choose("Time shown", "120")
        page.choose("Bands shown", "32")
        pretended.tell(bands(ID, NAMES[:1]), history(NAMES[:1], TIMES))
        page.until(f"{_DRAWN} !== {json.dumps(before)}")
        assert page.shown("stream.bands()") == NAMES[:1]


def test_a_clock_that_is_set_is_told_and_the_stream_goes_on(opened: Opened) -> None:
    with server() as pretended:
        page = watching(coming(opened, pretended))
        pretended.tell(point(NAMES, TIMES[-1] + 500), point(NAMES, TIMES[-1] - 3_600_000))
        page.until("/set back by 60 min/.test(document.querySelector('.notice:not([hidden])')?.innerText ?? '')")
        pretended.tell(point(NAMES, TIMES[-1] - 3_599_500, 9e6))
        page.until("poireau.shown.total() === 3.6e7")

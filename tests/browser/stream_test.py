"""The streamgraph in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poireau import views
from poireau.model import Heap
from poireau.selection import Selection
from tests.browser import heaps
from tests.browser.browsers import Page
from tests.browser.shots import looks_as_before
from tests.browser.written import stream
from tests.poireau.histories import BEGIN, SECOND

Opened = Callable[..., Page]
MIDDLE = (BEGIN + 20 * SECOND) // 1_000_000  # ms


@pytest.fixture(scope="module")
def heap() -> Heap:
    return heaps.server()


@pytest.fixture(scope="module")
def file(heap: Heap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream(heap, tmp_path_factory.mktemp("stream") / "growth.html")


@pytest.fixture
def page(file: Path, opened: Opened) -> Page:
    page = opened(file)
    page.shown("bands()")
    return page


def at(page: Page, band: str, moment: float = MIDDLE) -> tuple[float, float]:
    found = page.shown(f"at('{band}', {moment})")
    assert found, f"no band {band}"
    return found["x"], found["y"]


def test_the_bands_are_those_of_python(heap: Heap, page: Page) -> None:
    names = page.shown("bands()")
    for function in ("note", "Cache::put", "load_table"):
        assert any(function in each for each in names), names


def test_what_is_pointed_at_is_told_with_its_interval(page: Page) -> None:
    page("mouse.move", *at(page, "note"))
    page.until("document.querySelector('[role=tooltip]:not([hidden])')?.innerText.includes('note')")
    told = page.text("[role=tooltip]")
    assert "±" in told or " to " in told, told


def test_a_click_shows_what_was_in_use_then(heap: Heap, page: Page) -> None:
    page("mouse.click", *at(page, "note"))
    page.until("document.querySelector('[role=tree]')")
    root = page.shown("flame().root()")
    moment = page.shown("flame().window()")[0]
    then = views.view(heap, "in-use", selection=Selection(until=round(moment * 1e6))).total_bytes
    assert abs(moment - MIDDLE) < 1500
    assert root["value"] == pytest.approx(then.value, rel=0.02)
    page.key("Escape")
    page.until("!document.querySelector('[role=tree]')")


def test_a_window_shows_what_was_allocated_in_it_and_is_still_held(page: Page) -> None:
    begin, y = at(page, "note", MIDDLE - 8000)
    end, _ = at(page, "note", MIDDLE + 8000)
    page("mouse.move", begin, y)
    page("mouse.down")
    page("mouse.move", (begin + end) / 2, y)
    page("mouse.move", end, y)
    page("mouse.up")
    page.until("document.querySelector('[role=tree]')")
    since, until = page.shown("flame().window()")
    assert abs(since - MIDDLE + 8000) < 1500 and abs(until - MIDDLE - 8000) < 1500


@pytest.mark.parametrize("by", ["thread", "module", "size", "function"])
def test_bands_are_chosen(by: str, page: Page) -> None:
    before = page.shown("bands()")
    page.choose("Bands by", by)
    after = page.shown("bands()")
    assert after != before or by == "function"
    if by == "thread":
        assert any("worker" in each for each in after), after


def test_it_can_stand_on_zero(page: Page, tmp_path: Path) -> None:
    before = page.screenshot(tmp_path / "before.png").read_bytes()
    page.key("b")
    page.until(
        "[...document.querySelectorAll('button[aria-pressed=true]')].some((each) => each.innerText.includes('zero'))"
    )
    assert page.screenshot(tmp_path / "after.png").read_bytes() != before


def test_the_keyboard_alone_does(page: Page) -> None:
    page("focus", "canvas[tabindex], [role=application], [role=slider]")
    page.key("ArrowRight", "ArrowRight", "ArrowDown")
    page.until("[...document.querySelectorAll('[aria-live]')].some((each) => each.innerText.length > 5)")
    page.key("Enter")
    page.until("document.querySelector('[role=tree]')")


LOOKS = [("light", 1280, 720, False), ("dark", 1280, 720, True), ("narrow", 420, 800, False)]


@pytest.mark.parametrize(("name", "width", "height", "dark"), LOOKS, ids=[each[0] for each in LOOKS])
def test_it_looks_as_before(
    name: str, width: int, height: int, dark: bool, file: Path, opened: Opened, tmp_path: Path
) -> None:
    page = opened(file, width=width, height=height, dark=dark)
    page.shown("bands()")
    looks_as_before(page, f"stream-{name}", tmp_path)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everybody_can_use_it(file: Path, opened: Opened, dark: bool) -> None:
    page = opened(file, dark=dark)
    page.shown("bands()")
    found = page.axe()
    page("mouse.click", *at(page, "note"))
    page.until("document.querySelector('[role=tree]')")
    found += page.axe()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("make", [heaps.empty, heaps.one_sample, heaps.clock_steps])
def test_there_is_a_page_of_little(make: Callable[[], Heap], opened: Opened, tmp_path: Path) -> None:
    page = opened(stream(make(), tmp_path / "page.html"))
    page.shown("bands()")
    page.key("b", "ArrowRight", "ArrowDown", "Enter", "Escape")
    assert not page.axe()

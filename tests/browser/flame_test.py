"""The flamegraph in Chromium: by pointer and by keys, and its figures are Python's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poireau import estimates, views
from poireau.estimate import Estimate
from poireau.model import Heap
from tests.browser import heaps
from tests.browser.browsers import Page
from tests.browser.shots import GOLDENS, RECORD, looks_as_before
from tests.browser.written import flame, flame_diff, flame_folded
from tests.poireau.histories import BEGIN, SECOND

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def heap() -> Heap:
    return heaps.server()


@pytest.fixture(scope="module")
def file(heap: Heap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flame(heap, tmp_path_factory.mktemp("flame") / "heap.html")


@pytest.fixture
def page(file: Path, opened: Opened) -> Page:
    page = opened(file)
    page.shown("root()")  # it is drawn
    return page


def agree(page: Page, truth: Estimate) -> None:
    """What is shown in all is that."""
    root = page.shown("root()")
    assert root["samples"] == truth.samples
    for name in ("value", "low", "high"):
        assert root[name] == pytest.approx(getattr(truth, name), rel=2e-3), (root, truth)


def crumbs(page: Page) -> list[str]:
    told: list[str] = page.evaluate(
        "[...document.querySelectorAll('nav[aria-label=Zoomed]:not([hidden]) button')].map(e => e.innerText)"
    )
    return told


def active(page: Page) -> str:
    """What a screen reader tells of the box that has the focus."""
    told: str = page.evaluate(
        "document.getElementById("
        "document.querySelector('[role=tree]').getAttribute('aria-activedescendant'))?.innerText ?? ''"
    )
    return told


@pytest.mark.parametrize("what", ["in-use", "allocated", "freed", "peak", "byte-seconds", "average"])
def test_each_view_has_the_figures_of_python(what: str, heap: Heap, page: Page) -> None:
    page.choose("View", what)
    agree(page, views.view(heap, what).total_bytes)
    assert page.shown("view()") == what


def test_number_keys_switch_views(page: Page) -> None:
    first = page.shown("view()")
    page.key("2")
    second = page.shown("view()")
    page.key("1")
    assert (page.shown("view()"), second != first) == (first, True)


def test_a_click_zooms_and_escape_goes_back(page: Page) -> None:
    page.click_box("answer")
    assert "answer" in crumbs(page)[-1]
    wide = page.box("answer")["width"]
    assert wide > 900
    page.key("Escape")
    assert "serve" in crumbs(page)[-1]
    page.key("Escape", "Escape")
    assert not crumbs(page)[1:] and page.box("answer")["width"] < wide


def test_a_breadcrumb_goes_back_to_it(page: Page) -> None:
    page.click_box("serve")
    page.click_box("answer")
    deep = crumbs(page)
    which = next(number for number, each in enumerate(deep) if "serve" in each)
    page.click(f"nav[aria-label=Zoomed]:not([hidden]) button >> nth={which}")
    assert "serve" in crumbs(page)[-1] and len(crumbs(page)) < len(deep)


def test_a_search_counts_and_lights(page: Page, tmp_path: Path) -> None:
    before = page.screenshot(tmp_path / "before.png").read_bytes()
    page.key("/")
    page.type("Cache::put|note")
    page.until("/%/.test(document.querySelector('[role=status]').innerText)")
    told = page.text("[role=status] >> nth=0")
    in_use = views.view(heaps.server()).table.set_index("function")["bytes"]
    share = (in_use["Cache::put"] + in_use["note"]) / in_use.sum()
    assert float(re.search(r"([\d.]+) ?%", told)[1]) == pytest.approx(100 * share, abs=1), told  # type: ignore[index]
    assert page.screenshot(tmp_path / "after.png").read_bytes() != before


def test_a_search_takes_text_that_is_no_expression(page: Page) -> None:
    page.key("/")
    page.type("((note")
    page.until("document.querySelector('[role=status]').innerText != ''")


def test_inverted_who_asked_for_memory_comes_first(page: Page) -> None:
    before = page.box("main")["width"]
    page.key("i")
    assert page.box("main")["width"] < before
    agree(page, views.view(heaps.server()).total_bytes)


def test_the_root_is_on_top_or_at_the_bottom(page: Page) -> None:
    root, leaf = page.box("main"), page.box("Cache::put")
    assert root["y"] < leaf["y"]
    page.key("f")
    root, leaf = page.box("main"), page.box("Cache::put")
    assert root["y"] > leaf["y"]


def test_a_tooltip_has_the_figure_its_interval_and_its_samples(page: Page, heap: Heap) -> None:
    page.point(page.box("note"))
    page.until("document.querySelector('[role=tooltip]:not([hidden])')?.innerText.includes('note')")
    told = page.text("[role=tooltip]")
    row = views.view(heap).table.set_index("function").loc["note"]
    assert "server.cc:39" in told and "server" in told
    assert f"{row['samples']}" in told
    assert f"{row['bytes'] / (1 << 20):.1f}" in told.replace("12.60", "12.6"), (told, row)


def test_the_keyboard_alone_does(page: Page) -> None:
    page("focus", "[role=tree]")
    page.key("ArrowDown")
    first = active(page)
    page.key("ArrowDown", "ArrowDown")
    deeper = active(page)
    assert first and deeper and deeper != first
    page.key("Enter")
    name = deeper.split()[0].rstrip(",")
    assert any(name in each for each in crumbs(page)), (deeper, crumbs(page))
    page.key("ArrowRight", "ArrowLeft", "ArrowUp", *["Backspace"] * 8)
    assert not crumbs(page)[1:]


def window(page: Page, begin: float, end: float) -> tuple[int, int]:
    """Drags over the timeline, from one share of its width to another; the window that came of it, in ns."""
    page.drag("[role=group][aria-label=Timeline] .plot", begin, end)
    since, until = page.shown("window()")
    return round(since * 1e6), round(until * 1e6)


def lives_in(heap: Heap, shows: str, since: int, until: int) -> Estimate:
    """Of the samples themselves. Edges are in whole milliseconds."""
    lives = pd.concat(heap.lives())
    born, died = lives["born"].to_numpy(), lives["died"].to_numpy().astype(np.float64)
    chosen = {
        "allocated": (since <= born) & (born < until),
        "held": (since <= born) & (born < until) & (died >= until),
        "kept": (since <= born) & (born < until) & (died > BEGIN + 1000 * SECOND),
        "freed": (since <= died) & (died < until),
    }[shows]
    return estimates.total(lives[chosen])


@pytest.mark.parametrize("shows", ["allocated", "held", "kept", "freed"])
def test_a_window_of_the_timeline_has_the_figures_of_its_samples(shows: str, heap: Heap, page: Page) -> None:
    since, until = window(page, 0.3, 0.7)
    assert BEGIN < since < until < BEGIN + 40 * SECOND
    page.choose("Window shows", shows)
    agree(page, lives_in(heap, shows, since, until))


def test_a_window_is_chosen_by_keys(page: Page, heap: Heap) -> None:
    page("focus", "[role=slider][aria-label='Window begins']")
    page.key(*["ArrowRight"] * 5)
    page("focus", "[role=slider][aria-label='Window ends']")
    page.key(*["ArrowLeft"] * 5)
    since, until = (round(each * 1e6) for each in page.shown("window()"))
    assert BEGIN < since < until < BEGIN + 40 * SECOND
    agree(
        page,
        lives_in(
            heap,
            page.evaluate("document.querySelector('select[aria-label=\"Window shows\"]')?.value ?? 'allocated'"),
            since,
            until,
        ),
    )
    page.click("button:has-text('Whole time')")
    agree(page, views.view(heap).total_bytes)


def test_a_reload_shows_the_same(page: Page) -> None:
    page.key("2", "i")
    page.key("/")
    page.type("note")
    page.key("Escape")
    page.click_box("note")
    before = (page.shown("view()"), crumbs(page), page("inputValue", "input[type=search]"), page.shown("root()"))
    assert before[1]
    page.reload()
    assert (
        page.shown("view()"),
        crumbs(page),
        page("inputValue", "input[type=search]"),
        page.shown("root()"),
    ) == before


def saved(page: Page, how: str) -> Path:
    page.click("summary:has-text('Save')")
    page.click(f"button:has-text('{how}')")
    while not (files := page.downloads()):
        pass
    return files[-1][1]


def test_the_saved_svg_is_the_golden(page: Page) -> None:
    text, golden = saved(page, "Save SVG").read_text(), GOLDENS / "flame.svg"
    if RECORD:
        GOLDENS.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "scripts/record-goldens, and look at the difference"


def test_saved_stacks_add_up_to_what_is_shown(page: Page, heap: Heap) -> None:
    lines = saved(page, "Save folded").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == pytest.approx(
        views.view(heap).total_bytes.value, rel=1e-5
    )
    assert any(line.startswith("main;serve;") for line in lines), lines[:5]


def test_it_is_dark_where_that_is_preferred_and_at_a_key(file: Path, opened: Opened, tmp_path: Path) -> None:
    page = opened(file, dark=True)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.key("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    assert sum(map(int, re.findall(r"\d+", paper)[:3])) < 150


LOOKS = [("light", 1280, 720, False), ("dark", 1280, 720, True), ("narrow", 420, 800, False)]


@pytest.mark.parametrize(("name", "width", "height", "dark"), LOOKS, ids=[each[0] for each in LOOKS])
def test_it_looks_as_before(
    name: str, width: int, height: int, dark: bool, file: Path, opened: Opened, tmp_path: Path
) -> None:
    page = opened(file, width=width, height=height, dark=dark)
    page.shown("root()")
    looks_as_before(page, f"flame-{name}", tmp_path)


def test_what_has_changed_looks_as_before(opened: Opened, tmp_path: Path) -> None:
    page = opened(flame_diff(heaps.server(), heaps.server(9, leak=4), tmp_path / "diff.html"))
    page.shown("root()")
    looks_as_before(page, "flame-diff", tmp_path)
    page.point(page.box("note"))
    page.until("/\\u00d74/.test(document.querySelector('[role=tooltip]:not([hidden])')?.innerText ?? '')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everybody_can_use_it(file: Path, opened: Opened, dark: bool) -> None:
    page = opened(file, dark=dark)
    page.shown("root()")
    found = page.axe()
    page.click_box("answer")
    page.key("/")
    page.type("note")
    window(page, 0.2, 0.5)
    found += page.axe()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("make", [heaps.empty, heaps.one_sample, heaps.clock_steps])
def test_there_is_a_page_of_little(make: Callable[[], Heap], opened: Opened, tmp_path: Path) -> None:
    made = make()
    page = opened(flame(made, tmp_path / "page.html"))
    agree(page, views.view(made).total_bytes)
    page.key("2", "i", "f", "/")
    page.type("x")
    page.key("Escape", "ArrowDown", "Enter", "Escape")
    assert not page.axe()
    if make is heaps.empty:
        assert re.search(r"[Nn]othing|no samples", page.text())


def test_folded_stacks_have_a_page_without_times(opened: Opened, tmp_path: Path) -> None:
    folded = tmp_path / "stacks.folded"
    folded.write_text("main;f;g 100\nmain;f 50\nmain;h 7\n")
    page = opened(flame_folded(folded, tmp_path / "page.html"))
    assert page.shown("root()")["value"] == 157
    page.click_box("f")
    assert page.evaluate("document.querySelector('[role=group][aria-label=Timeline] .plot')") is None

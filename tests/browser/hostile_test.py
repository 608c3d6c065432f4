"""Names that are markup, script, terminal commands or nonsense: shown as text, never executed, whoever has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poireau import notebook
from poireau.model import Heap
from tests.browser import heaps
from tests.browser.browsers import Page
from tests.browser.written import flame, flame_folded, stream

Opened = Callable[..., Page]
# Set before the page's own script; what any of the names calls.
_TRAP = "window.ran = []; window.pwned = (what) => window.ran.push(what);"
# Elements that nobody but a name can have made.
_STRANGE = (
    "document.querySelectorAll('img, body > script:not(:last-of-type):not(#data), [onload], [onerror], b').length"
)


@pytest.fixture(scope="module")
def heap() -> Heap:
    return heaps.hostile()


def walked(page: Page) -> None:
    """Everything that shows a name has been shown."""
    for number in range(len(heaps.HOSTILE)):
        page.key("ArrowDown" if number % 4 == 0 else "ArrowRight")
    page.key("/")
    page.type("<img")
    page.key("Enter", "Escape")
    for x in range(40, 1280, 307):
        for y in range(60, 700, 157):
            page("mouse.move", x, y)


def unharmed(page: Page) -> None:
    assert page.evaluate("window.ran ?? []") == []
    assert page.evaluate(_STRANGE) == 0
    assert not any(
        ord(each) in range(0x202A, 0x202F) for each in page.evaluate("document.title + document.body.innerText")
    )


def trapped(opened: Opened, path: Path) -> Page:
    page = opened(path)
    page("addInitScript", {"content": _TRAP})
    page.reload()
    return page


def test_names_in_a_flamegraph_are_text(heap: Heap, opened: Opened, tmp_path: Path) -> None:
    page = trapped(opened, flame(heap, tmp_path / "page.html"))
    page("focus", "[role=tree]")
    walked(page)
    page.point(page.box(heaps.HOSTILE[1]))
    page.until("document.querySelector('[role=tooltip]:not([hidden])')?.innerText.includes('<img src=x onerror')")
    unharmed(page)


def test_names_in_a_streamgraph_are_text(heap: Heap, opened: Opened, tmp_path: Path) -> None:
    page = trapped(opened, stream(heap, tmp_path / "page.html"))
    for by in ("function", "module", "thread"):
        page.choose("Bands by", by)
        walked(page)
        page.key("Escape")
    assert "<img src=x onerror" in page.text()
    unharmed(page)


def test_a_saved_picture_runs_nothing_either(heap: Heap, opened: Opened, tmp_path: Path) -> None:
    page = opened(flame(heap, tmp_path / "page.html"))
    page.click("summary:has-text('Save')")
    page.click("button:has-text('Save SVG')")
    while not (files := page.downloads()):
        pass
    picture = opened(files[0][1])
    picture.url = files[0][1].as_uri()
    picture("addInitScript", {"content": _TRAP})
    picture.reload()
    assert picture.evaluate("window.ran ?? []") == []
    assert picture.evaluate("document.documentElement.tagName") == "svg"
    assert (
        picture.evaluate("document.querySelectorAll('script, foreignObject, image, [onload], [onerror]').length") == 0
    )


def test_folded_names_are_text(opened: Opened, tmp_path: Path) -> None:
    names = [each.replace("\n", " ").replace("\r", " ").replace(";", ",") for each in heaps.HOSTILE]
    folded = tmp_path / "stacks.folded"
    folded.write_text("".join(f"main;{each} 100\n" for each in names))
    page = trapped(opened, flame_folded(folded, tmp_path / "page.html"))
    page("focus", "[role=tree]")
    walked(page)
    unharmed(page)


@pytest.mark.parametrize("draw", ["flame", "stream"])
def test_names_in_a_notebook_are_text(draw: str, heap: Heap, opened: Opened, tmp_path: Path) -> None:
    """Jupyter puts the markup of what is shown into its own page, scripts and all."""
    path = tmp_path / "notebook.html"
    markup = getattr(notebook, draw)(heap)._repr_html_()
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>notebook</title><body>{markup}</body>", encoding="utf-8"
    )
    page = trapped(opened, path)
    what = {"flame": "root().value > 0", "stream": "bands().length > 1"}[draw]
    assert page("inside", f"Promise.resolve(poireau.shown).then((shown) => shown.{what})") is True
    for x in range(40, 1240, 97):
        page("mouse.move", x, 330)
    assert page.evaluate("window.ran ?? []") == page("inside", "window.ran ?? []") == []
    assert page.evaluate("document.querySelectorAll('img, [onerror], [onload]').length") == 0

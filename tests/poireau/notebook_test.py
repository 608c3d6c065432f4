from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import poireau
from poireau import notebook
from poireau.errors import Failure
from poireau.model import Heap
from tests.poireau.histories import BEGIN, SECOND
from tests.poireau.report.picture_data_test import data_of
from tests.poireau.report.pictures_test import growing


@pytest.fixture(scope="module")
def heap() -> Heap:
    notebook.attach()
    return growing()


class _Frames(HTMLParser):
    found: list[dict[str, str | None]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "iframe"
        self.found = [dict(attrs)]


def frame_of(page: notebook.Page) -> dict[str, str | None]:
    """What a notebook gets."""
    parser = _Frames()
    parser.feed(page._repr_html_())
    return parser.found[0]


def test_a_heap_draws_itself_in_a_frame_that_sees_nothing_of_the_notebook(heap: Heap) -> None:
    for page in (heap.flame(), heap.stream()):
        frame = frame_of(page)
        assert frame["srcdoc"] == page.html
        assert set(str(frame["sandbox"]).split()) == {"allow-scripts", "allow-downloads"}
        assert page.html.startswith("<!doctype html>") and unescape(page._repr_html_()).count("<iframe") == 1
        assert len(repr(page)) < 100


def test_what_is_drawn_is_what_was_asked_for(heap: Heap) -> None:
    about = data_of(heap.flame("allocated", since="+50s", until="+60s", focus="serve", inverted=True).html.encode())
    assert (about["shown"], about["inverted"]) == ("allocated", True)
    assert about["times"]["edges"][0] == (BEGIN + 50 * SECOND) / 1e6
    assert "focus serve" in about["title"]
    assert data_of(heap.flame(base=growing()).html.encode())["shown"] == "change"
    streams = data_of(heap.stream(by="thread", bands=1, wiggle=False).html.encode())
    assert (streams["by"][0]["key"], len(streams["by"][0]["bands"]), streams["wiggle"]) == ("thread", 2, False)


def test_a_page_is_saved_as_it_is_shown(heap: Heap, tmp_path: Path) -> None:
    page = heap.flame()
    page.save(tmp_path / "heap.html")
    assert (tmp_path / "heap.html").read_text("utf-8") == page.html


def test_what_makes_no_sense_is_told(heap: Heap) -> None:
    with pytest.raises(Failure, match="what is one of"):
        heap.flame("everything")
    with pytest.raises(Failure, match="is no time"):
        heap.flame(since="yesterday")
    with pytest.raises(TypeError, match="sice"):
        heap.flame(sice="60s")


def test_opening_makes_heaps_that_draw(heap: Heap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Heap, "flame")
    with pytest.raises(Failure):
        poireau.open("/nowhere/at/all")
    assert re.match("flame", Heap.flame.__name__)

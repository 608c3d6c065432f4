from __future__ import annotations

import io
import re
import time
from base64 import b64encode
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poireau.model import Heap
from poireau.naming import NO_STACK
from poireau.preamble import Preamble
from poireau.report import colours, picture_flame, picture_growth, picture_page, picture_stream, pictures, tree
from poireau.report.picture_flame import Flame
from poireau.report.pictures import Box, Drawing, Words, fitted, length
from poireau.selection import Selection
from poireau.views import view
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report import goldens

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\"b'c&d;e]]>", "\x00\x07\x1b[31mred\x7f",
    "\u202eright to left\u2066", "שלום עולם", "日本語の関数", "$\\alpha$ %s {0}", "\ufffe", "x" * 10_000, "-->",
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def growing() -> Heap:
    """A cache that fills up, a leak, a burst, and a table made at the start."""
    lives: list[dict[str, Any]] = []
    table = "malloc;load_table@/src/table.cc:12;main@/src/main.cc:3"
    cache = "operator new;Cache::put(Entry const&)@/src/cache.cc:88;serve@/src/main.cc:9;main@/src/main.cc:4"
    leak = "/usr/lib/libplug.so.1!remember@plug.c:44;serve@/src/main.cc:11;main@/src/main.cc:4"
    burst = "compress(char const*)@/src/zip.cc:7;serve@/src/main.cc:14;main@/src/main.cc:4"
    common = {"period": 1 << 16, "size": 4096}
    lives += [{**common, "stack": table, "born": number * SECOND // 20} for number in range(40)]
    for number in range(240):
        born = number * SECOND
        lives.append({**common, "stack": cache, "born": born, "thread": 2})
        if number >= 60:
            lives[-1 - number % 2]["died"] = born + 40 * SECOND
        if number % 3 == 0:
            lives.append({**common, "stack": leak, "born": born, "size": 1024})
        if 100 <= number < 130:
            lives += [{**common, "stack": burst, "born": born, "died": born + 20 * SECOND, "size": 60_000}] * 2
    lives.append({**common, "stack": "", "born": 5 * SECOND})
    return heap_of(lives, processes=[{"pid": 4242, "executable": "/usr/bin/server"}], threads={1: "main", 2: "worker"})


def flame_of(heap: Heap, limit: int = picture_flame.MOST, inverted: bool = False, **more: Any) -> Flame:
    answer = view(heap, "in-use", "stack")
    preamble = Preamble.of(heap, answer.selection, answer.periods, answer.stacks)
    return picture_flame.of_calls(tree.calls(answer, inverted), preamble, limit, inverted, **more)


def stream_of(heap: Heap, by: str = "line", bands: int = 10, **more: Any) -> picture_stream.Stream:
    return picture_stream.of(heap, by, Selection(**more), bands)


def streamed(stream: picture_stream.Stream, wiggle: bool = True) -> Drawing:
    return picture_growth.draw(stream, "in use over time", ["of a test"], wiggle)


def written(drawing: Drawing, form: str) -> bytes:
    out = io.BytesIO()
    pictures.write(drawing, form, out)
    return out.getvalue()


def svg_of(page: bytes) -> ElementTree.Element:
    text = page.decode()
    return ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


@pytest.fixture(scope="module")
def heap() -> Heap:
    return growing()


# What they look like.


@pytest.mark.parametrize("inverted", [False, True])
def test_golden_of_a_flamegraph(heap: Heap, inverted: bool) -> None:
    drawing = picture_flame.draw(flame_of(heap, inverted=inverted))
    goldens.check(f"flame{'_inverted' * inverted}.svg", written(drawing, "svg"))


def test_golden_of_a_page(heap: Heap) -> None:
    goldens.check("flame.html", written(picture_flame.draw(flame_of(heap)), "html"))


@pytest.mark.parametrize("wiggle", [False, True])
def test_golden_of_a_streamgraph(heap: Heap, wiggle: bool) -> None:
    stream = picture_stream.of(heap, "line", Selection(), points=40)
    goldens.check(f"stream{'_wiggle' * wiggle}.svg", written(streamed(stream, wiggle), "svg"))


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_every_picture_can_be_a_png_and_a_pdf(heap: Heap, form: str) -> None:
    begins = {"png": b"\x89PNG\r\n", "pdf": b"%PDF-"}[form]
    nothing = picture_flame.draw(flame_of(heap_of([])))
    for drawing in (picture_flame.draw(flame_of(heap)), streamed(stream_of(heap)), nothing):
        assert written(drawing, form).startswith(begins)


def test_labels_are_where_their_boxes_are_and_no_two_words_overlap(heap: Heap) -> None:
    many = heap_of([{"size": 10 + n, "stack": f"f{n}@f.c:{n};main", "born": n * SECOND} for n in range(60)])
    for drawing in (
        picture_flame.draw(flame_of(heap)), streamed(stream_of(heap)), streamed(stream_of(heap), False),
        streamed(stream_of(many, bands=50)),
    ):  # fmt: skip
        places = []
        for shape in drawing.shapes:
            if isinstance(shape, Box) and shape.label:
                assert length(shape.label) * pictures.SIZE * pictures.CELL <= shape.width
                places.append((shape.x, shape.x + shape.width, shape.y, shape.y + shape.height))
            if isinstance(shape, Words):
                wide = length(shape.text) * shape.size * pictures.CELL
                x = shape.x - {"start": 0, "middle": wide / 2, "end": wide}[shape.anchor]
                places.append((x, x + wide, shape.y - shape.size * 0.7, shape.y))
        assert all(left >= 0 and right <= drawing.width and low <= drawing.height for left, right, _, low in places)
        places.sort()
        for at, (left, right, top, low) in enumerate(places):
            for other in places[at + 1 :]:
                if other[0] >= right:
                    break
                assert other[2] >= low or other[3] <= top, ((left, right, top, low), other)


# Whatever anybody calls a function is text.


def test_no_name_is_anything_but_text() -> None:
    frames = [name.translate({ord(";"): ":", ord("!"): "1", ord("@"): "a"}) for name in HOSTILE]
    lives = [{"size": 9000, "stack": f"{frame};main", "born": at * SECOND} for at, frame in enumerate(frames)]
    heap = heap_of(lives, processes=[{"executable": f"/bin/{HOSTILE[0]}"}], threads={1: HOSTILE[1]})
    for drawing in (picture_flame.draw(flame_of(heap)), streamed(stream_of(heap)), streamed(stream_of(heap, "thread"))):
        page = written(drawing, "html")
        assert page.count(b"<script>") == page.count(b"</script>") == 1
        found = svg_of(page)
        assert {element.tag for element in found.iter()} <= {
            SVG + tag for tag in "svg defs pattern rect g title text path style".split()
        }
        assert not any(attribute.startswith("on") for element in found.iter() for attribute in element.attrib)
        assert all((element.text or "").isprintable() for element in found.iter(SVG + "text"))
        assert len(page) < 200_000
        ElementTree.fromstring(written(drawing, "svg"))
    written(picture_flame.draw(flame_of(heap)), "pdf")
    names = [title.text.split("\n")[0] for title in svg_of(page_of(heap)).iter(SVG + "title") if title.text]
    assert {"a\"b'c&d:e]]>", "שלום עולם", "<img src=x onerror=alert(1)>", "-->"} <= set(names)


def page_of(heap: Heap) -> bytes:
    return written(picture_flame.draw(flame_of(heap)), "html")


def test_a_page_reaches_for_nothing_and_runs_its_own_script_only(heap: Heap) -> None:
    page = written(picture_flame.draw(flame_of(heap)), "html").decode()
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashed = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'" in page
    assert script == picture_page._SCRIPT


# Flamegraphs.


@pytest.mark.parametrize("limit", [0, 1, 4])
@pytest.mark.parametrize("inverted", [False, True])
def test_boxes_lie_within_their_parents_side_by_side_and_nothing_is_left_out(
    heap: Heap, limit: int, inverted: bool
) -> None:
    flame = flame_of(heap, limit, inverted)
    left, depth = picture_flame._layout(flame)
    total = view(heap).total_bytes.value
    assert flame.value[0] == pytest.approx(total)
    for box in range(1, len(flame)):
        parent = int(flame.parent[box])
        assert parent < box
        assert depth[box] == depth[parent] + 1
        assert left[box] >= left[parent] - 1e-6
        assert left[box] + flame.value[box] <= left[parent] + flame.value[parent] + 1e-6 * total
    for row in range(int(depth.max()) + 1):
        boxes = np.flatnonzero(depth == row)
        boxes = boxes[np.argsort(left[boxes])]
        assert np.all(left[boxes][1:] >= (left + flame.value)[boxes][:-1] - 1e-6 * total)
    # What has no box of its own is in one that says so: the root's children are all there is.
    assert flame.value[1:][flame.parent[1:] == 0].sum() == pytest.approx(total)


def test_what_is_too_small_is_counted_where_it_belongs() -> None:
    lives = [{"size": 1 << 20, "stack": "big;main"}]
    lives += [{"size": 64, "stack": f"f{number};main"} for number in range(50)]
    flame = flame_of(heap_of(lives), 2)
    assert flame.names[-1] == "50 smaller"
    assert flame.names[flame.parent[-1]] == "main"
    assert flame.value[-1] == 50 * 64
    assert "50 samples" in flame.below[-1]


def test_a_picture_that_can_not_be_looked_at_closer_has_no_box_that_nobody_sees() -> None:
    lives = [{"size": 1 << 30, "stack": "big;main"}, *({"size": 50_000, "stack": f"f{n};main"} for n in range(9))]
    assert "f3" in flame_of(heap_of(lives)).names
    assert flame_of(heap_of(lives), zoomed=False).names[-1] == "9 smaller"


def test_what_has_no_stack_has_a_box_that_says_so(heap: Heap) -> None:
    flame = flame_of(heap)
    assert flame.names[-1] == NO_STACK
    assert flame.parent[-1] == 0
    alone = flame_of(heap_of([{"size": 10, "stack": ""}]))
    assert alone.names == ["all", NO_STACK]


def test_an_empty_heap_and_one_sample_are_pictures_that_say_so() -> None:
    empty = written(picture_flame.draw(flame_of(heap_of([]))), "html").decode()
    assert "no sample is in this view" in empty
    one = flame_of(heap_of([{"size": 10, "period": 1 << 19}]))
    assert any(line.startswith("1 sample says little") for line in one.lines)
    assert "no sample is in this view" in written(streamed(stream_of(heap_of([]))), "svg").decode()
    written(streamed(stream_of(heap_of([{"size": 10}]))), "png")


def test_what_is_uncertain_looks_uncertain(heap: Heap) -> None:
    assert [pictures.doubt(100, *ends) for ends in ((100, 100), (90, 110), (60, 140), (10, 190))] == [0, 0, 1, 2]
    drawing = picture_flame.draw(flame_of(heap_of([{"size": 10, "period": 1 << 19, "stack": "f;main"}])))
    assert {shape.doubt for shape in drawing.shapes if isinstance(shape, Box) and shape.parent is not None} == {2}


def test_a_hundred_thousand_stacks_make_a_page_of_less_than_8_mb() -> None:
    count = 100_000
    parent = np.concatenate([[0], np.arange(1, 41) - 1, np.arange(count) % 40 + 1])
    value = np.concatenate([[count], np.full(40, count), np.ones(count)]).astype(float)
    kept = np.arange(picture_flame.MOST * 2)
    names = [f"namespace{number}::Class<int, std::string>::function(int)" for number in kept]
    below = ["\n12.0KiB ± 3KiB, 3 samples\nfile.cc:12, /usr/lib/libthing.so"] * len(kept)
    flame = Flame("t", [], str, parent[kept], value[kept], value[kept], value[kept], names, names, below)
    assert len(written(picture_flame.draw(flame), "html")) < 8 << 20


# Streamgraphs.


def test_the_wiggle_is_matplotlibs_where_all_is_smooth(seed: int) -> None:
    x = np.linspace(0, 1, 5000)
    turns = np.random.default_rng(seed).uniform(0.5, 3, (7, 2, 1))
    values = 50 + 40 * np.sin(2 * np.pi * (turns[:, 0] * x + turns[:, 1]))
    axes = matplotlib.figure.Figure().add_subplot()
    lowest = axes.stackplot(np.arange(5000), values, baseline="weighted_wiggle")[0]
    vertices = np.asarray(lowest.get_paths()[0].vertices)[:5001]
    drawn = {int(x): y for x, y in vertices}
    got = picture_stream.baseline(values)
    assert got == pytest.approx([drawn[x] for x in range(5000)], abs=1)
    assert picture_stream.baseline(values, wiggle=False) == pytest.approx(np.zeros(5000))


def test_a_stream_in_which_the_same_comes_and_goes_stays_where_it_is(seed: int) -> None:
    high, low = np.random.default_rng(seed).uniform(0, 100, (2, 7))
    values = np.stack([high, low] * 50, axis=1)
    edge = picture_stream.baseline(values)
    assert edge[::2] == pytest.approx(np.full(50, edge[0])) and edge[1::2] == pytest.approx(np.full(50, edge[1]))


@pytest.mark.parametrize("by", picture_stream.BYS)
@pytest.mark.parametrize("bands", [1, 3])
def test_bands_add_up_to_what_was_in_use(heap: Heap, by: str, bands: int) -> None:
    stream = stream_of(heap, by, bands)
    assert len(stream.names) <= bands + 1
    assert stream.values.sum(axis=0) == pytest.approx(stream.total.value)
    expected = heap.over_time(stream.times)
    assert stream.total.value == pytest.approx(expected.bytes.value)
    assert stream.total.low == pytest.approx(expected.bytes.low)
    assert stream.total[-1].value == pytest.approx(view(heap).total_bytes.value)
    there = int((view(heap, "average", by).table["samples"] > 0).sum())
    assert stream.others == max(there - bands, 0)


def test_the_band_of_a_line_is_what_its_view_says(heap: Heap) -> None:
    stream = stream_of(heap)
    at = int(stream.times[200])
    table = view(heap, "in-use", "line", Selection(until=at + 1)).table.set_index("function")
    for key, of in zip(stream.keys, stream.bytes):
        if key and of.samples[200]:
            row = table.loc[key["function"]]
            assert (of[200].value, of[200].low, of[200].samples) == pytest.approx(
                (row["bytes"], row["bytes_low"], row["samples"])
            )


def test_a_burst_has_a_band_though_nothing_of_it_is_left(heap: Heap) -> None:
    assert any("compress" in name for name in stream_of(heap, bands=2).names)


def test_a_selection_is_about_all_of_the_picture(heap: Heap) -> None:
    focused = stream_of(heap, focus="remember")
    assert [key["function"] for key in focused.keys] == ["remember"]
    only = stream_of(heap, by="thread", threads=("worker",))
    assert [key["thread"] for key in only.keys] == [2]
    window = stream_of(heap, since=BEGIN + 50 * SECOND, until=BEGIN + 60 * SECOND)
    assert (window.times[0], window.times[-1]) == (BEGIN + 50 * SECOND, BEGIN + 60 * SECOND - 1)


def test_the_table_and_the_json_are_what_is_drawn(heap: Heap) -> None:
    stream = stream_of(heap)
    table = picture_stream.table(stream)
    assert table[table["band"] == ""]["bytes"].tolist() == stream.total.value.tolist()
    preamble = Preamble.of(heap, Selection(), stream.periods, stream.stacks)
    document = picture_stream.as_json(stream, preamble)
    assert (document["schema"], document["version"]) == ("poireau.stream", 1)
    assert [band["bytes"][-1]["value"] for band in document["bands"]] == [of.value[-1] for of in stream.bytes]


@given(st.integers(1, 1 << 50), st.integers(0, 400 * 86400), st.floats(200, 2000))
def test_a_clock_has_round_times_that_fit(nanoseconds: int, begin: int, room: float) -> None:
    first = BEGIN + begin * SECOND
    found = list(picture_growth.ticks(first, first + nanoseconds, room))
    assert len(found) <= room / 110 + 3
    assert all(first <= at <= first + nanoseconds for at, _ in found)
    assert len({at for at, _ in found}) == len(found)


@given(st.floats(1, 1e18))
def test_a_scale_has_round_steps(value: float) -> None:
    assert value / 3 < picture_growth.nice(value) <= value


# Colours and words.


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [colours.LIGHT, colours.DARK], ids=["light", "dark"])
def test_what_is_written_on_any_colour_can_be_read(scheme: dict[str, str]) -> None:
    for name, colour in scheme.items():
        if name in ("ink", "faint"):
            continue
        lighter, darker = sorted((_luminance(colour), _luminance(scheme["ink"])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5, name


def test_a_function_has_its_colour_everywhere_and_bands_have_colours_of_their_own() -> None:
    assert colours.of_function("f", "libz.so") == colours.of_function("f", "libz.so")
    names = [f"line {number}" for number in range(colours.BANDS)]
    assert len(set(colours.of_bands(names))) == colours.BANDS
    assert colours.of_bands(["a"])[0] == colours.of_bands(["a", *names])[0]
    assert set(colours.of_bands(names * 2)) <= set(colours.LIGHT)


@given(st.text(), st.floats(0, 500))
def test_a_fitted_text_has_room(text: str, room: float) -> None:
    assert length(fitted(text, room)) * pictures.SIZE * pictures.CELL <= room + 1e-6

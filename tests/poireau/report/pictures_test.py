from __future__ import annotations

import io
import json
import subprocess
import time
from typing import Any
from xml.etree import ElementTree

import matplotlib.text
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poireau.model import Heap
from poireau.naming import NO_STACK
from poireau.preamble import Preamble
from poireau.report import colours, picture_flame, picture_growth, picture_stream, pictures, tree
from poireau.report.picture_flame import Flame
from poireau.report.pictures import Box, Drawing, Words, fitted, length
from poireau.selection import Selection
from poireau.views import view
from tests.conftest import ROOT
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


def streamed(stream: picture_stream.Stream, wiggle: bool = True, form: str = "svg") -> bytes:
    out = io.BytesIO()
    picture_growth.write(stream, "in use over time", ["of a test"], wiggle, form, out)
    return out.getvalue()


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


@pytest.mark.parametrize("wiggle", [False, True])
def test_golden_of_a_streamgraph(heap: Heap, wiggle: bool) -> None:
    stream = picture_stream.of(heap, "line", Selection(), points=40)
    goldens.check(f"stream{'_wiggle' * wiggle}.svg", streamed(stream, wiggle))


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_every_picture_can_be_a_png_and_a_pdf(heap: Heap, form: str) -> None:
    begins = {"png": b"\x89PNG\r\n", "pdf": b"%PDF-"}[form]
    nothing = picture_flame.draw(flame_of(heap_of([])))
    for drawing in (picture_flame.draw(flame_of(heap)), nothing):
        assert written(drawing, form).startswith(begins)
    for each in (heap, heap_of([])):
        assert streamed(stream_of(each), form=form).startswith(begins)


def _apart(places: list[tuple[float, float, float, float]], width: float, height: float) -> None:
    """Left, right, top and bottom of words: within the picture, and none on another."""
    assert all(left >= 0 and right <= width and top >= 0 and low <= height for left, right, top, low in places)
    places.sort()
    for at, (left, right, top, low) in enumerate(places):
        for other in places[at + 1 :]:
            if other[0] >= right:
                break
            assert other[2] >= low or other[3] <= top, ((left, right, top, low), other)


def test_labels_are_where_their_boxes_are_and_no_two_words_overlap(heap: Heap) -> None:
    drawing = picture_flame.draw(flame_of(heap))
    places = []
    for shape in drawing.shapes:
        if isinstance(shape, Box) and shape.label:
            assert length(shape.label) * pictures.SIZE * pictures.CELL <= shape.width
            places.append((shape.x, shape.x + shape.width, shape.y, shape.y + shape.height))
        if isinstance(shape, Words):
            wide = length(shape.text) * shape.size * pictures.CELL
            x = shape.x - {"start": 0, "middle": wide / 2, "end": wide}[shape.anchor]
            places.append((x, x + wide, shape.y - shape.size * 0.7, shape.y))
    _apart(places, drawing.width, drawing.height)


@pytest.mark.parametrize("wiggle", [False, True])
def test_no_two_words_of_a_streamgraph_overlap(heap: Heap, wiggle: bool) -> None:
    many = heap_of([{"size": 10 + n, "stack": f"f{n}@f.c:{n};main", "born": n * SECOND} for n in range(60)])
    for stream in (stream_of(heap), stream_of(many, bands=50)):
        figure = picture_growth.draw(stream, "in use over time", ["of a test"], wiggle)
        figure.canvas.draw()
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        width, height = figure.canvas.get_width_height()
        _apart([(box.x0, box.x1, box.y0 + 1, box.y1 - 1) for box in boxes], width, height)


# Whatever anybody calls a function is text.


def test_no_name_is_anything_but_text() -> None:
    frames = [name.translate({ord(";"): ":", ord("!"): "1", ord("@"): "a"}) for name in HOSTILE]
    lives = [{"size": 9000, "stack": f"{frame};main", "born": at * SECOND} for at, frame in enumerate(frames)]
    heap = heap_of(lives, processes=[{"executable": f"/bin/{HOSTILE[0]}"}], threads={1: HOSTILE[1]})
    drawing = picture_flame.draw(flame_of(heap))
    svgs = [written(drawing, "svg"), streamed(stream_of(heap)), streamed(stream_of(heap, "thread"))]
    for svg in svgs:
        found = ElementTree.fromstring(svg)
        tags = {element.tag.rpartition("}")[2] for element in found.iter()}
        assert not tags & {"script", "a", "image", "foreignObject", "iframe", "animate", "set"}
        assert not any(attribute.startswith("on") for element in found.iter() for attribute in element.attrib)
        assert all((element.text or "").isprintable() for element in found.iter(SVG + "text"))
    written(drawing, "pdf")
    flame = ElementTree.fromstring(svgs[0])
    names = [title.text.split("\n")[0] for title in flame.iter(SVG + "title") if title.text]
    assert {"a\"b'c&d:e]]>", "שלום עולם", "<img src=x onerror=alert(1)>", "-->"} <= set(names)


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


def test_a_drawing_has_no_box_that_nobody_sees() -> None:
    lives = [{"size": 1 << 30, "stack": "big;main"}, *({"size": 50_000, "stack": f"f{n};main"} for n in range(9))]
    assert flame_of(heap_of(lives)).names[-1] == "9 smaller"


def test_what_has_no_stack_has_a_box_that_says_so(heap: Heap) -> None:
    flame = flame_of(heap)
    assert flame.names[-1] == NO_STACK
    assert flame.parent[-1] == 0
    alone = flame_of(heap_of([{"size": 10, "stack": ""}]))
    assert alone.names == ["all", NO_STACK]


def test_an_empty_heap_and_one_sample_are_pictures_that_say_so() -> None:
    empty = written(picture_flame.draw(flame_of(heap_of([]))), "svg").decode()
    assert "no sample is in this view" in empty
    one = flame_of(heap_of([{"size": 10, "period": 1 << 19}]))
    assert any(line.startswith("1 sample says little") for line in one.lines)
    assert "no sample is in this view" in streamed(stream_of(heap_of([]))).decode()
    streamed(stream_of(heap_of([{"size": 10}])), form="png")


def test_what_is_uncertain_looks_uncertain(heap: Heap) -> None:
    assert [pictures.doubt(100, *ends) for ends in ((100, 100), (60, 140), (40, 160), (0, 220))] == [0, 0, 1, 2]
    drawing = picture_flame.draw(flame_of(heap_of([{"size": 10, "period": 1 << 19, "stack": "f;main"}])))
    assert {shape.doubt for shape in drawing.shapes if isinstance(shape, Box) and shape.parent is not None} == {2}


# Streamgraphs.


@pytest.mark.parametrize("by", picture_stream.BYS)
@pytest.mark.parametrize("bands", [1, 3])
def test_bands_add_up_to_what_was_in_use(heap: Heap, by: str, bands: int) -> None:
    stream = stream_of(heap, by, bands)
    assert len(stream.names) <= bands + 1
    assert stream.values.sum(axis=0) == pytest.approx(stream.total.value)
    expected = heap.over_time(stream.times - 1)
    assert stream.total.value == pytest.approx(expected.bytes.value)
    assert stream.total.low == pytest.approx(expected.bytes.low)
    assert stream.total[-1].value == pytest.approx(view(heap).total_bytes.value)
    there = int((view(heap, "average", by).table["samples"] > 0).sum())
    assert stream.others == max(there - bands, 0)


def test_the_band_of_a_line_is_what_its_view_says(heap: Heap) -> None:
    stream = stream_of(heap)
    at = int(stream.times[200])
    table = view(heap, "in-use", "line", Selection(until=at)).table.set_index("function")
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
    assert (window.times[0], window.times[-1]) == (BEGIN + 50 * SECOND, BEGIN + 60 * SECOND)


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


def test_a_function_has_its_colour_everywhere(heap: Heap) -> None:
    flame = picture_flame.draw(flame_of(heap))
    boxes = {shape.title.split("\n")[0]: shape.fill for shape in flame.shapes if isinstance(shape, Box)}
    bands = stream_of(heap, "function").coloured
    for name in ("load_table", "remember", "Cache::put(Entry const&)"):
        assert name in bands and boxes[name] == colours.of_name(name) == f"f{colours.index(name)}"
    assert {colours.index(str(number)) for number in range(1000)} == set(range(32))


def test_the_pages_have_the_same_colours() -> None:
    pages = ROOT / "flamegraph"
    command = [pages / "node_modules/.bin/esbuild", pages / "src/colour.ts", "--format=cjs"]
    script = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    said = "console.log(JSON.stringify([LIGHT, DARK, PLAIN]))"
    done = subprocess.run(["node", "-e", f"{script}\n{said}"], check=True, capture_output=True, text=True)
    light, dark, plain = json.loads(done.stdout)
    for scheme, shades, others in ((colours.LIGHT, light, plain["light"]), (colours.DARK, dark, plain["dark"])):
        assert scheme == {**others, **{f"f{number}": colour for number, colour in enumerate(shades)}}


@given(st.text(), st.floats(0, 500))
def test_a_fitted_text_has_room(text: str, room: float) -> None:
    assert length(fitted(text, room)) * pictures.SIZE * pictures.CELL <= room + 1e-6

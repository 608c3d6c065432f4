"""What pages get is what the text reports say, of every view, node, moment and window."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from poireau import leaks
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.model import Heap
from poireau.report import colours, picture_data, picture_pages, picture_sums, picture_text, pictures
from poireau.report.picture_tree import CODE, INLINED, SMALLER, UNKNOWN
from poireau.selection import Selection
from poireau.views import estimate_of, view
from tests.conftest import ROOT
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report.heaps import awkward, large
from tests.poireau.report.pictures_test import HOSTILE, growing

VIEWS = ("in-use", "allocated", "freed", "peak", "byte-seconds", "average")
DIGITS = 1e-4  # of what is written


@pytest.fixture(scope="module")
def heap() -> Heap:
    return growing()


@pytest.fixture(scope="module")
def random_heap() -> Heap:
    """Lives of all lengths, in stacks that share what is above them."""
    random = np.random.default_rng(8)
    lives = []
    for _ in range(1500):
        born = int(random.integers(0, 100 * SECOND))
        stack = ";".join(f"f{random.integers(0, 3)}@a.c:{depth}" for depth in range(random.integers(1, 6))) + ";main"
        life = {"size": int(random.integers(1, 9000)), "period": int(random.choice([1, 4096, 65536])), "stack": stack}
        died = {"died": born + int(random.integers(1, 60 * SECOND))} if random.random() < 0.7 else {}
        lives.append({**life, "born": born, "thread": int(random.integers(1, 4)), **died})
    return heap_of(lives, threads={1: "one", 2: "two", 3: "three"})


def figures_of(view: dict[str, Any], row: int, what: str = "bytes") -> tuple[float, float, float, int]:
    at = view["row"].index(row)
    value, low, high, samples = (view[what][name][at] for name in ("value", "low", "high", "samples"))
    return value, low, high, samples


def view_of(picture: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = (each for each in picture["views"] if each["key"] == key)
    return dict(found)


def alike(estimate: Estimate, figures: tuple[float, float, float, int]) -> None:
    assert figures[:3] == pytest.approx((estimate.value, estimate.low, estimate.high), rel=DIGITS, abs=1e-6)
    assert figures[3] == estimate.samples


def of_cells(picture: dict[str, Any], chosen: np.ndarray) -> Estimates:
    """The sums of those cells, as a page makes them."""
    names = ("value", "variance", "third", "seen", "samples", "unit")
    columns = [np.array(picture["cells"][name], float)[chosen] for name in names]
    columns[4] = columns[4].astype(int)
    sums = Estimates(*columns)
    return sums.grouped(np.zeros(len(sums), int), 1)


@pytest.mark.parametrize("what", VIEWS)
@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(since=BEGIN + 20 * SECOND, until=BEGIN + 60 * SECOND),
        Selection(focus="f1"),
        Selection(threads=("two",)),
        Selection(since=BEGIN + 70 * SECOND, ignore="f2"),
    ],
    ids=["all", "window", "focus", "thread", "since"],
)
def test_all_of_a_view_is_what_top_says(random_heap: Heap, what: str, selection: Selection) -> None:
    picture = picture_data.of(random_heap, selection)
    told, answer = view_of(picture, what), view(random_heap, what, "stack", selection)
    alike(answer.total_bytes, figures_of(told, 0))
    alike(answer.total_count, figures_of(told, 0, "count"))
    assert picture["period"] == max(period for period, _ in answer.periods)


def test_another_view_is_there_if_it_is_asked_for() -> None:
    brief = {"size": 5000, "period": 4096, "stack": "brief@a.c:3;main"}
    heap = heap_of([{**brief, "born": at * SECOND, "died": at * SECOND + 1000} for at in range(9)] + [brief])
    picture = picture_data.of(heap, shown="temporary")
    assert picture["shown"] == "temporary"
    alike(view(heap, "temporary").total_bytes, figures_of(view_of(picture, "temporary"), 0))
    assert [each["key"] for each in picture_data.of(heap)["views"]] == list(picture_sums.VIEWS)


def paths(picture: dict[str, Any]) -> dict[str, int]:
    nodes, names = picture["nodes"], picture["names"]
    found: dict[int, str] = {0: ""}
    for row in range(1, len(nodes["parent"])):
        assert nodes["parent"][row] < row
        label = names[nodes["name"][row]] if nodes["kind"][row] != SMALLER else "..."
        found[row] = f"{found[nodes['parent'][row]]};{label}:{nodes['line'][row]}"
    return {path: row for row, path in found.items()}


@pytest.mark.parametrize("what", ["in-use", "freed", "byte-seconds"])
def test_a_node_is_what_a_focus_on_its_function_says(heap: Heap, what: str) -> None:
    picture = picture_data.of(heap)
    names = picture["names"]
    for function in ("load_table", "Cache::put(Entry const&)", "remember", "compress(char const*)"):
        (row,) = (n for n, name in enumerate(picture["nodes"]["name"]) if names[name] == function)
        answer = view(heap, what, "function", Selection(focus=re.escape(function)))
        if answer.total_bytes.samples:
            alike(answer.total_bytes, figures_of(view_of(picture, what), row))
        else:
            assert row not in view_of(picture, what)["row"]
        assert picture["nodes"]["colour"][row] == colours.index(function)


@pytest.mark.parametrize("limit", [0, 1, 5, 40])
def test_widths_add_up_in_every_view_whatever_is_left_out(random_heap: Heap, limit: int) -> None:
    gathered = picture_sums.gather(random_heap, Selection())
    drawn = picture_data.drawn(gathered, limit)
    tree = drawn.tree
    if limit:
        assert ((tree.kind == CODE) | (tree.kind == INLINED)).sum() == limit + 1
    for told in gathered.views.values():
        own = told.bytes.grouped(drawn.ends, len(tree))
        (whole,) = tree.upwards([own])
        below = np.bincount(tree.nodes.parent[1:], whole.value[1:], len(tree))
        assert whole.value == pytest.approx(below + own.value)
        alike(told.bytes.sum(), (whole.value[0], whole.low[0], whole.high[0], int(whole.samples[0])))
    every = picture_data.drawn(gathered, 0)
    dropped = len(every.tree) - int((tree.kind != SMALLER).sum())
    smaller = tree.kind == SMALLER
    assert (dropped > 0) == smaller.any() and np.all(tree.others[smaller] > 0) and not tree.others[~smaller].any()


def test_the_largest_of_any_view_have_nodes(heap: Heap) -> None:
    picture = picture_data.of(heap, limit=8)
    names = {picture["names"][name] for name in picture["nodes"]["name"]}
    assert "compress(char const*)" in names  # nothing of it is in use at the end


def test_inlined_functions_lines_and_what_has_no_stack_are_told() -> None:
    picture = picture_data.of(awkward())
    nodes = picture["nodes"]
    kinds = {picture["names"][name]: kind for name, kind in zip(nodes["name"], nodes["kind"])}
    assert kinds["acme::Cache::put"] == INLINED and kinds["acme::Plan::load"] == CODE
    assert kinds["(no stack)"] == UNKNOWN
    row = next(n for n, name in enumerate(nodes["name"]) if picture["names"][name] == "acme::Plan::load")
    files = [picture["names"][nodes[name][row]] for name in ("file", "module")]
    assert files == ["/opt/acme/src/plan.cc", "/opt/acme/lib/libplans.so.2"] and nodes["line"][row] == 90


@pytest.mark.parametrize("which", range(6))
def test_cells_are_what_happened_in_any_window(random_heap: Heap, which: int, seed: int) -> None:
    picture = picture_data.of(random_heap)
    random = np.random.default_rng((seed, which))
    born, gone = (np.array(picture["cells"][name]) for name in ("born", "gone"))
    edges = picture_sums.gather(random_heap, Selection()).cells[("stack",)][1].edges
    a, b = sorted(random.choice(np.arange(1, len(edges)), 2, replace=False).tolist())
    window = Selection(since=int(edges[a]), until=int(edges[b]))
    for what, chosen in (
        ("in-use", (born < b) & (gone >= b)),
        ("allocated", (born >= a) & (born < b)),
        ("freed", (gone >= a) & (gone < b)),
    ):
        sums, answer = of_cells(picture, chosen), view(random_heap, what, "thread", window)
        assert sums.samples[0] == answer.bytes.sum().samples
        if answer.bytes.sum().samples:
            alike(answer.bytes.sum(), (sums.value[0], sums.low[0], sums.high[0], int(sums.samples[0])))
    total = picture["times"]["total"]
    expected = random_heap.over_time(edges - 1).bytes
    assert picture["times"]["edges"] == pytest.approx(edges / 1e6)
    for name in ("value", "low", "high", "samples"):
        assert total[name] == pytest.approx(getattr(expected, name), rel=DIGITS, abs=1)


@pytest.mark.parametrize("most", [100, 200, 900])
def test_cells_are_bounded_and_still_add_up(random_heap: Heap, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = picture_data.of(random_heap)
    monkeypatch.setattr(picture_data.bounded, "__defaults__", (most,))
    monkeypatch.setattr(picture_data, "_FEWEST_BINS", 15)
    picture = picture_data.of(random_heap)
    cells, nodes = picture["cells"], picture["nodes"]
    assert len(cells["node"]) <= most < len(whole["cells"]["node"])
    assert sum(cells["samples"]) == sum(whole["cells"]["samples"])
    assert sum(cells["value"]) == pytest.approx(sum(whole["cells"]["value"]), rel=DIGITS)
    assert set(picture["times"]["edges"]) <= set(whole["times"]["edges"])
    assert {whole["times"]["edges"][at] for at in (0, -1)} <= set(picture["times"]["edges"])
    # What nodes the views have stays.
    for name, column in whole["nodes"].items():
        if name != "name":
            assert nodes[name][: len(column)] == column or name in ("file", "module")
    assert set(nodes["kind"][len(whole["nodes"]["kind"]) :]) <= {SMALLER}
    assert all(nodes["others"][row] > 0 for row in range(len(whole["nodes"]["kind"]), len(nodes["kind"])))


def test_what_leaks_is_in_use_of_what_leaks_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    lives: list[dict[str, Any]] = []
    for number in range(800):
        born = number * SECOND // 4
        lives.append({"size": 2000, "period": 4096, "stack": "leaky@a.c:1;main", "born": born})
        lives.append({"size": 2000, "period": 4096, "stack": "clean@a.c:2;main", "born": born})
        lives[-1]["died"] = born + int(random.integers(1, 5)) * SECOND
    heap = heap_of(lives)
    found = leaks.find(heap).found
    assert found["function"].tolist() == ["leaky"]
    told = view_of(picture_data.of(heap, shown="leaked"), "leaked")
    alike(estimate_of(found.iloc[0]), figures_of(told, 0))


def test_a_peak_says_when_and_what_is_too_short_for_leaks_says_so(heap: Heap) -> None:
    assert re.search(r"\d\d:\d\d:\d\d", view_of(picture_data.of(heap), "peak")["note"])
    short = picture_data.of(heap_of([{"size": 10, "born": SECOND}]))
    assert "nobody can tell a leak" in view_of(short, "leaked")["note"]


# Names, and nothing at all.


def data_of(page: bytes) -> Any:
    (packed,) = re.findall(rb'<script type="text/plain" id="data">([A-Za-z0-9+/=]+)</script>', page)
    return json.loads(gzip.decompress(b64decode(packed)))


def test_no_name_is_anything_but_text_in_a_page() -> None:
    names = [*HOSTILE, "a" * 3000 + "\n" + "b" * 3000]
    assert picture_text.shown("\ud800lone\udcff") == "\\ud800lone\\udcff"
    frames = [name.translate({ord(";"): ":", ord("!"): "1", ord("@"): "a"}) for name in names]
    lives = [{"size": 9000, "stack": f"{frame};main", "born": at * SECOND} for at, frame in enumerate(frames)]
    heap = heap_of(lives, processes=[{"executable": f"/bin/{names[0]}"}], threads={1: names[1]})
    for page in (picture_pages.flame(heap), picture_pages.stream(heap)):
        assert page.count(b"<script>") == 1 and page.count(b"</script>") == 2
        assert b"<img" not in page.split(b"<script>")[0]
        about = data_of(page)
        found = about["names"] if "names" in about else about["picture"]["names"]
        assert all(name.isprintable() and len(name) <= picture_text.LONGEST for name in found)
        assert {"<img src=x onerror=alert(1)>", "שלום עולם", "-->"} <= set(found)
        assert any("\\u202e" in name for name in found)


def test_an_empty_heap_one_sample_and_a_selection_of_nothing_are_pages_that_say_so(heap: Heap) -> None:
    for empty in (heap_of([]), heap):
        selection = Selection(focus="nothing of the kind") if empty is heap else None
        assert not any(view["row"] for view in data_of(picture_pages.flame(empty, selection))["views"])
        assert any("nothing to draw" in line for line in data_of(picture_pages.stream(empty, selection))["lines"])
    of_one = heap_of([{"size": 10, "period": 1 << 19}])
    assert any("1 sample says little" in line for line in data_of(picture_pages.stream(of_one))["lines"])
    one = data_of(picture_pages.flame(of_one))
    assert figures_of(view_of(one, "in-use"), 0)[3] == 1


def test_no_name_is_too_odd_for_a_page() -> None:
    odd = heap_of([{"size": 10, "stack": "main;f\ud800x;g\udc80"}])
    assert {"f\\ud800x", "g\\udc80"} <= set(data_of(picture_pages.flame(odd))["names"])
    picture_pages.stream(odd)
    picture_pages.changed(odd, odd)


def test_pages_and_papers_have_one_rule_of_doubt() -> None:
    script = (ROOT / "flamegraph/src/flame_paint.ts").read_text()
    for name in ("DOUBTFUL", "DOUBTED"):
        assert f"const {name} = {getattr(pictures, name):g};" in script
    assert f"const FEW = {picture_text.FEW};" in (ROOT / "flamegraph/src/flame_bar.ts").read_text()


def test_a_thousand_processes_are_a_page() -> None:
    heap = heap_of(
        [{"size": 4096, "stack": "f;main", "process": number} for number in range(1000)],
        processes=[{"pid": 100 + number, "executable": "/bin/worker"} for number in range(1000)],
    )
    picture = picture_data.of(heap)
    assert picture["title"] == "worker[100], worker[101] and 998 more"
    assert figures_of(view_of(picture, "in-use"), 0)[3] == 1000
    assert any("1000 processes" in line for line in picture["lines"])


def test_a_page_reaches_for_nothing(heap: Heap) -> None:
    page = picture_pages.flame(heap).decode()
    assert "default-src 'none'" in page and "connect-src 'none'" in page
    assert not re.search(r"<(?:link|img|iframe|object|embed)\b", page.split("<script>")[0])


# Streams.


def test_the_bands_of_every_grouping_add_up_to_the_total(heap: Heap) -> None:
    about = data_of(picture_pages.stream(heap, by="thread", bands=2))
    assert [by["key"] for by in about["by"]] == ["thread", "line", "function", "module", "size", "stack"]
    total = about["total"]["value"]
    for by in about["by"]:
        assert 0 < len(by["bands"]) <= 3
        assert np.sum([band["bytes"]["value"] for band in by["bands"]], axis=0) == pytest.approx(total, rel=1e-3)
        assert all((band["colour"] == -1) == band["name"].startswith(("other", "(no stack)")) for band in by["bands"])
    assert set(about["picture"]["times"]["edges"]) <= set(about["times"])


def test_a_band_leads_to_its_node(heap: Heap) -> None:
    about = data_of(picture_pages.stream(heap))
    for band in about["by"][0]["bands"]:
        nodes, names = about["picture"]["nodes"], about["picture"]["names"]
        if band["colour"] >= 0 and band["function"] != "(no stack)":
            assert names[nodes["name"][band["node"]]] == band["function"]
            assert nodes["colour"][band["node"]] == band["colour"]


def test_a_hundred_thousand_stacks_make_a_page_of_less_than_8_mb() -> None:
    page = picture_pages.flame(large(60_000, 100_000))
    assert len(page) < 8 << 20
    assert len(data_of(page)["cells"]["node"]) <= picture_data.MOST_CELLS

"""What has changed, as pages get it: `diff` says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poireau import diff
from poireau.errors import Failure
from poireau.model import Heap
from poireau.report import picture_change
from poireau.selection import Selection
from poireau.views import view
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report.picture_data_test import DIGITS, data_of, view_of
from tests.poireau.report.pictures_test import growing


@pytest.fixture(scope="module")
def heap() -> Heap:
    return growing()


def run(seed: int, leaky: int, prefix: str = "/a/") -> Heap:
    """Steady functions that come and go, and one that has grown; in files that lie elsewhere."""
    random = np.random.default_rng(seed)
    common = {"period": 4096, "born": SECOND}
    lives = [{**common, "size": 4000, "stack": f"steady@{prefix}s.c:5;main@{prefix}m.c:1"} for _ in range(200)]
    lives += [{**common, "size": 4000, "stack": f"leaky@{prefix}s.c:9;main@{prefix}m.c:2"} for _ in range(leaky)]
    for number in range(int(random.integers(1, 6))):
        lives.append({**common, "size": 10, "stack": f"noise{number}@{prefix}s.c:7;main@{prefix}m.c:3"})
    return heap_of(lives)


def row_of(picture: dict[str, Any], function: str) -> dict[str, Any]:
    """Of its one node."""
    names, change = picture["names"], picture["change"]
    (node,) = (n for n, name in enumerate(picture["nodes"]["name"]) if names[name] == function)
    at = change["row"].index(node)
    return {name: column[at] for name, column in change.items() if name != "names"}


@pytest.mark.parametrize("seconds", [60, 110, 180])
def test_between_moments_a_node_has_changed_as_diff_says(heap: Heap, seconds: int) -> None:
    before = BEGIN + seconds * SECOND
    picture = picture_change.of_moments(heap, before)
    answer = diff.of_moments(heap, before, heap.end, "line")
    for row in answer.table.to_dict("records"):
        if row["function"] in ("Cache::put(Entry const&)", "remember", "compress(char const*)", "load_table"):
            got = row_of(picture, row["function"])
            for name, column in (("value", "change"), ("before", "before"), ("after", "after")):
                assert got[name] == pytest.approx(row[column], rel=DIGITS, abs=1)
            ends = (row["change_low"], row["change_high"])
            assert (got["low"], got["high"]) == pytest.approx(ends, rel=DIGITS, abs=1)
    whole = picture["change"]
    assert whole["row"][0] == 0
    assert whole["value"][0] == pytest.approx(answer.change.value, rel=DIGITS, abs=1)
    assert (picture["shown"], picture["views"][0]["key"]) == ("change", "change")
    assert len(picture["views"]) == 8


def test_of_two_runs_what_has_grown_is_significant_and_what_is_steady_is_not(seed: int) -> None:
    first, second = run(seed, 50), run(seed + 1, 400, "/elsewhere/")
    picture = picture_change.of_heaps(first, second)
    grown, steady = row_of(picture, "leaky"), row_of(picture, "steady")
    assert grown["significant"] and not steady["significant"]
    answer = diff.of_views(view(first, "in-use", "function"), view(second, "in-use", "function"))
    rows = answer.table.set_index("function")
    for name, got in (("leaky", grown), ("steady", steady)):
        assert got["before"] == pytest.approx(rows.loc[name, "before"], rel=DIGITS)
        assert got["after"] == pytest.approx(rows.loc[name, "after"], rel=DIGITS)
        assert got["value"] == pytest.approx(rows.loc[name, "change"], rel=DIGITS, abs=1)
    assert picture["names"].count("main") == 1  # files that lie elsewhere are no difference
    whole = view_of(picture, "in-use")["bytes"]["value"][0]
    assert whole == pytest.approx(view(second).total_bytes.value, rel=DIGITS)


def test_the_same_twice_has_not_changed(heap: Heap) -> None:
    change = picture_change.of_heaps(heap, heap)["change"]
    assert not any(change["significant"])
    assert set(change["value"]) == {0}


def test_widths_are_what_was_before_and_after_together(seed: int) -> None:
    picture = picture_change.of_heaps(run(seed, 5), run(seed + 1, 9), limit=3)
    shown, change, parent = view_of(picture, "change"), picture["change"], picture["nodes"]["parent"]
    assert shown["row"] == change["row"]
    assert shown["bytes"]["value"] == pytest.approx(np.add(change["before"], change["after"]), rel=1e-3)
    value = dict(zip(shown["row"], shown["bytes"]["value"]))
    assert sum(each for row, each in value.items() if row and parent[row] == 0) == pytest.approx(value[0], rel=1e-3)


def test_nothing_and_moments_in_the_wrong_order(heap: Heap) -> None:
    from poireau.report import picture_pages

    about = data_of(picture_pages.changed(heap_of([]), heap_of([])))
    assert about["change"]["row"] == []
    with pytest.raises(Failure, match="not after the first"):
        picture_change.of_moments(heap, heap.end, Selection())

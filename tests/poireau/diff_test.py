from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from poireau.diff import of_moments, of_views
from poireau.errors import Failure
from poireau.model import Heap
from poireau.selection import Selection
from poireau.views import BYS, view
from tests.poireau.histories import BEGIN, SECOND, heap_of

BEFORE, AFTER = BEGIN + 10 * SECOND, BEGIN + 20 * SECOND
END = {"size": 0, "period": 1, "born": 30 * SECOND, "stack": ""}


def some_lives(seed: int, count: int = 400) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    lives = []
    for _ in range(count):
        born = rng.randrange(30 * SECOND)
        life = {"size": rng.choice([10, 500, 70_000]), "period": rng.choice([1, 4096, 1 << 19]), "born": born}
        life |= {"stack": rng.choice(["f@f.c:1;main@m.c:1", "f@f.c:2;main@m.c:2", "g@g.c:1;main@m.c:3"])}
        lives.append(life | ({"died": born + rng.randrange(1, 20 * SECOND)} if rng.random() < 0.7 else {}))
    return [*lives, END]


@pytest.mark.parametrize("by", BYS)
def test_two_moments_differ_by_what_was_in_use_then_and_when(seed: int, by: str) -> None:
    heap = heap_of(some_lives(seed))
    diff = of_moments(heap, BEFORE, AFTER, by)
    views = [view(heap, "in-use", by, Selection(until=at)) for at in (BEFORE, AFTER)]
    assert diff.before.value == pytest.approx(views[0].total_bytes.value)
    assert diff.after.value == pytest.approx(views[1].total_bytes.value)
    assert diff.change.value == pytest.approx(diff.after.value - diff.before.value)
    table = diff.table
    assert (table["change"]).to_numpy() == pytest.approx((table["after"] - table["before"]).to_numpy())
    assert table["change"].sum() == pytest.approx(diff.change.value)
    assert (table["change_low"] <= table["change"]).all() and (table["change"] <= table["change_high"]).all()
    assert (np.diff(np.abs(table["change"])) <= 0).all()


@pytest.mark.parametrize("period", [1, 1 << 19])
def test_what_is_alive_at_both_moments_cancels(period: int) -> None:
    old = [{"size": 1000, "period": period, "born": 1, "stack": "old"}] * 50
    diff = of_moments(heap_of([*old, END]), BEFORE, AFTER)
    (row,) = diff.table.to_dict("records")
    assert row["before"] == row["after"] >= 50_000 and row["change"] == 0 and not row["significant"]
    # Of what came or went without a sample, there are less than three periods.
    unseen = 0 if period == 1 else 3 * period
    assert -row["change_low"] == row["change_high"] == pytest.approx(unseen, rel=0.01, abs=1e-200)


def test_a_change_that_every_sample_agrees_on_is_significant_and_noise_is_not() -> None:
    def lives(function: str, count: int, **times: int) -> list[dict[str, Any]]:
        return [{"size": 100, "period": 1 << 19, "stack": function, **times}] * count

    came = {"born": 15 * SECOND}
    went = {"born": 1, "died": 15 * SECOND}
    heap = heap_of(
        [
            *lives("grown", 60, **came),
            *lives("noise", 20, **came),
            *lives("noise", 18, **went),
            *lives("shrunk", 60, **went),
            END,
        ]
    )
    rows = of_moments(heap, BEFORE, AFTER).table.set_index("function")
    assert rows["significant"].to_dict() == {"grown": True, "shrunk": True, "noise": False}
    assert rows.loc["grown", "change"] > 0 > rows.loc["shrunk", "change"]


def test_of_many_stacks_that_did_not_change_few_are_significant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heaps = [
        heap_of(
            [
                {"size": 64, "period": 4096, "stack": f"f{number}"}
                for number in range(400)
                for _ in range(rng.poisson(9))
            ]
        )
        for _ in range(2)
    ]
    diff = of_views(*(view(heap, "in-use", "function") for heap in heaps))
    # Under no change at all, Benjamini and Hochberg have any significant one with a chance of 5 %, and then few.
    assert diff.table["significant"].sum() <= 4
    assert 0.02 < (diff.table["chance"] < 0.1).mean() < 0.2


def test_two_heaps_are_joined_by_names_whatever_the_numbers() -> None:
    first = heap_of(
        [{"stack": "f@f.c:1;main@m.c:1", "size": 10, "thread": 7}, {"stack": "gone", "size": 3, "thread": 7}],
        threads={7: "io"},
    )
    second = heap_of(
        [{"stack": "new", "size": 5, "thread": 9}, {"stack": "/other!f@f.c:100;main@m.c:3", "size": 30, "thread": 9}],
        threads={9: "io"},
    )  # fmt: skip
    diff = of_views(*(view(heap, "in-use", "stack") for heap in (first, second)))
    assert dict(zip(diff.table["function"], diff.table["change"])) == {"f": 20, "new": 5, "gone": -3}
    assert dict(zip(diff.table["function"], diff.table["side"])) == {"f": 1, "new": 1, "gone": 0}
    by_thread = of_views(*(view(heap, "in-use", "thread") for heap in (first, second)))
    assert by_thread.table[["name", "before", "after"]].to_numpy().tolist() == [["io", 13, 35]]


@pytest.mark.parametrize("by", BYS)
def test_a_heap_does_not_differ_from_itself(seed: int, by: str) -> None:
    heap = heap_of(some_lives(seed))
    diff = of_views(view(heap, "allocated", by), view(heap, "allocated", by))
    assert (diff.table["change"] == 0).all() and not diff.table["significant"].any()


@pytest.mark.parametrize("by", BYS)
def test_nothing_and_nothing_do_not_differ(by: str) -> None:
    nothing: list[Heap] = [heap_of([]), heap_of([])]
    assert len(of_views(*(view(heap, "in-use", by) for heap in nothing)).table) == 0
    assert len(of_moments(nothing[0], BEFORE, AFTER, by).table) == 0
    some = view(heap_of(some_lives(1)), "in-use", by)
    assert of_views(view(nothing[0], "in-use", by), some).change.value == pytest.approx(some.total_bytes.value)


def test_what_can_not_be_compared_is_refused() -> None:
    heap = heap_of([])
    with pytest.raises(Failure, match="not after"):
        of_moments(heap, AFTER, BEFORE)
    with pytest.raises(Failure, match="same kind"):
        of_views(view(heap, "in-use", "stack"), view(heap, "in-use", "line"))

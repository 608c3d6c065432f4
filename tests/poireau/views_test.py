"""Views against sums taken life by life."""

from __future__ import annotations

import math
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from poireau import asking, estimates, resident
from poireau.errors import USAGE, Failure
from poireau.model import NEVER, Heap
from poireau.preamble import Preamble
from poireau.selection import Selection
from poireau.views import BYS, WHATS, View, view
from poireau.windows import Pace, Within
from tests.poireau.histories import BEGIN, SECOND, History, heap_of

STACKS = [
    "operator new;std::vector<int>::push_back(int);load@load.cc:7;main@main.cc:3",
    "load@load.cc:8;main@main.cc:3",
    "libplug.so!plug_run@plug.c:11;load@load.cc:9;main@main.cc:3",
    "walk@walk.cc:1;walk@walk.cc:1;walk@walk.cc:2;main@main.cc:5",
    "main@main.cc:9",
    "",
]
SITES = [("load", 7), ("load", 8), ("plug_run", 11), ("walk", 1), ("main", 9), ("(no stack)", 0)]
Life = dict[str, Any]


def some_lives(seed: int, count: int = 150, period: int | None = None) -> list[Life]:
    rng = random.Random(seed)
    lives = []
    for _ in range(count):
        born = rng.randrange(1000) * SECOND // 100
        life: Life = {
            "size": rng.choice([0, 1, 16, 100, 5000, 1 << 20]),
            "stack": rng.choice(STACKS),
            "period": period or rng.choice([1, 4096, 1 << 19]),
            "thread": rng.choice([1, 2, 3]),
            "function": rng.choice(["malloc", "operator new"]),
            "process": rng.randrange(2),
            "born": born,
            "since": 1,
        }
        life["by_calls"] = int(period is None and rng.random() < 0.2)
        if rng.random() < 0.6:
            life |= {
                "died": born + 1 + rng.choice([1000, SECOND // 1000, 3 * SECOND]),
                "free_thread": rng.choice([1, 2]),
            }
        lives.append(life)
    # Both processes are there from the beginning to the end.
    ends = ({"process": process, "born": at, "stack": "", "thread": 1} for process in (0, 1) for at in (0, 20 * SECOND))
    return lives + [
        {"size": 1, "period": period or 1, "function": "malloc", "by_calls": 0, "since": 1, **each} for each in ends
    ]


def heap(lives: Iterable[Life], batch: int = 1 << 16, **more: Any) -> Heap:
    return heap_of(lives, processes=({}, {}), threads={1: "main", 2: "worker"}, batch=batch, **more)


def weight(life: Life) -> float:
    if life["period"] <= 1:
        return 1.0
    return 1 / -math.expm1(-(1 if life["by_calls"] else max(life["size"], 1)) / life["period"])


AT, SINCE, UNTIL = BEGIN + 4 * SECOND, BEGIN + 2 * SECOND, BEGIN + 7 * SECOND
WINDOW = Selection(since=SINCE, until=UNTIL)


def times(life: Life) -> tuple[int, int]:
    died = life.get("died", NEVER)
    return BEGIN + life["born"], died if died == NEVER else BEGIN + died


def there(what: str, life: Life) -> float:
    """How many times its bytes count in the window."""
    born, died = times(life)
    if what == "in-use":
        return born < UNTIL <= died
    if what == "freed":
        return SINCE <= died < UNTIL
    if what in ("byte-seconds", "average"):
        seconds = max(0, min(died, UNTIL) - max(born, SINCE)) / SECOND
        return seconds if what == "byte-seconds" else seconds / 5
    new = SINCE <= born < UNTIL
    return new and (what == "allocated" or died - born <= 10_000_000)


KEYS: dict[str, tuple[Callable[[Life], Any], Callable[[dict[str, Any]], Any]]] = {
    "function": (lambda life: SITES[STACKS.index(life["stack"])][0], lambda row: row["function"]),
    "line": (lambda life: SITES[STACKS.index(life["stack"])], lambda row: (row["function"], row["line"])),
    "stack": (lambda life: SITES[STACKS.index(life["stack"])], lambda row: (row["function"], row["line"])),
    "thread": (lambda life: (life["process"], life["thread"]), lambda row: (row["process"], row["thread"])),
    "threads": (
        lambda life: (life["process"], life["thread"], life["free_thread"] if "died" in life else 2**32 - 1),
        lambda row: (row["process"], row["thread"], row["free_thread"]),
    ),
    "size": (lambda life: 0 if not life["size"] else 1 << (life["size"] - 1).bit_length(), lambda row: row["largest"]),
    "call": (lambda life: life["function"], lambda row: row["call"]),
    "process": (lambda life: life["process"], lambda row: row["process"]),
}


@pytest.mark.parametrize("what", [what for what in WHATS if what not in ("peak", "resident")])
def test_every_figure_is_the_sum_over_the_lives_that_it_is_about(seed: int, what: str) -> None:
    lives = some_lives(seed)
    of = heap(lives)
    for by, (of_life, of_row) in KEYS.items():
        expected: dict[Any, float] = defaultdict(float)
        for life in lives:
            expected[of_life(life)] += life["size"] * weight(life) * there(what, life)
        got = {of_row(row): row["bytes"] for row in view(of, what, by, WINDOW).table.to_dict("records")}
        for key in expected.keys() | got.keys():
            assert got.get(key, 0) == pytest.approx(expected[key], rel=1e-9, abs=1e-6), (by, key)


@pytest.mark.parametrize("what", [what for what in WHATS if what != "resident"])
def test_parts_add_up_to_the_total_and_the_largest_comes_first(seed: int, what: str) -> None:
    of = heap(some_lives(seed))
    whole = view(of, what, "process")
    for by in BYS:
        answer = view(of, what, by)
        for name in ("bytes", "count"):
            assert answer.table[name].sum() == pytest.approx(getattr(whole, f"total_{name}").value)
            ours, all_of_them = (getattr(each, f"total_{name}").deviation for each in (answer, whole))
            assert ours == pytest.approx(all_of_them)
            assert (answer.table[f"{name}_low"] <= answer.table[name]).all()
            assert (answer.table[name] <= answer.table[f"{name}_high"]).all()
        assert answer.table["samples"].sum() == answer.samples
        assert (np.diff(answer.table["bytes"]) <= 0).all()


@pytest.mark.parametrize("by", BYS)
def test_lives_in_small_parts_give_the_same_as_all_at_once(seed: int, by: str) -> None:
    lives = some_lives(seed)
    answers = [view(heap(lives, **more), "allocated", by).table for more in ({}, {"batch": 7})]
    values = [sorted(answer["bytes"].tolist()) for answer in answers]
    assert values[0] == pytest.approx(values[1])
    assert sorted(answers[0]["samples"]) == sorted(answers[1]["samples"])


def test_every_call_is_exact(seed: int) -> None:
    lives = some_lives(seed, period=1)
    answer = view(heap(lives), "allocated", "function")
    assert answer.total_bytes.value == sum(life["size"] for life in lives)
    assert answer.total_bytes.exact and answer.total_count.exact
    assert (answer.table["bytes_low"] == answer.table["bytes_high"]).all()


@pytest.mark.parametrize("pattern", ["load", "plug", r"walk\.cc$", "push_back", "nobody"])
def test_focus_and_ignore_part_the_heap(seed: int, pattern: str) -> None:
    of = heap(some_lives(seed))
    whole = view(of, "in-use", "process")
    for by in BYS:
        parts = [view(of, "in-use", by, Selection(**{name: pattern})) for name in ("focus", "ignore")]
        assert sum(part.total_bytes.value for part in parts) == pytest.approx(whole.total_bytes.value)
        assert sum(part.table["samples"].sum() for part in parts) == whole.samples


def test_hidden_frames_are_not_named_and_take_nothing_with_them(seed: int) -> None:
    lives = some_lives(seed)
    whole, hidden = (view(heap(lives), "in-use", "function", Selection(hide=hide)) for hide in ("", "load|plug"))
    assert hidden.total_bytes.value == pytest.approx(whole.total_bytes.value)
    assert {"load", "plug_run"} & set(whole.table["function"]) and not {"load", "plug_run"} & set(
        hidden.table["function"]
    )


def test_what_is_in_use_is_what_was_and_what_came_less_what_went(seed: int) -> None:
    lives = some_lives(seed)
    before, after = (view(heap(lives), "in-use", "process", Selection(until=at)) for at in (SINCE, UNTIL))
    came, went = (view(heap(lives), what, "process", WINDOW) for what in ("allocated", "freed"))
    assert after.total_bytes.value == pytest.approx(
        before.total_bytes.value + came.total_bytes.value - went.total_bytes.value
    )


def test_the_peak_is_not_less_than_any_moment(seed: int) -> None:
    lives = some_lives(seed)
    peak = view(heap(lives), "peak", "process").total_bytes.value
    for second in range(1, 12):
        moment = view(heap(lives), "in-use", "process", Selection(until=BEGIN + second * SECOND))
        assert moment.total_bytes.value <= peak * (1 + 1e-12)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(processes=(1,)),
        Selection(threads=("worker",)),
        Selection(focus="load"),
        Selection(ignore="load", processes=(0,)),
        WINDOW,
        replace(WINDOW, focus="walk"),
        Selection(until=SINCE),
        Selection(focus="nobody"),
    ],
)
def test_the_peak_of_a_selection_is_its_own(seed: int, selection: Selection) -> None:
    lives = some_lives(seed)
    of = heap(lives)
    since, until = selection.since or of.begin, selection.until or of.end + 1
    moments = [since, *(BEGIN + life["born"] for life in lives if since <= BEGIN + life["born"] < until)]
    most = 0.0
    for moment in set(moments):
        at = replace(selection, since=None, until=moment + 1)
        most = max(most, view(of, "in-use", "process", at).total_bytes.value)
    peak = view(of, "peak", "stack", selection)
    assert peak.total_bytes.value == pytest.approx(most)
    assert peak.samples == 0 or since <= peak.until < until


def test_what_was_asked_for_before_anything_was_written_counts() -> None:
    history = History()
    history.process(time=5)
    history.alloc(1, size=100, time=2, stamp=6, period=1)
    answer = view(history.heap(), "allocated", "process")
    assert answer.total_bytes.value == 100


def test_all_that_was_allocated_is_counted_where_every_birth_is_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, period = rng.integers(1, 2000, 20_000), 50_000
    stacks = rng.integers(0, 5, len(sizes))
    sampled = np.flatnonzero(rng.random(len(sizes)) < estimates.chance(sizes, period))
    since = np.diff(np.cumsum(sizes)[sampled], prepend=0)
    columns = zip(sampled.tolist(), sizes[sampled].tolist(), since.tolist(), stacks[sampled].tolist())
    lives = [
        {"born": number, "size": size, "since": before, "stack": STACKS[stack], "period": period, "by_calls": 0}
        for number, size, before, stack in columns
    ]
    whole = view(heap(lives), "allocated", "stack")
    assert whole.counted and whole.total_bytes.deviation < 2 * period
    assert abs(whole.total_bytes.value - sizes.sum()) < 20 * period
    assert whole.table["bytes"].sum() == pytest.approx(whole.total_bytes.value)
    part = view(heap(lives), "allocated", "stack", Selection(since=BEGIN + 1))
    assert part.counted is None and part.total_bytes.deviation > 10 * period
    uncounted = {"born": 0, "size": 1, "since": 10**9, "period": period}
    assert view(heap([*lives, uncounted]), "allocated").counted is None


def test_what_is_in_memory_is_asked_of_a_process_that_still_runs() -> None:
    with pytest.raises(Failure, match="has ended"):
        view(heap(some_lives(1)), "resident")
    with pytest.raises(Failure, match="no window"):
        view(heap(some_lives(1)), "resident", selection=WINDOW)
    block = np.ones(64 * resident.PAGE, np.uint8)
    history = History()
    history.process(
        host=os.uname().nodename,
        executable=os.path.realpath("/proc/self/exe"),
        pid=os.getpid(),
        start_time=resident._started(os.getpid()),
    )
    history.alloc(1, address=block.__array_interface__["data"][0], size=32 * resident.PAGE, period=1)
    history.alloc(2, address=1 << 46, size=32 * resident.PAGE, period=1)
    answer = view(history.heap(), "resident", "process")
    assert (answer.total_bytes.value, answer.total_count.value) == (32 * resident.PAGE, 2)


def test_what_goes_through_a_function_counts_once_however_deep_it_recurses() -> None:
    same = {"period": 1, "born": 1, "size": 100}
    answer = view(heap([{**same, "stack": stack} for stack in STACKS]), "in-use", "function")
    through = dict(zip(answer.table["function"], answer.table["through"]))
    assert through == {
        "main": 500, "load": 300, "walk": 100, "plug_run": 100, "(no stack)": 100, "operator new": 100,
        "std::vector<int>::push_back(int)": 100,
    }  # fmt: skip
    assert dict(zip(answer.table["function"], answer.table["bytes"]))["main"] == 100


def test_processes_and_threads_are_chosen_by_number_name_and_id(seed: int) -> None:
    lives = some_lives(seed)

    def total(**chosen: Any) -> float:
        return view(heap(lives), "allocated", "thread", Selection(**chosen)).total_bytes.value

    def expected(keep: Callable[[Life], bool]) -> float:
        return sum(life["size"] * weight(life) for life in lives if keep(life))

    assert total(processes=(1,)) == pytest.approx(expected(lambda life: life["process"] == 1))
    assert total(threads=("worker",)) == pytest.approx(expected(lambda life: life["thread"] == 2))
    assert total(threads=("worker", "3")) == pytest.approx(
        expected(lambda life: life["thread"] == 2)
    )  # 3 never said a name
    assert total(threads=("nobody",)) == 0


def test_temporary_is_by_time_or_by_allocations_in_between() -> None:
    blocks = [{"born": at * 1000, "size": 10, "period": 1, "died": at * 1000 + 3500} for at in range(1000)]
    keep = [{"born": 999_999, "size": 1, "period": 1}]
    for within, expected in (
        (Within(nanoseconds=3500), 1000),
        (Within(nanoseconds=3499), 0),
        (Within(nanoseconds=None, allocations=4.5), 1000),
        (Within(nanoseconds=None, allocations=2), 2),  # nothing came after the last ones
        (Within(nanoseconds=3500, allocations=2), 2),
    ):
        assert view(heap(blocks + keep), "temporary", "process", within=within).total_count.value == expected, within


def test_the_pace_of_many_allocations_keeps_few_points_and_stays_near(seed: int) -> None:
    rng = np.random.default_rng(seed)
    born = np.sort(rng.integers(0, SECOND, 100_000))
    lives = {"process": np.zeros(100_000, int), "born": born, "died": np.minimum(born + SECOND // 10, SECOND)}
    lives |= {"size": np.full(100_000, 64), "period": np.ones(100_000, int), "by_calls": np.zeros(100_000, bool)}
    pace = Pace(most=4096)
    for part in np.array_split(rng.permutation(100_000), 9):
        pace.add({name: column[part] for name, column in lives.items()})
    assert len(pace.points[0].times) <= 4096
    exact = np.searchsorted(born, lives["died"]) - np.searchsorted(born, born)
    assert np.abs(pace.between(lives) - exact).max() <= 100


def test_an_empty_heap_has_empty_views() -> None:
    for what in WHATS:
        for by in BYS:
            answer = view(heap_of([]), what, by, Selection(focus="x" if by == "thread" else ""))
            assert len(answer.table) == 0 and answer.total_bytes.value == 0 and answer.samples == 0


@pytest.mark.parametrize(("what", "by"), [("in-use", "moon"), ("sold", "stack")])
def test_what_there_is_no_view_of_is_refused(what: str, by: str) -> None:
    with pytest.raises(Failure) as failure:
        view(heap_of([]), what, by)
    assert failure.value.status == USAGE


def opening(answer: View, of: Heap) -> str:
    return " ".join(Preamble.of(of, answer.selection, answer.periods, answer.stacks).lines())


def test_the_preamble_says_what_the_answer_rests_on() -> None:
    lives = [{"size": 10, "period": 1 << 19, "born": at} for at in range(3)]
    of = heap(lives)
    said = opening(view(of, "in-use", "stack"), of)
    assert "program[1000], program[1001], 2 processes" in said
    assert "a sample every 512KiB; 3 samples; nothing lost; a stack under 1.50MiB can be missed" in said
    exact = heap([{**life, "period": 1} for life in lives])
    said = opening(view(exact, "in-use", "stack"), exact)
    assert "every call; 3 samples" in said and "missed" not in said


def test_of_a_trace_that_was_kept_small_it_is_said_what_is_forgotten() -> None:
    history = History()
    history.process(time=5)
    history.live(1, size=100, time=2, stamp=6)
    history.alloc(2, size=100, time=7, since=300)
    assert history.heap().asked_for() is not None
    history.event("checkpoint", 0, 8, oldest=2, live=1, live_bytes=100)
    of = history.heap()
    assert of.asked_for() is None, "births are missing"
    answer = view(of, "allocated", "stack")
    assert Preamble.of(of, answer.selection).forgotten == of.begin + 2, "it began before"
    assert "is forgotten (trace_limit)" in opening(answer, of)


def test_the_command_offers_just_the_views_there_are() -> None:
    assert (tuple(WHATS), BYS) == (asking.WHATS, asking.BYS)

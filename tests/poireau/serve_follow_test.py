"""What is followed is what is alive, whatever comes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from poireau import estimates, views
from poireau.report import words
from poireau.selection import Selection
from poireau.serve_follow import Followed
from poireau.serve_stream import FIRST, MOST, POINTS, Stream
from tests.poireau.histories import SECOND, History

STACKS = [f"m!f{number}@f.c:{number};main" for number in range(40)]


class Trace(History):
    closed = False

    def close(self) -> None:
        self.closed = True


def history(following: bool = True) -> Trace:
    made = Trace()
    made.following = following
    made.process(12)
    return made


def followed(of: Trace) -> Followed:
    return Followed(of, of.symbolize, 1 << 20)  # type: ignore[arg-type]


def at_once(work: Any) -> None:
    work()


def totals(of: Followed, kind: str = "stack") -> np.ndarray:
    return of.sums[kind].all().value


def right(of: Followed, groups: int) -> np.ndarray:
    lives = of.heap.live()
    return estimates.grouped(lives["stack"].to_numpy(np.int64), groups, lives).value


def test_a_look_adds_what_was_born_and_takes_away_what_has_ended(seed: int) -> None:
    """Also where events come out of order, blocks are resized, and checkpoints tell again what is known."""
    draw, told = random.Random(seed), history()
    of = followed(told)
    of.group("stack")
    alive, next_id = dict[int, dict[str, Any]](), 1 << 40
    for turn in range(120):
        for _ in range(draw.randrange(30)):
            time, kind = turn * SECOND, draw.random()
            if kind < 0.5 or not alive:
                next_id += 1
                given = {
                    "size": draw.choice([10, 900, 70_000]),
                    "period": draw.choice([1, 4096]),
                    "stack": draw.choice(STACKS),
                }
                late = draw.random() < 0.05
                if late:  # the free is in the trace before the birth
                    told.free(next_id, time=time)
                told.alloc(next_id, time=time, **given)
                if not late:
                    alive[next_id] = given
            elif kind < 0.8:
                told.free(id := draw.choice(list(alive)), time=time)
                del alive[id]
            elif kind < 0.95:
                id = draw.choice(list(alive))
                alive[id] = {**alive[id], "size": draw.randrange(1, 9000)}
                told.resize(id, time=time, **alive[id])
            else:
                for id, given in alive.items():
                    told.live(id, time=time, **given)
        of.look()
        found = totals(of)
        assert found == pytest.approx(right(of, len(found)), rel=1e-9, abs=1e-6), turn
    assert len(of.heap.live()) == len(alive)


def test_threads_and_sizes_are_told_apart_when_somebody_asks() -> None:
    told = history()
    told.event("thread", 0, 0, thread=7, name="worker")
    told.alloc(1, size=100, thread=1, stack="f;main")
    of = followed(told)
    of.group("thread")
    of.look()
    assert totals(of, "thread").tolist() == [100]
    of.group("size")
    told.alloc(2, size=5000, thread=7, stack="f;main")
    of.look()
    assert totals(of, "thread").tolist() == [100, 5000] and of.threads == [1, 7]
    stream = Stream("12-1", of, "thread", at_once)
    stream.prepare()
    bands = stream.beginning()[0][1]["bands"]
    assert [band["name"] for band in bands] == ["worker [7]", "thread [1]"]
    by_size = Stream("12-1", of, "size", at_once)
    by_size.prepare()
    assert [band["name"] for band in by_size.beginning()[0][1]["bands"]] == ["up to 8KiB", "up to 128B"]


def streamed(told: Trace, by: str = "line") -> tuple[Followed, Stream]:
    of = followed(told)
    stream = Stream("12-1", of, by, at_once)
    stream.prepare()
    return of, stream


def test_a_point_tells_what_has_changed_and_adds_up() -> None:
    told = history()
    for number in range(30):
        told.alloc(number + 1, size=1000 + number, time=SECOND, stack=STACKS[number])
    of, stream = streamed(told)
    (_, bands), (_, begun) = stream.beginning()
    assert len(bands["bands"]) == FIRST and bands["reset"]
    assert len(begun["times"]) == len(begun["total"]["value"]) == len(begun["values"][""])
    of.look()
    ((kind, first),) = stream.tick(10)
    assert kind == "point" and len(first["values"]) == FIRST
    told.alloc(99, size=5, time=2 * SECOND, stack=STACKS[29])
    of.look()
    ((_, point),) = stream.tick(20)
    changed = {band["key"]: band for band in bands["bands"]}[next(iter(point["values"]))]
    assert len(point["values"]) == 1 and changed["function"] == "f29"
    every = {**first["values"], **point["values"]}
    assert sum(value for value, *_ in every.values()) + point["other"][0] == point["total"][0] == 30 * 1000 + 435 + 5
    of.look()
    assert stream.tick(30)[0][1]["values"] == {}


def test_who_comes_to_have_much_joins_and_there_are_never_too_many() -> None:
    told = history()
    for number in range(40):
        told.alloc(number + 1, size=1000, time=SECOND, stack=STACKS[number])
    of, stream = streamed(told)
    seen = set[str]()
    for turn in range(200):
        told.alloc(100 + turn, size=1000 * turn**2, time=(2 + turn) * SECOND, stack=STACKS[turn % 40])
        of.look()
        for kind, message in stream.tick(turn + 1):
            if kind == "bands":
                seen |= {band["function"] for band in message["bands"]}
                assert len(message["bands"]) <= MOST and not message["reset"]
    assert len(seen) > MOST


def test_what_is_kept_of_the_past_is_bounded_and_in_order() -> None:
    told = history()
    told.alloc(1, size=1000, time=SECOND, stack="f;main")
    _of, stream = streamed(told)
    for turn in range(3 * POINTS):
        stream.tick(10**15 + 500 * turn)
    (_, begun) = stream.beginning()[1]
    times = begun["times"]
    assert (
        POINTS // 2 <= len(times) <= POINTS
        and times == sorted(set(times))
        and times[-1] == 10**15 + 500 * (3 * POINTS - 1)
    )


def test_the_past_is_told_from_the_trace() -> None:
    told = history()
    told.alloc(1, size=1000, time=SECOND, stack="early;main")
    told.alloc(2, size=500, time=2 * SECOND, stack="late;main")
    told.free(1, time=3 * SECOND)
    _of, stream = streamed(told)
    _bands, (_, begun) = stream.beginning()
    values = begun["total"]["value"]
    assert values[len(values) // 2 - 5] == 1000 and max(values) == 1500 and values[-1] == 500


def test_the_same_place_has_the_same_key_and_colour_in_another_run() -> None:
    def keys(order: list[str], by: str) -> dict[str, tuple[str, int]]:
        told = history()
        for number, stack in enumerate(order):
            told.alloc(number + 1, size=100, time=SECOND, stack=stack)
        _, stream = streamed(told, by)
        return {band["name"]: (band["key"], band["colour"]) for band in stream.beginning()[0][1]["bands"]}

    for by in ("line", "function", "stack", "module"):
        assert keys(STACKS[:5], by) == keys(STACKS[4::-1], by)


def test_names_that_take_long_hold_up_nobody() -> None:
    told = history()
    told.alloc(1, size=1000, time=SECOND, stack="f;main")
    of, later = followed(told), list[Any]()
    stream = Stream("12-1", of, "function", later.append)
    stream.prepare()
    told.alloc(2, size=9000, time=2 * SECOND, stack="g;main")
    of.look()
    ((_, point),) = stream.tick(10)
    assert point["other"][0] == 9000 and len(later) == 1
    later.pop()()
    of.look()
    (_kind, bands), (_, point) = stream.tick(20)
    assert [band["function"] for band in bands["bands"]] == ["f", "g"] and point["other"][0] == 0


def test_closing_lets_go_of_the_trace() -> None:
    told = history()
    of = followed(told)
    of.close()
    assert told.closed


@pytest.mark.parametrize("by", ["line", "function", "stack", "module", "thread", "size"])
def test_the_bands_are_what_top_says_by_anything(by: str, seed: int) -> None:
    """Value, interval and samples of each, and of all."""
    draw, told = random.Random(seed), history()
    for id in range(1, 400):
        size, period = draw.choice([10, 900, 70_000]), draw.choice([1, 4096, 1 << 19])
        stack = f"m{id % 3}!f{id % 9}@f.c:{id % 18};main"
        told.alloc(id, size=size, period=period, time=id * SECOND, thread=1 + id % 4, stack=stack)
    of, stream = streamed(told, by)
    for id in draw.sample(range(1, 400), 150):
        told.free(id, time=500 * SECOND)
    of.look()
    ((_, point),) = [message for message in stream.tick(10**12) if message[0] == "point"]
    names = {band["key"]: band["name"] for band in stream.beginning()[0][1]["bands"]}
    found = {names[key]: figures for key, figures in point["values"].items()}
    view = views.view(of.heap, "in-use", by, Selection())
    right = {words.key(row, by, False): row for row in view.table.to_dict("records")}
    assert point["total"][3] == 249 and point["total"][0] == round(view.table["bytes"].sum())
    for name, figures in found.items():
        if by == "function":  # which of its lines is named is of no account
            (row,) = (row for row in right.values() if row["function"] == name.split()[0])
        elif by == "thread":
            (row,) = (row for row in right.values() if f"[{row['thread']}]" in name)
        else:
            row = right[name]
        assert figures == pytest.approx([row[name] for name in ("bytes", "bytes_low", "bytes_high", "samples")], abs=1)


def test_where_the_clock_was_set_back_points_follow_what_the_trace_has() -> None:
    told = history()
    told.alloc(1, size=1000, time=SECOND, stack="f;main")
    told.alloc(2, size=1000, time=3600 * SECOND, stack="f;main")
    of, stream = streamed(told)
    last = stream.beginning()[1][1]["times"][-1]
    times = []
    for now in (1000, 1500, 2000):
        of.look()
        times += [message["t"] for kind, message in stream.tick(now) if kind == "point"]
    assert times == [last + 1, last + 501, last + 1001]
    assert stream.beginning()[1][1]["times"][-3:] == times


def test_of_what_has_gone_no_name_is_asked_for() -> None:
    told = history()
    for number in range(40):
        told.alloc(number + 1, size=1000, time=SECOND, stack=STACKS[number])
        if number:
            told.free(number + 1, time=2 * SECOND)
    _, stream = streamed(told)
    assert len(stream._all) == 1

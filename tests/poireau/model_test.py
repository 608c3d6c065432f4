from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from poireau.model import ALIVE, FREED, LIFE, LOST, NEVER, RESIZED, Heap
from poireau.model_time import bytes_of
from poireau.tables import Loss
from tests.conftest import ROOT
from tests.poireau.histories import BEGIN, SECOND, History, heap_of

HOME = (1 << 40) - 1
SIZES = (1, 2, 7, 1 << 20)


def use(home: int, uses: int = 1) -> int:
    return uses << 40 | home


def all_lives(heap: Heap, since: int | None = None, until: int | None = None) -> pd.DataFrame:
    parts = list(heap.lives(since, until))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(LIFE))


def told(lives: pd.DataFrame) -> Counter[tuple[Any, ...]]:
    return Counter(lives[list(LIFE)].itertuples(index=False, name=None))


def fates(heap: Heap) -> list[tuple[int, int, int, int]]:
    """id, born, died, fate, of all; times since BEGIN."""
    rows = all_lives(heap)[["id", "born", "died", "fate"]].itertuples(index=False, name=None)
    return sorted(
        (id & HOME, born - BEGIN, died if died == NEVER else died - BEGIN, fate) for id, born, died, fate in rows
    )


# What single histories mean.


def one(*events: tuple[Any, ...], **of_process: Any) -> History:
    """Of a process; each event is what, id, time, and what else there is of it."""
    history = History()
    history.process(**of_process)
    for what, id, time, *more in events:
        getattr(history, what)(id, time=time, **(more[0] if more else {}))
    return history


CASES = {
    "a birth and a free": ([("alloc", use(1), 1), ("free", use(1), 5)], [(1, 1, 5, FREED)]),
    "a block that stays": ([("alloc", use(1), 1)], [(1, 1, NEVER, ALIVE)]),
    "a home that is used again": (
        [("alloc", use(1), 1), ("free", use(1), 5), ("alloc", use(1, 2), 6)],
        [(1, 1, 5, FREED), (1, 6, NEVER, ALIVE)],
    ),
    "a free that is missing": (
        [("alloc", use(1), 1), ("alloc", use(1, 2), 6), ("free", use(1, 2), 7)],
        [(1, 1, 6, LOST), (1, 6, 7, FREED)],
    ),
    "a free and a birth that are missing": ([("alloc", use(1), 1), ("free", use(1, 2), 7)], [(1, 1, 7, LOST)]),
    "a change in place": (
        [("alloc", use(1), 1), ("resize", use(1), 3), ("resize", use(1), 4), ("free", use(1), 9)],
        [(1, 1, 3, RESIZED), (1, 3, 4, RESIZED), (1, 4, 9, FREED)],
    ),
    "a change of what is not known": ([("resize", use(1), 3), ("free", use(1), 9)], [(1, 3, 9, FREED)]),
    "copies of what is known": (
        [
            ("alloc", use(1), 1),
            ("live", use(1), 1, {"stamp": 4}),
            ("live", use(1), 1, {"stamp": 5}),
            ("free", use(1), 9),
        ],
        [(1, 1, 9, FREED)],
    ),
    "a copy of what is not": ([("live", use(1), 1, {"stamp": 8}), ("free", use(1), 9)], [(1, 1, 9, FREED)]),
    "a free of what is not": ([("free", use(1), 9), ("alloc", use(1, 2), 10)], [(1, 10, NEVER, ALIVE)]),
    "a free before its birth": ([("free", use(1), 9), ("alloc", use(1), 2)], [(1, 2, 9, FREED)]),
    "a free before its birth, and a new block": (
        [("free", use(1), 9), ("alloc", use(1), 2), ("alloc", use(1, 2), 11)],
        [(1, 2, 9, FREED), (1, 11, NEVER, ALIVE)],
    ),
    "news of a block whose home has another": (
        [("alloc", use(1, 2), 6), ("alloc", use(1), 2), ("free", use(1, 2), 9)],
        [(1, 2, 6, LOST), (1, 6, 9, FREED)],
    ),
    "a free written late": (
        [("alloc", use(1), 1), ("alloc", use(2), 7), ("free", use(1), 3, {"stamp": 8, "function": ""})],
        [(1, 1, 3, FREED), (2, 7, NEVER, ALIVE)],
    ),
    "a clock that goes backwards": ([("alloc", use(1), 5), ("free", use(1), 3)], [(1, 5, 5, FREED)]),
    "a birth told twice": ([("alloc", use(1), 1), ("alloc", use(1), 1), ("free", use(1), 3)], [(1, 1, 3, FREED)]),
}


@pytest.mark.parametrize("batch", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_events_mean(name: str, batch: int) -> None:
    events, expected = CASES[name]
    assert fates(one(*events).heap(batch)) == expected


def test_a_life_has_all_that_its_birth_and_its_end_say() -> None:
    history = History()
    history.process()
    birth = {"size": 100, "alignment": 64, "function": "calloc", "period": 77, "since": 500, "by_calls": 1}
    birth |= {"guarded": 1, "guard_chance": 9, "thread": 12, "address": 4096, "stack": "f;main"}
    history.alloc(use(3), time=4, **birth)
    history.free(use(3), time=6, function="cfree", thread=13, stack="g;main")
    heap = history.heap()
    (life,) = all_lives(heap).to_dict("records")
    texts = {"function": "calloc", "free_function": "cfree"}
    assert {name: heap.text([life.pop(name)])[0] for name in texts} == texts
    stacks = {"stack": history.stack("f;main"), "free_stack": history.stack("g;main")}
    del birth["function"], birth["stack"]
    ends = {"born": BEGIN + 4, "died": BEGIN + 6, "fate": FREED, "free_thread": 13, "late": False}
    assert life == {**birth, **ends, **stacks, "process": 0, "id": use(3)}
    assert {name: str(kind) for name, kind in all_lives(heap).dtypes.items()} == {
        name: np.dtype(kind).name for name, kind in LIFE.items()
    }


# Random histories, against what a slow reader makes of them.


def slow(history: History) -> list[dict[str, Any]]:
    """The lives, one event after the other."""
    there: dict[tuple[int, int], dict[str, Any]] = {}  # process, home -> a life, or a free that has found none
    over = []

    def end(life: dict[str, Any], fate: int, time: int, by: dict[str, Any] | None = None) -> None:
        of = {f"free_{name}": by[field] for name, field in ENDS.items()} if by else {}
        over.append({**life, "fate": fate, "died": max(time, life["born"]), **of})

    for kind, row in history.rows:
        if kind not in ("alloc", "live", "resize", "free"):
            continue
        place = row["process"], row["id"] & HOME
        had = there.get(place)
        if kind == "free":
            if had and had["fate"] == ALIVE and had["id"] == row["id"]:
                end(there.pop(place), FREED, row["time"], row)
                continue
            if had and had["id"] > row["id"]:
                continue
            if had and had["fate"] == ALIVE:
                end(had, LOST, row["time"])
            there[place] = {"id": row["id"], "fate": -1, "born": row["time"], "row": row}
            continue
        life: dict[str, Any] = dict.fromkeys(LIFE, 0)
        life |= {name: row[name] for name in LIFE if name in row}
        life |= {"stack": row["frames"], "born": row["time"], "died": NEVER, "fate": ALIVE, "late": kind == "live"}
        if had and had["id"] > row["id"]:
            end(life, LOST, had["born"])
        elif had and had["id"] == row["id"] and had["fate"] != ALIVE:
            end(life, FREED, had["born"], had["row"])
            del there[place]
        elif had and had["id"] == row["id"] and kind != "resize":
            continue
        else:
            if had and had["fate"] == ALIVE:
                same = had["id"] == row["id"]
                end(had, RESIZED if same else LOST, row["time"], row if same else None)
            there[place] = life
    return over + [life for life in there.values() if life["fate"] == ALIVE]


ENDS = {"function": "function", "thread": "thread", "stack": "frames"}


def random_history(rng: random.Random, events: int, unsound: float) -> History:
    """Processes whose events are written in almost any order; `unsound` of them are lost, told twice or come late."""
    history = History()
    for number in range(3):
        history.process(parent=0 if number == 2 else None)
    uses: Counter[tuple[int, int]] = Counter()
    alive: dict[tuple[int, int], int] = {}
    waiting = []

    def write(what: str, *given: Any, **more: Any) -> None:
        if rng.random() < unsound:
            how = rng.choice(["lost", "twice", "late"])
            if how == "late":
                waiting.append((what, given, more))
            if how != "twice":
                return
            getattr(history, what)(*given, **more)
        getattr(history, what)(*given, **more)

    for time in range(1, events):
        process, home = rng.randrange(3), rng.randrange(12)
        place = process, home
        more = {"stack": rng.choice(["f;main", "g;main", "h;g;main"]), "thread": rng.randrange(1, 4)}
        if place in alive:
            what = rng.choice(["free", "free", "live", "resize"])
            size = {} if what == "free" else {"size": rng.randrange(1, 9000), "period": rng.choice([1, 512, 4096])}
            write(what, alive[place], process, time, **more, **size)
            if what == "free":
                del alive[place]
        else:
            uses[place] += 1
            alive[place] = use(home, uses[place])
            write("alloc", alive[place], process, time, size=rng.randrange(1, 9000), period=512, **more)
        while waiting and rng.random() < 0.3:
            what, given, more = waiting.pop(rng.randrange(len(waiting)))
            getattr(history, what)(*given, **more)
    return history


@pytest.mark.parametrize("unsound", [0, 0.02, 0.3])
def test_batches_of_any_size_tell_what_a_slow_reader_tells(
    unsound: float, seed: int, scale: Callable[[int], int]
) -> None:
    rng = random.Random(seed)
    for _ in range(scale(40)):
        history = random_history(rng, rng.choice([5, 50, 200]), unsound)
        expected = told(pd.DataFrame(slow(history), columns=list(LIFE)))
        for size in (*SIZES, rng.randrange(3, 60), rng.randrange(3, 60)):
            heap = history.heap(size, kept=rng.choice([0, 1 << 28]))
            assert told(all_lives(heap)) == expected, size
        if not unsound:
            assert heap.complete and not (all_lives(heap)["fate"] == LOST).any()


def test_what_has_been_read_in_steps_is_what_is_read_at_once(seed: int) -> None:
    rng = random.Random(seed)
    for kept in (0, 1 << 28):
        history = random_history(rng, 200, 0.02)
        rows, history.rows, history.following = history.rows, [], True
        heap = history.heap(16, kept=kept)
        while len(history.rows) < len(rows):
            history.rows = rows[: len(history.rows) + rng.randrange(1, 90)]
            heap.extend()
            now = History()
            now.__dict__.update({**history.__dict__, "following": False, "rows": list(history.rows)})
            once = now.heap()
            assert told(heap.live()) == told(once.live())
            assert told(all_lives(heap)) == told(all_lives(once))
            assert heap.peak()[0] == once.peak()[0] and heap.end == once.end and heap.losses == once.losses
            assert heap.over_time(7).bytes.value.tolist() == pytest.approx(once.over_time(7).bytes.value.tolist())
            pd.testing.assert_frame_equal(heap.counted(), once.counted())
        assert heap.extend() == 0


# Moments, and totals over time.


def gone_of(lives: pd.DataFrame, heap: Heap) -> Any:
    """When each is not there any more: with its process at the latest."""
    return np.where(lives["fate"] == ALIVE, heap.processes["end"].to_numpy()[lives["process"]] + 1, lives["died"])


@pytest.mark.parametrize("kept", [0, 1 << 28])
def test_live_is_what_was_born_and_not_gone(seed: int, kept: int) -> None:
    rng = random.Random(seed)
    for _ in range(2):
        history = random_history(rng, 200, 0.1)
        heap = history.heap(50, kept=kept)
        lives = all_lives(heap)
        gone = gone_of(lives, heap)
        for at in [*rng.choices(range(BEGIN, BEGIN + 210), k=10), heap.end]:
            assert told(heap.live(at)) == told(lives[(lives["born"] <= at) & (gone > at)])
            since = rng.randrange(BEGIN, at + 1)
            assert told(all_lives(heap, since, at)) == told(lives[(lives["born"] < at) & (gone > since)])
        assert told(heap.live()) == told(lives[lives["fate"] == ALIVE])


@pytest.mark.parametrize("kept", [0, 1 << 28])
def test_the_peak_is_that_of_all_moments(seed: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    for trial in range(8):
        cells, changes = rng.choice([(2, 3), (5, 1), (64, 20), (1 << 18, 1 << 22)])
        monkeypatch.setattr("poireau.model_time._CELLS", cells)
        monkeypatch.setattr("poireau.model_time._MOST_CHANGES", changes)
        history = random_history(rng, rng.choice([3, 40, 200]), 0.1)
        heap = history.heap(50, kept=kept)
        lives = all_lives(heap)
        gone, weight = gone_of(lives, heap), bytes_of(lives.to_records())
        times = range(BEGIN, BEGIN + 210)
        totals = np.round([weight[(lives["born"] <= at) & (gone > at)].sum() for at in times], 3)
        at, alive = heap.peak()
        assert at == times[int(np.argmax(totals))], (trial, cells, changes)
        assert told(alive) == told(lives[(lives["born"] <= at) & (gone > at)])


def test_totals_over_time_are_those_of_what_is_live_then(seed: int) -> None:
    rng = random.Random(seed)
    history = random_history(rng, 300, 0.05)
    heap = history.heap(64)
    of_stack = np.array([-1, *(number % 2 for number in range(len(history.stacks) - 1))])
    series = heap.over_time(23, 2, of_stack)
    for group in range(2):
        amounts, counts = series.of(group)
        for row, at in enumerate(series.times.tolist()):
            live = heap.live(at)
            live = live[of_stack[live["stack"]] == group]
            weight = bytes_of(live.to_records())
            assert amounts.value[row] == pytest.approx(weight.sum())
            assert amounts.variance[row] == pytest.approx((weight * (weight - live["size"])).sum(), abs=1e-3)
            assert amounts.samples[row] == len(live)
            assert counts.value[row] == pytest.approx((weight / live["size"]).sum())
    total = heap.over_time(series.times, codes=lambda rows: np.where(of_stack[rows["stack"]] < 0, -1, 0))
    assert total.bytes.value == pytest.approx(series.bytes.value.reshape(2, -1).sum(axis=0))


def test_an_empty_heap_answers_everything() -> None:
    heap = History().heap()
    assert len(heap.live()) == len(heap.live(names=True)) == len(heap.live(5)) == len(all_lives(heap)) == 0
    assert heap.peak()[0] == 0 and heap.complete and heap.begin == heap.end == 0 and "no process" in repr(heap)
    assert heap.over_time(3).bytes.value.tolist() == [0, 0, 0]
    for name in ("processes", "threads", "drops", "costs", "options", "errors", "checkpoints"):
        assert len(getattr(heap, name)) == 0 and len(getattr(heap, name).columns) > 1, name
    assert len(heap.counted()) == 0


# Processes.


def test_what_a_process_leaves_goes_with_it() -> None:
    history = History()
    first, second = history.process(), history.process()
    history.alloc(use(1), first, 10, size=100)
    history.alloc(use(1), second, 20, size=40)
    history.event("cost", first, 30)
    history.alloc(use(2), second, 50, size=7)
    heap = history.heap()
    assert heap.live()["size"].tolist() == [100, 40, 7]
    assert sorted(heap.live(BEGIN + 30)["size"]) == [40, 100]
    assert sorted(heap.live(BEGIN + 31)["size"]) == [40]
    assert sorted(heap.live(BEGIN + 50)["size"]) == [7, 40]
    assert sorted(heap.live(BEGIN + 50, ended=True)["size"]) == [7, 40, 100]
    assert heap.peak()[0] == BEGIN + 20
    assert heap.over_time(np.array([BEGIN + 30, BEGIN + 31])).bytes.value.tolist() == [140, 40]
    goes_on = history.heap(running={first: True})
    assert sorted(goes_on.live(BEGIN + 50)["size"]) == [7, 40, 100] and goes_on.peak()[0] == BEGIN + 50


def test_a_childs_inherited_blocks_are_its_parents() -> None:
    history = History()
    parent = history.process(time=0)
    history.alloc(use(1), parent, 10, size=100)
    history.alloc(use(2), parent, 11, size=50)
    child = history.process(parent=parent, time=20)
    history.live(use(1), child, 10, size=100, stamp=30)  # its checkpoint has them
    history.alloc(use(3), child, 22, size=7)
    history.live(use(4), child, 25, size=9, stamp=30)  # its own, of a file that has left
    history.free(use(2), child, 31)
    history.free(use(1), child, 32)
    history.free(use(1), parent, 40)
    heap = history.heap()
    assert heap.processes["parent"].tolist() == [-1, parent] and heap.processes["generation"].tolist() == [0, 1]
    assert sorted(all_lives(heap)["size"]) == [7, 9, 50, 100]
    assert sorted(heap.live()["size"]) == [7, 9, 50]
    assert heap.complete
    alone = History()
    alone.process(generation=1, parent_run_id_high=3, time=20)
    alone.live(use(1), 0, 10, size=100, stamp=30)
    assert alone.heap().live()["size"].tolist() == [100]


def test_processes_are_told_apart_by_their_run_ids_and_described() -> None:
    history = History()
    history.process(pid=7, executable="/bin/a", options="sample_period=1\nlog=off\n", build_id="abcd")
    history.process(pid=7, executable="/bin/b", time=5)  # it has executed another program
    history.process(pid=7, executable="/bin/c", time=9, start_time=1)  # or the pid was given to another
    history.process(pid=9, executable="/bin/b", parent=1, time=7)
    history.sources.append("/traces/damaged")
    history.process_ids.append(0)
    processes = history.heap().processes
    assert processes["pid"].tolist() == [7, 7, 7, 9, 0]
    assert processes["parent"].tolist() == [-1, -1, -1, 1, -1]
    assert len(set(processes["run_id"])) == 5 and all(len(each) in (0, 32) for each in processes["run_id"])
    assert [name.rpartition("/")[2] for name in processes["executable"]] == ["a", "b", "c", "b", ""]
    assert processes["options"][0] == {"sample_period": "1", "log": "off"} and processes["build_id"][0] == "abcd"
    assert processes["source"][4] == "/traces/damaged" and processes["begin"].tolist()[1] == BEGIN + 5


# What else there is.


def test_counters_are_the_last_of_each_process() -> None:
    history = History()
    for number in range(2):
        history.process()
        for time in range(1, 5):
            history.event("drops", number, time, cause="no room", count=time * (number + 1))
            history.event("cost", number, time, cycles=time, samples=time)
    for batch in (1, 3, 100):
        heap = history.heap(batch)
        assert heap.drops.to_dict("list") == {"process": [0, 1], "cause": ["no room"] * 2, "count": [4, 8]}
        assert heap.costs["cycles"].tolist() == [4, 4]
        assert heap.losses == [Loss(0, "no room", 4), Loss(1, "no room", 8)] and not heap.complete
        assert heap.processes["complete"].tolist() == [False, False]


def test_threads_have_their_last_names() -> None:
    history = History()
    history.process()
    for thread, name in ((1, "a"), (2, "b"), (1, "c")):
        history.event("thread", 0, thread, thread=thread, name=name)
    for batch in (1, 100):
        threads = history.heap(batch).threads
        assert sorted(threads.itertuples(index=False, name=None)) == [(0, 1, "c"), (0, 2, "b")]


def test_options_errors_and_checkpoints_are_all_kept() -> None:
    history = History()
    history.process()
    history.event("option", 0, 2, name="sample_period", value="1MiB")
    history.event("error", 0, 3, error="double free", address=64, function="free", thread=4, stack="f;main")
    history.event("checkpoint", 0, 4, oldest=3, live=2, live_bytes=100)
    heap = history.heap(1)
    assert heap.options[["name", "value"]].values.tolist() == [["sample_period", "1MiB"]]
    assert heap.errors[["error", "function", "thread"]].values.tolist() == [["double free", "free", 4]]
    assert heap.checkpoints[["oldest", "live"]].values.tolist() == [[3, 2]]


def test_counted_is_what_births_say_each_thread_asked_for() -> None:
    history = History()
    history.process()
    history.process()
    history.alloc(use(1), 0, 1, since=1 << 60, thread=5)
    history.alloc(use(2), 0, 2, since=7, thread=5)
    history.live(use(1), 0, 1, since=1 << 60, thread=5)
    history.resize(use(2), 0, 3, since=1, thread=6)
    history.alloc(use(1), 1, 4, since=9, thread=5)
    for batch in SIZES:
        heap = history.heap(batch)
        rows = [tuple(row) for row in heap.counted()[["process", "thread", "bytes", "samples"]].to_numpy().tolist()]
        assert sorted(rows) == [(0, 5, (1 << 60) + 7, 2), (0, 6, 1, 1), (1, 5, 9, 1)]
        assert heap.counted(1)["bytes"].tolist() == [9]


def test_what_was_not_recorded_is_a_loss_unless_it_is_known_why() -> None:
    unborn = [("free", use(1), 3), ("free", use(2), 4)]
    assert one(*unborn).heap().losses == [Loss(0, "births that were not recorded", 2)]
    assert one(*unborn, ("alloc", use(1), 1)).heap().losses == [Loss(0, "births that were not recorded", 1)]
    shortened = one(*unborn)
    shortened.event("checkpoint", 0, 5, oldest=2)
    assert shortened.heap().complete
    assert one(*unborn, generation=1).heap().complete
    lost = one(("alloc", use(1), 1), ("alloc", use(1, 2), 2))
    lost.losses.append(Loss(0, "the reader's", 3))
    assert lost.heap().losses == [Loss(0, "the reader's", 3), Loss(0, "ends that were not recorded", 1)]


def test_frees_without_births_do_not_gather() -> None:
    history = History()
    history.process()
    for number in range(400):
        history.free(use(number), 0, number)
    for batch in (1, 64, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("poireau.model_fold.MOST_WAITING", 100)
            heap = history.heap(batch)
            heap.extend()
            assert heap._reading.fold._waiting <= 100 and heap._reading.fold.unseen.tolist() == [400]
            newest = history.rows[-1][1]["id"]
        assert newest in heap._reading.fold._rows["id"]


def test_what_is_damaged_is_survived(seed: int) -> None:
    rng = np.random.default_rng(seed)
    history = History()
    history.process()
    for number in range(300):
        wild = {name: int(rng.integers(0, 1 << 63)) * 2 for name in ("id", "size", "period", "since")}
        history.alloc(wild.pop("id"), time=int(rng.integers(0, 1 << 62)), by_calls=number % 3, **wild)
        history.free(int(rng.integers(0, 1 << 63)), time=-number)
    history.rows[7][1]["time"] = -(1 << 63)
    history.rows[8][1]["time"] = (1 << 63) - 1
    for at, stamp in ((7, -(1 << 63)), (8, (1 << 63) - 1)):
        history.rows[at][1]["stamp"] = stamp
    for batch in (7, 1000):
        heap = history.heap(batch)
        heap.peak(), heap.over_time(), heap.live(heap.end), heap.live(names=True), repr(heap)
        assert (all_lives(heap)["died"] >= all_lives(heap)["born"]).all()


# For people.


def test_lives_can_be_read_by_people() -> None:
    heap = heap_of(
        [
            {"size": 10, "stack": "malloc;std::allocator<int>::allocate(unsigned long);work(int)@src/a.cc:12;main"},
            {"size": 30, "stack": "operator new(unsigned long)", "thread": 7, "died": 9 * SECOND},
            {"size": 20, "stack": "", "thread": 8},
        ],
        threads={1: "main", 7: "worker"},
    )
    table = heap.live(BEGIN + SECOND, names=True)
    assert table["size"].tolist() == [30, 20, 10]
    assert table["function"].tolist() == ["operator new(unsigned long)", "", "work(int)"]
    assert table["line"].tolist() == ["", "", "a.cc:12"]
    assert table["thread"].tolist() == ["worker", "8", "main"]
    assert table["call"].tolist() == ["malloc"] * 3 and table["fate"].tolist() == ["freed", "alive", "alive"]
    assert table["died"].notna().tolist() == [True, False, False] and str(table["born"].dtype).startswith("datetime64")
    assert heap.live("2023-11-14 22:13:30", ended=True)["size"].tolist() == [10, 20]


def test_names_need_not_be_utf_8() -> None:
    heap = heap_of(
        [{"size": 10, "stack": "f\udcff@\udcfe.c:3", "function": "malloc\udcfd"}],
        processes=[{"executable": "/bin/\udcfc", "host": "\udcfb\u00e9"}],
        threads={1: "\udcfa"},
    )
    (row,) = heap.live(names=True).to_dict("records")
    assert (row["program"], row["thread"], row["call"]) == ("\\udcfc", "\\udcfa", "malloc\\udcfd")
    assert (row["function"], row["line"]) == ("f\\udcff", "\\udcfe.c:3")
    assert heap.processes["host"][0] == "\\udcfb\u00e9" and "\\udcfc" in repr(heap)
    assert heap.live(names=True).groupby("call").size().tolist() == [1]


def test_a_heap_says_what_it_is() -> None:
    text = repr(heap_of([{"size": 1}, {"size": 2, "died": 8 * SECOND}]))
    assert "program 1000" in text and "1 sampled blocks alive of 2" in text and "+ 8 s" in text and "complete" in text
    assert text.count("\n") <= 1


# Memory.

MANY = """
import resource, sys
import numpy as np
from poireau import model_time
from tests.poireau.histories import History, BEGIN

class Long(History):
    def batches(self):
        yield from super().batches()
        size, live = 1 << 15, 1000
        for at in range(0, {events} // 2, size):
            birth = np.arange(at, at + size)
            def columns(number, time):
                zeros = np.zeros(size, np.uint32)
                id = (number // live + 1).astype(np.uint64) << np.uint64(40) | (number % live).astype(np.uint64)
                return dict(id=id, address=id, size=id % np.uint64(999), alignment=id, function=zeros, period=id,
                    since=id, by_calls=zeros, guarded=zeros, guard_chance=zeros, thread=zeros, time=time, frames=zeros,
                    process=zeros, stamp=time, truncated=zeros)
            dead = birth - live + 1
            yield {{"alloc": dict(columns(birth, BEGIN + birth * 2), order=birth * 2),
                   "free": {{name: column[dead >= 0] for name, column in
                            dict(columns(dead, BEGIN + birth * 2 + 1), order=birth * 2 + 1).items()}}}}

model_time._CELLS, model_time._MOST_CHANGES = 1 << 12, 1 << 16
heap = Long().heap(kept=1 << 20)
heap.source.process()
heap.extend()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(heap.live()) == 999, len(heap.live())
heap.peak(); heap.over_time(); heap.live(heap.begin + 1000)
print(heap._reading.facts.events, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("events", [700_000, pytest.param(10_000_000, marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_events(events: int) -> None:
    def most(events: int) -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, "-c", MANY.format(events=events)], capture_output=True, text=True, cwd=ROOT, timeout=600
        )
        assert done.returncode == 0, done.stderr
        seen, read, asked = map(int, done.stdout.split())
        assert seen > events * 0.99
        return read, asked

    few, many = most(100_000), most(events)
    assert many[0] - few[0] < 8 << 10 and many[1] - few[1] < 16 << 10, (few, many)

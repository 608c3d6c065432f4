from __future__ import annotations

import numpy as np
import pytest

from poireau import leaks, phases
from poireau.errors import Failure
from tests.poireau.histories import BEGIN, SECOND, History


def said(history: History, process: int, time: int, name: str, value: str) -> None:
    history.event("option", process, time, stamp=BEGIN + time, name=name, value=value)


def test_a_phase_lasts_up_to_the_next_one_and_may_come_again() -> None:
    history = History()
    for process in (history.process(), history.process()):
        said(history, process, (1 + process) * SECOND, "phase", "warmup")
        said(history, process, (3 + process) * SECOND, "phase", "work")
        said(history, process, (7 + process) * SECOND, "sample_period", "1M")
        said(history, process, (8 + process) * SECOND, "phase", "")
    history.alloc(1, time=20 * SECOND)
    heap = history.heap()
    assert phases.window(heap, "warmup") == (BEGIN + 1 * SECOND, BEGIN + 4 * SECOND)
    assert phases.window(heap, "work") == (BEGIN + 3 * SECOND, BEGIN + 9 * SECOND)
    with pytest.raises(Failure, match=r"there is no phase idle; there is warmup, work$"):
        phases.window(heap, "idle")


def test_the_last_phase_goes_on_to_the_end() -> None:
    history = History()
    said(history, history.process(), SECOND, "phase", "serving")
    history.alloc(1, time=9 * SECOND)
    heap = history.heap()
    assert phases.window(heap, "serving") == (BEGIN + SECOND, heap.end + 1)


def test_without_phases_none_is_offered() -> None:
    history = History()
    history.process()
    history.alloc(1)
    with pytest.raises(Failure, match="poireau_phase"):
        phases.window(history.heap(), "x")


def test_only_blocks_that_are_kept_by_their_own_process_are() -> None:
    history = History()
    first, second = history.process(), history.process()
    said(history, first, 5, "keep", "1f")
    said(history, first, 6, "keep", "what is this")
    history.alloc(31, first, time=1)
    heap = history.heap()
    processes, ids = np.array([first, second, first]), np.array([31, 31, 30], np.uint64)
    assert phases.kept(heap, processes, ids).tolist() == [True, False, False]


def test_leaks_leaves_out_what_is_kept() -> None:
    def samples(*kept: int) -> int:
        history = History()
        process = history.process()
        for id in range(1, 41):
            history.alloc(id, process, time=id * SECOND, size=1000, stack="malloc;f;main")
        for id in kept:
            said(history, process, 50 * SECOND, "keep", f"{id:x}")
        return leaks.find(history.heap()).samples

    assert samples(*range(1, 11)) == samples() - 10

from __future__ import annotations

import json
from typing import Any

import pytest

from poireau import autopsy, autopsy_text
from poireau.autopsy import Autopsy
from poireau.autopsy_end import Log
from poireau.errors import Failure
from poireau.report.text import Style
from poireau.selection import Selection
from tests.poireau.histories import BEGIN, SECOND, History, heap_of

KIB = 1 << 10
OOM = "Out of memory: Killed process 1000 (program) total-vm:9kB, anon-rss:51200kB, file-rss:1024kB, shmem-rss:0kB"


def history(lasting: int = 100) -> History:
    """A leak that grows by 256 KiB a second, a table made at the start, and an error half-way."""
    history = History()
    number = history.process(1000, executable="/usr/bin/program")
    for at in range(64):
        history.alloc(at + 1, number, at, size=64 * KIB, period=64 * KIB, stack="table@t.c:3;main@m.c:1")
    for at in range(4 * lasting):
        history.alloc(
            100 + at, number, at * SECOND // 4, size=64 * KIB, period=64 * KIB, stack="malloc;leak@l.c:44;main@m.c:2"
        )
    history.event(
        "error", number, lasting * SECOND // 2, error="use after free", address=1, size=7, thread=1,
        stack="touch@touch.c:9;main@m.c:3",
    )  # fmt: skip
    return history


def of(history: History, *lines: tuple[int, str], **more: Any) -> Autopsy:
    return autopsy.of(history.heap(), Selection(**more), Log(lines))


def text(found: Autopsy, width: int | None = None) -> str:
    return "\n".join(autopsy_text.lines(found, Style(width)))


def test_it_tells_what_there_was_what_grew_and_what_was_done_wrong() -> None:
    found = of(history(), (BEGIN + 101 * SECOND, OOM))
    assert found.end.how == "oom"
    assert found.used.table["function"].tolist()[:2] == ["leak", "table"]
    (minute,) = found.grown
    assert (minute.seconds, minute.diff.table["function"].tolist()[0]) == (60.0, "leak")
    assert minute.diff.change.low < 60 * 256 * KIB * 1.6 < minute.diff.change.high * 1.1
    assert found.rss.total == (51200 + 1024) * KIB
    said = text(found)
    for words in (
        "the OOM killer killed it", "l.c:44  leak", "in the minute before the end", "where RSS went: 51.0MiB",
        "use after free, 50 s before the last event  touch.c:9  touch",
    ):  # fmt: skip
        assert words in said, said


def test_what_lasted_less_than_a_minute_is_compared_with_its_first_half() -> None:
    (half,) = of(history(10)).grown
    assert half.seconds == pytest.approx(5, abs=0.2)
    assert "in the 5 s before the end" in text(of(history(10)))


def test_what_lasted_for_hours_has_its_last_hour_and_minute() -> None:
    history = History()
    history.process(1000)
    for at in range(200):
        history.alloc(at + 1, time=at * 60 * SECOND, size=KIB, stack="main")
    assert [growth.seconds for growth in of(history).grown] == [3600.0, 60.0]


def test_the_peak_is_when_most_was_in_use() -> None:
    history = History()
    history.process(1000)
    history.alloc(1, time=1, size=100)
    history.alloc(2, time=2, size=900)
    history.free(2, time=3)
    history.alloc(3, time=4, size=10)
    found = of(history)
    assert (found.peak_at, found.peak.value, found.used.total_bytes.value) == (BEGIN + 2, 1000, 110)


def test_the_largest_of_several_processes_is_meant_unless_one_is_named() -> None:
    history = History()
    for size in (10, 5000, 300):
        number = history.process()
        history.alloc(number + 1, number, size=size)
        history.alloc(number + 10, number, SECOND, size=1)
    assert (of(history).process, of(history).others) == (1, 2)
    assert (of(history, processes=(2,)).process, of(history, processes=(2,)).others) == (2, 0)


def test_samples_that_found_no_room_are_not_passed_over() -> None:
    told = history()
    told.event("drops", 0, 101 * SECOND, cause="no home: limits", count=1000)
    found = of(told)
    assert found.homeless == (1000, 1000 * 64.0 * KIB)
    assert "1,000 samples had no room (limits, memory): some 62.5MiB asked for is in no figure here" in text(found)
    assert of(history()).homeless is None


def test_nothing_and_next_to_nothing_are_told_as_such() -> None:
    with pytest.raises(Failure, match="nothing was sampled"):
        autopsy.of(History().heap(), Selection(), Log(()))
    one = autopsy.of(heap_of([{"size": 10, "period": KIB}]), Selection(), Log(()))
    assert "1 sample of it: that says little" in text(one)
    assert "memory errors: none was seen" in text(one)


def test_the_json_has_all_that_is_told_and_says_its_version() -> None:
    found = of(history(), (BEGIN + 101 * SECOND, OOM))
    document = json.loads(autopsy_text.text_of(found))
    assert (document["schema"], document["version"]) == ("poireau.autopsy", 1)
    assert document["end"]["how"] == "oom"
    assert document["in_use"]["rows"][0]["bytes"]["n"] == 400
    assert document["errors"][0] | {"function": "touch", "line": 9} == document["errors"][0]
    assert [part["kind"] for part in document["rss"]["parts"]] == ["heap", "slack", "files", "shared"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_its_tables_fit_a_terminal(width: int) -> None:
    lines = text(of(history()), width).splitlines()
    assert all(len(line) <= width for line in lines if line.endswith(("leak", "table", "LINE")))


def test_names_are_fit_for_a_terminal() -> None:
    history = History()
    history.process(1000, executable="/bin/\x1b[31m")
    history.alloc(1, size=10, stack="f\x1b[2J\u202e;main")
    history.alloc(2, time=SECOND, size=10, stack="f\x1b[2J\u202e;main")
    assert all(line.isprintable() for line in text(of(history)).splitlines())

"""Our own layout, read while it is written."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poireau.native.binding import DECODE, EMPTY, Reader
from tests.columns import Event, events_of
from tests.conftest import clean_environment
from tests.poireau.native.decode_test import MISSING, check, read
from tests.trace_writer import write_trace
from tests.traces import directories

FEEDER = r"""
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  static void* kept[1000];
  int count;
  while (scanf("%d", &count) == 1) {
    for (int i = 0; i < count; ++i) {
      free(kept[i % 1000]);
      kept[i % 1000] = malloc((size_t)(1 + i % 777));
    }
    puts("done");
    fflush(stdout);
  }
}
"""


class Feeder:
    def __init__(self, program: Path, library: Path, **options: str) -> None:
        pipe = subprocess.PIPE
        environment = clean_environment(LD_PRELOAD=str(library), POIREAU_SAMPLE_PERIOD="1", **options)
        self.process = subprocess.Popen([program], env=environment, stdin=pipe, stdout=pipe, text=True)

    def __call__(self, count: int) -> None:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def feed(compile_c, library, tmp_path) -> Iterator[Callable[..., Feeder]]:
    started: list[Feeder] = []

    def start(**options: str) -> Feeder:
        started.append(Feeder(compile_c(FEEDER, ["-fno-builtin"]), library, POIREAU_TRACE=str(tmp_path), **options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def test_who_follows_sees_all_that_is_written_later(feed, tmp_path) -> None:
    feeder = feed(POIREAU_TRACE_LIMIT="64M")
    feeder(10)
    (trace,) = directories(tmp_path)
    reader = Reader(DECODE, [trace], follow=True)
    batches = reader.batches()
    seen: list[Event] = []

    def catch_up() -> int:
        before = len(seen)
        while (batch := next(batches)) is not EMPTY:
            seen.extend(events_of(batch, reader.tables()))
        return len(seen) - before

    assert catch_up() >= 10
    for count in (1, 5, 300, 3000, 0, 700):
        feeder(count)
        births = sum(event["event"] == "alloc" for event in seen)
        catch_up()
        assert sum(event["event"] == "alloc" for event in seen) >= births + count
    assert catch_up() == 0
    feeder.process.stdin.close()
    feeder.process.wait()
    catch_up()
    ours, losses = read(trace)
    assert seen == ours and losses == [] == list(reader.tables().losses)
    check(trace)


def test_who_follows_keeps_up_with_files_that_go(feed, tmp_path) -> None:
    feeder = feed(POIREAU_TRACE_LIMIT="1M")
    feeder(10)
    (trace,) = directories(tmp_path)
    reader = Reader(DECODE, [trace], follow=True)
    batches = reader.batches()
    births: Counter[tuple[object, ...]] = Counter()
    for _ in range(40):
        feeder(1000)
        while (batch := next(batches)) is not EMPTY:
            births += Counter(zip(batch["alloc"]["id"].tolist(), batch["alloc"]["stamp"].tolist()))
    assert len(births) >= 40_000 and set(births.values()) == {1}
    assert not (trace / "samples_1").exists()
    assert list(reader.tables().losses) == []
    check(trace)  # what is left of it


def test_who_falls_behind_is_told(feed, tmp_path) -> None:
    feeder = feed(POIREAU_TRACE_LIMIT="1M")
    feeder(10)
    reader = Reader(DECODE, directories(tmp_path), follow=True)
    batches = reader.batches()
    next(batches)
    feeder(30_000)
    births = 0
    while (batch := next(batches)) is not EMPTY:
        births += len(batch["alloc"]["id"])
    (loss,) = reader.tables().losses
    assert loss.cause == MISSING and 20 < loss.count < 300  # packets, of about 300 events
    assert 1000 < births < 30_000
    assert next(batches) is EMPTY


def test_of_thousands_that_are_quiet_each_is_heard_when_it_writes_again(compile_c, tmp_path) -> None:
    whole = write_trace(compile_c, tmp_path / "whole", 3000, stacks=20)
    traces = [tmp_path / f"quiet{number}" for number in range(600)]
    for trace in traces:  # of each all but the last file is there
        trace.mkdir()
        for file in [whole / "metadata", whole / "facts_1", whole / "samples_1"]:
            (trace / file.name).hardlink_to(file)
    reader = Reader(DECODE, traces, follow=True)
    batches = reader.batches()

    def events_in(polls: int) -> int:
        events = 0
        while polls:
            batch = next(batches)
            polls -= batch is EMPTY
            events += sum(len(columns["order"]) for columns in batch.values())
        return events

    before = events_in(2)
    assert before % 600 == 0 < before and events_in(9) == 0
    for trace in traces[1::100]:
        (trace / "samples_2").hardlink_to(whole / "samples_2")
    later = events_in(9)
    assert later % 6 == 0 < later
    assert list(reader.tables().losses) == []
    assert len(os.listdir("/proc/self/fd")) < 100

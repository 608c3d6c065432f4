"""What was recorded is there after a SIGKILL at any instant."""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
import time
from itertools import pairwise

import pytest

from tests import traces
from tests.conftest import clean_environment
from tests.e2e.conftest import every_call

PROGRESS = struct.Struct("=5Q")  # thread, asked, got, freeing, freed
DIFFERENT = 50000  # sizes
HELD_UP = 8_000_000  # ns; it is some 10 ms


Thread = tuple[int, ...]  # how far it has come


def killed_at_work(command, environment, file, seconds) -> tuple[list[Thread], int]:
    """How far each of its two threads had come, and when it was killed."""
    file.write_bytes(bytes(4096))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 4096) as progress:
        process = subprocess.Popen([*command, file], env=environment, stderr=subprocess.PIPE)
        while process.poll() is None and not all(PROGRESS.unpack_from(progress, t * PROGRESS.size)[2] for t in (0, 1)):
            time.sleep(0.001)
        time.sleep(seconds)
        process.kill()
        _, complaints = process.communicate()
        assert (process.returncode, complaints) == (-9, b"")
        return [PROGRESS.unpack_from(progress, t * PROGRESS.size) for t in (0, 1)], time.monotonic_ns()


def numbered(births: list[traces.Event], which: int) -> dict[int, traces.Event]:
    """The blocks of counted.c, by number. What libc asked for before, for the threads, is the beginning of the main
    thread's; what was owed was written late."""
    births = sorted(births, key=lambda event: event["time"])
    first = next(i for i, event in enumerate(births) if event["size"] == which + 1)
    found: dict[int, traces.Event] = {}
    number = -1
    for event in births[first:]:
        assert event["size"] % 2 == (which + 1) % 2, "not a block of this thread's"
        number += ((event["size"] - which - 1) // 2 - number - 1) % DIFFERENT + 1
        found[number] = event
    return found


def check_all_there(times: dict[int, int], least: int, most: int, end: int) -> int:
    """Of events by number, all below `least` and none from `most` on; but for what was owed while the other thread, who
    had the turn, was held up for longer than one waits for it. How many are missing."""
    numbers = sorted(times)
    assert not numbers or numbers[-1] < most, (numbers[-1], most)
    missing = 0
    for a, b in pairwise([*numbers, least]):
        if b > a + 1:
            until = times.get(b, end)
            assert until - times[a] > HELD_UP, f"{a + 1} to {b - 1} of {least} are missing"
            missing += b - a - 1
    return missing


@pytest.mark.slow
def test_every_completed_event_outlives_the_process(program, library, scale, seed, tmp_path, exercised):
    draw = random.Random(seed)
    for run in range(scale(100)):
        parent = tmp_path / f"traces{run}"
        more = {"LD_PRELOAD": str(library), "POIREAU_STACK_DEPTH": "3"}
        environment = clean_environment(**every_call(parent, more))
        command = [program("counted.c", "-O2")]
        progress, end = killed_at_work(command, environment, tmp_path / "progress", draw.expovariate(1 / 0.03))
        trace = traces.read_one(parent)
        assert trace.process["process"] != 0
        births, deaths = trace.of("alloc"), trace.of("free")
        for kind in (births, deaths):
            assert len({event["id"] for event in kind}) == len(kind), "an event is there twice"
        for which, (thread, asked, got, freeing, freed) in enumerate(progress):
            own = numbered([event for event in births if event["thread"] == thread], which)
            missing = check_all_there({number: event["time"] for number, event in own.items()}, got, asked, end)
            by_id = {event["id"]: number for number, event in own.items()}
            gone = {by_id[event["id"]]: event["time"] for event in deaths if event["thread"] == thread}
            missing += check_all_there(gone, freed, freeing, end)
            exercised.count("events found after SIGKILL", "alloc", len(own))
            exercised.count("events found after SIGKILL", "owed, and missing", missing)

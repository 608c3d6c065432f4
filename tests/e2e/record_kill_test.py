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


def killed_at_work(command, environment, file, seconds) -> list[tuple[int, ...]]:
    """How far each of its two threads had come."""
    file.write_bytes(bytes(4096))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 4096) as progress:
        process = subprocess.Popen([*command, file], env=environment, stderr=subprocess.PIPE)
        while process.poll() is None and not all(PROGRESS.unpack_from(progress, t * PROGRESS.size)[2] for t in (0, 1)):
            time.sleep(0.001)
        time.sleep(seconds)
        process.kill()
        _, complaints = process.communicate()
        assert (process.returncode, complaints) == (-9, b"")
        return [PROGRESS.unpack_from(progress, t * PROGRESS.size) for t in (0, 1)]


def sizes_asked(thread: int, count: int) -> list[int]:
    return [thread + 2 * (i % 1000) + 1 for i in range(count)]


@pytest.mark.slow
def test_every_completed_event_outlives_the_process(program, library, scale, seed, tmp_path, exercised):
    draw = random.Random(seed)
    for run in range(scale(100)):
        parent = tmp_path / f"traces{run}"
        more = {"LD_PRELOAD": str(library), "POIREAU_STACK_DEPTH": "3"}
        environment = clean_environment(**every_call(parent, more))
        command = [program("counted.c", "-O2")]
        progress = killed_at_work(command, environment, tmp_path / "progress", draw.expovariate(1 / 0.03))
        trace = traces.read_one(parent)
        assert trace.process["process"] != 0
        births, deaths = trace.of("alloc"), trace.of("free")
        for kind in (births, deaths):
            assert len({event["id"] for event in kind}) == len(kind), "an event is there twice"
        for which, (thread, asked, got, freeing, freed) in enumerate(progress):
            # What libc asked for before, for the threads, is the beginning of the main thread's.
            own = [event["size"] for event in births if event["thread"] == thread]
            found = next(n for n in range(asked, -1, -1) if own[len(own) - n :] == sizes_asked(which, n))
            assert got <= found <= asked, (which, found, got, asked)
            ids = [event["id"] for event in births if event["thread"] == thread][len(own) - found :]
            gone = [event["id"] for event in deaths if event["thread"] == thread]
            assert freed <= len(gone) <= freeing, (which, len(gone), freed, freeing)
            assert gone == ids[: len(gone)]
            exercised.count("events found after SIGKILL", "alloc", found)
        for kind in (births, deaths):
            for thread, *_ in progress:
                assert all(a["time"] <= b["time"] for a, b in pairwise(e for e in kind if e["thread"] == thread))

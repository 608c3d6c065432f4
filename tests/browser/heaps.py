"""Heaps that pages are made of: a small server at work, one whose every name is hostile, and some of very little."""

from __future__ import annotations

import numpy as np

from poireau.model import Heap
from tests.poireau.histories import SECOND
from tests.poireau.report.heaps import Awkward

LENGTH = 40  # seconds
_PERIOD = 64 << 10
_SERVE = ["server!serve@/src/server.cc:93", "server!main@/src/server.cc:110"]
_ANSWER = ["server!parse@/src/query.h:12|answer@/src/server.cc:79", *_SERVE]
_WORK = ["server!work@/src/pool.cc:30", "libpool.so!run_thread@/src/pool.cc:14"]


def server(seed: int = 8, leak: float = 1.0) -> Heap:
    """A leak, a cache that fills up, buffers that come and go, jobs in waves, a table made at the start; of two
    threads, some of it inlined, some without a stack. `leak`: how much of it there is."""
    random = np.random.default_rng(seed)
    history = Awkward()
    history.process(4711, executable="/usr/bin/server", host="somewhere")
    for thread, name in ((1, "server"), (2, "worker")):
        history.event("thread", 0, 0, thread=thread, name=name)
    lives: list[tuple[float, float | None, int, int, list[str]]] = []  # born, died, size, thread, stack

    def some(
        count: float, born: tuple[float, float], lasts: float | None, size: int, thread: int, stack: list[str]
    ) -> None:
        for begin in random.uniform(*born, round(count)):
            end = None if lasts is None else begin + random.exponential(lasts)
            whole = ["libc.so.6!malloc", *stack]
            lives.append((begin, end if end is None or end < LENGTH else None, size, thread, whole))

    some(40, (0, 1), None, 1 << 18, 1, ["server!load_table@/src/table.cc:8", "server!main@/src/server.cc:101"])
    some(120, (0, 15), None, 4096, 1, ["server!Cache::put@/src/cache.h:52", "server!get@/src/server.cc:51", *_ANSWER])
    some(
        200,
        (15, LENGTH),
        None,
        4096,
        1,
        ["server!Cache::put@/src/cache.h:52", "server!get@/src/server.cc:51", *_ANSWER],
    )
    for life, (begin, _, size, thread, stack) in enumerate(lives):
        if begin > 15 and "Cache" in stack[1]:  # what is put in puts something out
            lives[life] = (begin, min(begin + 9, LENGTH - 0.01), size, thread, stack)
    some(200 * leak, (0, LENGTH), None, 2048, 1, ["server!note@/src/server.cc:39", *_ANSWER])
    some(500, (0, LENGTH), 0.3, 1 << 14, 1, ["server!read_request@/src/server.cc:66", *_SERVE])
    some(
        150,
        (0, LENGTH),
        4,
        600,
        1,
        ["server!Node::Node@/src/query.cc:20", "server!parse_tree@/src/query.cc:77", *_ANSWER],
    )
    for wave in (6, 18, 30):
        some(90, (wave, wave + 3), 3, 1 << 15, 2, ["libpool.so!Job::Job@/src/job.cc:11", *_WORK])
        some(
            60,
            (wave, wave + 3),
            2,
            900,
            2,
            ["libpool.so!Result::grow@/src/job.cc:71", "libpool.so!Job::run@/src/job.cc:44", *_WORK],
        )
    some(20, (0, LENGTH), 10, 3000, 2, [])
    events: list[tuple[float, bool, int]] = []
    for number, (begin, end, *_) in enumerate(lives):
        events += [(begin, True, number)] + ([] if end is None else [(end, False, number)])
    for time, birth, number in sorted(events):
        at = round(time * SECOND)
        if birth:
            _, _, size, thread, stack = lives[number]
            history.alloc(number + 1, 0, at, size=size, period=_PERIOD, thread=thread, stack=stack)
        else:
            history.free(number + 1, 0, at)
    return history.heap()


HOSTILE = [
    "</script><script>pwned('script')</script>",
    "<img src=x onerror=pwned('img')>",
    '"><svg onload=pwned(1)>',
    "' onmouseover='pwned(2)",
    "a;b;c",
    "two\nlines\r\nand more",
    "\x1b[31mred\x07\x00nul",
    "right\u202egnp.exe to left",
    "<!--",
    "]]>",
    "&lt;b&gt; &amp;",
    "${pwned(3)} `x` {{pwned(4)}}",
    "javascript:pwned(5)",
    "x" * 10_000,
    "\u2028\u2029\ufeff",
    "e\u0301" * 50 + "\U0001d518\U0001d52b\U0001d526",
    "__proto__",
    "constructor",
]


def hostile() -> Heap:
    """Each of these is a function, a file, a module, a thread, a program."""
    history = Awkward()
    for number, name in enumerate(HOSTILE):
        program = "/usr/bin/" + name.replace("/", "\u2215").replace("\x00", "")
        process = history.process(100 + number, executable=program, host="somewhere")
        history.event("thread", process, 0, thread=number + 1, name=name)
        stack = [f"{name}!{name}@{name}:{number}", "program!main@main.c:1"]
        for life in range(5):
            id = 10 * number + life + 1
            history.alloc(
                id, process, (number + life) * SECOND, size=1000 * (number + 5), thread=number + 1, stack=stack
            )
            if life % 2:
                history.free(id, process, (number + life + 20) * SECOND)
    return history.heap()


def empty() -> Heap:
    history = Awkward()
    history.process(12, executable="/usr/bin/idle", host="somewhere")
    return history.heap()


def one_sample() -> Heap:
    history = Awkward()
    history.process(12, executable="/usr/bin/brief", host="somewhere")
    history.alloc(
        1, 0, SECOND, size=100, period=1 << 19, stack=["server!once@/src/once.c:3", "server!main@/src/once.c:9"]
    )
    return history.heap()


def clock_steps() -> Heap:
    """The machine's clock was set back by an hour, and forth by a day."""
    history = Awkward()
    history.process(12, executable="/usr/bin/stepped", host="somewhere")
    stack = ["server!tick@/src/tick.c:3", "server!main@/src/tick.c:9"]
    hour = 3600 * SECOND
    for number, at in enumerate([hour, hour + SECOND, SECOND, 2 * SECOND, 25 * hour, 25 * hour + SECOND]):
        history.alloc(number + 1, 0, at, size=5000, period=1 << 16, stack=stack)
    history.free(1, 0, 25 * hour + 2 * SECOND)
    return history.heap()

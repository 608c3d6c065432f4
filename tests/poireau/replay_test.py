"""Recorded calls made again: the same ones, by the same threads, on any allocator; and damaged files of calls."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poireau import layout, replay
from poireau.errors import Failure
from poireau.report import calls
from poireau.selection import Selection
from tests.conftest import ROOT, clean_environment
from tests.poireau.calls_test import all_calls, program, record  # noqa: F401

LIBRARIES = ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2.0"]
Call = tuple[int, int, int, int, int, int, int]  # kind, id, old, size, thread, function, log2 of the alignment
FUNCTIONS = ["malloc", "free", "realloc", "memalign", "operator new", "operator delete", "mallocx", "posix_memalign"]


def encoded(path: Path, made: Sequence[Call], facts: str = "allocator=/lib/libc.so.6\n") -> Path:
    rows = np.zeros(len(made), calls.CALL)
    for name, column in zip(
        ("kind", "id", "old", "size", "thread", "function", "alignment"), zip(*made) if made else ()
    ):
        rows[name] = column
    rows["time"] = 10**18 + 1000 * np.arange(len(made))
    into = io.BytesIO()
    for number, name in enumerate(FUNCTIONS):
        calls._put(into, calls.NAME, name, number)
    into.write(rows.tobytes())
    calls._put(into, calls.FACTS, facts)
    with open(path, "wb") as out:
        subprocess.run(
            [layout.native("poireau-replay"), "--encode"], input=into.getvalue(), stdout=out, check=True, timeout=60
        )
    return path


def random_calls(seed: int, count: int, threads: int) -> list[Call]:
    """With blocks that are resized and freed by others than made them."""
    draw = random.Random(seed)
    alive: list[int] = []
    out = []
    for id in range(1, count + 1):
        thread, size = draw.randrange(threads), draw.choice((0, 1, 16, 100, 4000, 70000))
        what = draw.random()
        if alive and what < 0.45:
            out.append((calls.RELEASE, alive.pop(draw.randrange(len(alive))), 0, 0, thread, draw.choice((1, 5)), 4))
        elif alive and what < 0.6:
            at = draw.randrange(len(alive))
            new = draw.choice((alive[at], id))
            out.append((calls.RESIZE, new, alive[at], size + 1, thread, 2, 4))
            alive[at] = new
        else:
            function, alignment = draw.choice(((0, 4), (3, 8), (4, 4), (4, 6), (6, 4), (7, 12)))
            out.append((calls.BIRTH, id, 0, size, thread, function, alignment))
            alive.append(id)
    return out


def performed(path: Path, *options: str, preload: str | None = None, timeout: float = 60) -> dict[str, Any]:
    return dict(replay.perform(path, replay.Allocator("", preload), options))


def of_functions(result: Mapping[str, Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in result["functions"]:
        counts[each["name"]] += each["calls"]
    return counts


@pytest.mark.parametrize(("threads", "touch"), [("0", "page"), ("1", "none"), ("2", "byte"), ("5", "all")])
def test_every_call_is_made_once_by_whoever_made_it(seed, tmp_path, threads, touch):
    made = random_calls(seed, 20_000, 8)
    result = performed(encoded(tmp_path / "calls", made), "--threads", threads, "--touch", touch)
    assert result["calls"] == len(made)
    assert of_functions(result) == Counter(FUNCTIONS[call[5]] for call in made)
    assert dict(result["calls_of_threads"]) == Counter(call[4] for call in made)
    sizes = Counter(call[3].bit_length() for call in made if call[0] != calls.RELEASE)
    assert {bits: count for bits, count in enumerate(result["sizes"]) if count} == sizes
    assert (result["failed"], result["misaligned"], result["homeless"], result["unseen"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("library", [None, *LIBRARIES])
def test_other_allocators_get_the_same_calls(seed, tmp_path, library):
    made = random_calls(seed, 20_000, 4)
    path = encoded(tmp_path / "calls", made)
    on = replay.Allocator("libc.so.6", None) if library is None else replay.allocator(library)
    result = replay.perform(path, on, [])
    assert os.path.basename(result["allocator"]).split(".so")[0] == on.name.split(".so")[0]
    assert of_functions(result) == Counter(FUNCTIONS[call[5]] for call in made)
    assert (result["failed"], result["misaligned"]) == (0, 0)
    stands = {each["name"]: each["performed_as"] for each in result["functions"] if "performed_as" in each}
    assert stands == {"mallocx": "malloc"}


def test_what_is_not_in_the_recording_is_counted(tmp_path):
    made: list[Call] = [
        (calls.RELEASE, 7, 0, 0, 1, 1, 4),  # born before
        (calls.LATE, 8, 0, 100, 1, 0, 4),
        (calls.LATE, 8, 0, 100, 1, 0, 4),  # told twice
        (calls.RESIZE, 9, 6, 50, 1, 2, 4),  # of a block that nobody knows
        (calls.BIRTH, 1 << 40 | 9, 0, 30, 2, 0, 4),  # the same home: the one before is gone
        (calls.RELEASE, 9, 0, 0, 2, 1, 4),
        (calls.RELEASE, 8, 0, 0, 1, 1, 4),
    ]
    result = performed(encoded(tmp_path / "calls", made))
    assert (result["homeless"], result["late"], result["unseen"]) == (2, 1, 1)
    assert of_functions(result) == {"malloc": 2, "realloc": 1, "free": 2}
    assert result["peak_bytes"] == 150


def test_nothing_recorded_is_nothing_to_do(tmp_path):
    assert performed(encoded(tmp_path / "calls", []))["calls"] == 0


def test_who_makes_blocks_does_not_run_away_from_who_frees_them(tmp_path):
    """100 KB blocks go through many threads' hands; at most two are alive at once, and with all let loose thousands."""
    made: list[Call] = []
    for id in range(3000):
        made += [(calls.BIRTH, id, 0, 100_000, id % 2, 0, 4), (calls.RELEASE, id, 0, 0, 2 + id % 2, 1, 4)]
    path = encoded(tmp_path / "calls", made)
    assert performed(path, "--ahead", "10")["peak_rss"] < 20 * 100_000 * 4


# The independent check: what the replay itself asks for, recorded by libpoireau.so.


def sequences(heap: Any) -> list[list[tuple[Any, ...]]]:
    """What each thread did, in the order of their first calls: kind, function, size, alignment, and which block, by its
    maker's number and how many it had made before."""
    rows, names, _ = all_calls(heap)
    threads: dict[int, list[tuple[Any, ...]]] = {}
    numbers: dict[int, int] = {}
    births: Counter[int] = Counter()
    blocks: dict[int, tuple[int, int]] = {}
    for _, id, old, size, thread, function, kind, alignment in rows.tolist():
        mine = threads.setdefault(thread, [])
        number = numbers.setdefault(thread, len(numbers))
        if kind == calls.BIRTH:
            block = (number, births[number])
            births[number] += 1
        else:
            block = blocks.pop(old if kind == calls.RESIZE else id)
        if kind != calls.RELEASE:
            blocks[id] = block
        mine.append((calls.KINDS[kind], names[function], size, alignment, *block))
    return list(threads.values())


def shape(sequence: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [call[:4] for call in sequence]


@pytest.mark.parametrize("what", ["alone", "handed"])
def test_a_recording_of_the_replay_is_the_recording(record, program, tmp_path, what):  # noqa: F811
    recorded = record([program, what])
    path = tmp_path / "calls"
    with open(path, "wb") as out:
        calls.write(recorded, Selection(), out)
    before = sequences(recorded)
    after = sequences(record([layout.native("poireau-replay"), path], tmp_path / "again"))
    # Besides, there is what the C++ runtime asks for at its start and, where there are threads, what pthread_create
    # asks for: once on the first thread, for the one that starts all others, and there.
    assert shape(after[0])[0] == ("birth", "malloc", 72704, 4)
    del after[0][0]
    if what == "handed":
        (starter,) = [each for each in after if set(shape(each)) == {shape(each)[0]} and len(each) == len(before) - 1]
        after.remove(starter)
        extra = next(i for i, call in enumerate(after[0]) if call[:4] == starter[0][:4])
        del after[0][extra]
    assert sorted(map(shape, after)) == sorted(map(shape, before))


# Bad input.


def check(path: Path, *options: str, memory: int = 1 << 30, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [layout.native("poireau-replay"), *options, path],
        capture_output=True,
        text=True,
        timeout=timeout,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )


def refused(path: Path, *why: str) -> None:
    done = check(path)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("poireau-replay: "), done.stderr
    assert not why or any(each in done.stderr for each in why), done.stderr


def test_a_truncated_file_is_refused_in_one_line(seed, tmp_path):
    whole = encoded(tmp_path / "calls", random_calls(seed, 2000, 3)).read_bytes()
    draw = random.Random(seed)
    for size in {0, 1, 15, 16, 47, len(whole) - 1, len(whole) - 32, *(draw.randrange(len(whole)) for _ in range(25))}:
        (tmp_path / "part").write_bytes(whole[:size])
        refused(tmp_path / "part", "its end is missing", "it is no file of calls", "it is damaged")


def test_a_flipped_bit_is_refused_in_one_line(seed, tmp_path):
    whole = encoded(tmp_path / "calls", random_calls(seed, 2000, 3)).read_bytes()
    draw = random.Random(seed)
    for _ in range(60):
        at = draw.choice((draw.randrange(len(whole)), draw.randrange(16), len(whole) - 1 - draw.randrange(300)))
        bad = bytearray(whole)
        bad[at] ^= 1 << draw.randrange(8)
        if 12 <= at < 16:
            continue  # reserved
        (tmp_path / "bad").write_bytes(bad)
        refused(tmp_path / "bad")


def test_a_foreign_file_and_another_version_are_refused_in_one_line(tmp_path):
    path = encoded(tmp_path / "calls", [])
    newer = bytearray(path.read_bytes())
    newer[8] += 1
    path.write_bytes(newer)
    refused(path, "its version is not ours")
    refused(Path(sys.executable), "it is no file of calls")
    refused(Path("/dev/null"), "it is no file of calls")
    refused(tmp_path, "it is no file of calls")
    refused(tmp_path / "none", "No such file")


def checksum(content: bytes, before: int = 0) -> int:
    """As native/replay_calls.h has it."""
    total = before ^ len(content)
    for at in range(0, len(content) // 8 * 8 + 1, 8):
        part = content[at : at + 8]
        word = int.from_bytes(part, "little" if len(part) == 8 else "big")
        total = (total ^ word) * 0x9E3779B97F4A7C15 % (1 << 64)
        total ^= total >> 29
    return total


BLOCK = struct.Struct("<IIIIQqQ")


@pytest.mark.slow
def test_calls_that_make_no_sense_never_crash_or_hang(seed, tmp_path):
    """What a checksum would tell is told wrongly here: their content is another, and their checksums are right."""
    whole = encoded(tmp_path / "calls", random_calls(seed, 300, 3)).read_bytes()
    draw = random.Random(seed)
    statuses: Counter[int] = Counter()
    for _ in range(60):
        bad = bytearray(whole)
        at = 16
        while bad[at : at + 4] == b"LOCK":
            fields = list(BLOCK.unpack_from(bad, at))
            content = at + BLOCK.size, at + BLOCK.size + fields[3]
            for _ in range(draw.randrange(3)):
                bad[draw.randrange(*content)] = draw.randrange(256)
            fields[6] = checksum(bytes(bad[slice(*content)]), checksum(bytes(bad[at : at + BLOCK.size - 8])))
            BLOCK.pack_into(bad, at, *fields)
            at = content[1]
        (tmp_path / "bad").write_bytes(bad)
        done = check(tmp_path / "bad", "--max-memory", str(1 << 29), timeout=30)
        statuses[done.returncode] += 1
        assert done.returncode in (0, 1), (done, bytes(bad))
        assert done.stderr.count("\n") == done.returncode
    assert statuses[1] > 10


# The command.


def cli(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "poireau.py", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        **more,
    )


def environment() -> dict[str, str]:
    return clean_environment()


def test_the_command_compares_allocators(seed, tmp_path):
    path = encoded(tmp_path / "calls", random_calls(seed, 5000, 2))
    done = cli("replay", path, "--lib", LIBRARIES[0], "--repeat", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(each["name"], each["recorded"]) for each in told["allocators"]] == [
        ("libc.so.6", True),
        (LIBRARIES[0], False),
    ]
    assert all(len(each["runs"]) == 2 for each in told["allocators"])
    text = cli("replay", path, "--lib", LIBRARIES[0], "--repeat", "2")
    assert text.returncode == 0
    assert text.stdout.startswith("5000 calls of 2 threads")
    assert max(len(line) for line in text.stdout.splitlines() if "   " in line or line.startswith("sizes")) < 80
    assert "libc.so.6 (recorded)" in text.stdout and "mallocx are made as malloc" in text.stdout


@pytest.mark.slow
def test_what_cannot_be_had_is_said_in_one_line(seed, tmp_path):
    path = encoded(tmp_path / "calls", [(calls.BIRTH, 1, 0, 1 << 50, 1, 0, 4)])
    small = encoded(tmp_path / "small", [(calls.BIRTH, 1, 0, 1 << 20, 1, 0, 4)])
    (tmp_path / "text").write_text("no trace, no calls")
    for words, why in (
        (["replay", path], "alive at once"),
        (["replay", small, "--max-memory", "100K"], "alive at once"),
        (["replay", small, "--lib", "libnothing.so"], "No such file"),
        (["replay", small, "--lib", "libm.so.6"], "no allocator"),
        (["replay", small, "--lib", "/etc/passwd"], "ELF"),
        (["replay", small, "--lib", tmp_path], "directory"),
        (["replay", tmp_path / "none"], "none"),
        (["replay", tmp_path / "text"], "text"),
    ):
        done = cli(*words)
        assert done.returncode not in (0, 1), words
        assert done.stdout == "" and done.stderr.count("\n") == 1, (words, done.stderr)
        assert why in done.stderr, done.stderr


def test_more_memory_than_allowed_ends_a_replay(tmp_path):
    made = [(calls.BIRTH, id, 0, 10_000, 1, 0, 4) for id in range(100_000)]
    done = check(encoded(tmp_path / "calls", made), "--max-memory", str(100 << 20), memory=4 << 30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--max-memory" in done.stderr


def test_a_pack_is_replayed_as_its_traces_are(record, program, tmp_path):  # noqa: F811
    record([program, "alone"])
    assert cli("pack", tmp_path / "traces", "-o", tmp_path / "pack").returncode == 0
    told = [cli("replay", tmp_path / each, "--repeat", "1", "--json") for each in ("traces", "pack")]
    first, second = ({**json.loads(each.stdout)["calls"], "facts": ""} for each in told)
    assert first == second and first["calls"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_nothing_behind(record, program, tmp_path, number):  # noqa: F811
    record([program, "alone"])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # A thousand times slower than recorded, so that it is at work when it is interrupted.
    command = [sys.executable, ROOT / "poireau.py", "replay", tmp_path / "traces", "--pace", "0.001"]
    started = (
        subprocess.Popen(
            command, env={**environment(), "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True, process_group=0
        )
        if sys.version_info >= (3, 11)
        else None
    )
    assert started is not None
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    deadline = time.monotonic() + 60
    while not any(replays(int(each)) for each in children.read_text().split()):
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    (child,) = map(int, children.read_text().split())
    if number == signal.SIGINT:
        os.killpg(started.pid, number)
    else:
        started.send_signal(number)  # nobody but it is told
    _, said = started.communicate(timeout=60)
    assert (started.returncode, said) == (130 if number == signal.SIGINT else -number, "")
    assert not list(scratch.iterdir())
    while replays(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def replays(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return words[0].endswith("poireau-replay") and "--pace" in words


def test_a_library_is_known_for_an_allocator_by_what_it_defines(compile_c: Callable[..., Path]):
    half = compile_c("void *malloc(unsigned long s) { return 0; }", ["-shared", "-fPIC", "-fno-builtin"])
    with pytest.raises(Failure, match="it has no calloc"):
        replay.allocator(str(half))

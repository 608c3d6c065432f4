"""Our own layout, read natively: every event that babeltrace2 reads, and whatever damage leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poireau.glimpse import HEADER, MAGIC, PACKET
from poireau.native.binding import DECODE, Reader, recognizes
from poireau.tables import Loss
from tests.columns import Event, Modules, events_of, expected
from tests.conftest import ROOT, clean_environment
from tests.trace_writer import write_trace
from tests.traces import directories, read_events

OFFSET = 1_700_000_000_123_456_789  # tests/programs/trace_writer.cc
SEQUENCE, FILE = 36, 48  # where they are in a packet's header
CONTENT = 24


def read(*traces: Path) -> tuple[list[Event], list[Loss]]:
    reader = Reader(DECODE, traces)
    events = [event for batch in reader.batches() for event in events_of(batch, reader.tables())]
    return events, list(reader.tables().losses)


def check(trace: Path) -> Counter[str]:
    """It is read as babeltrace2 reads it; returns how many there are of each kind."""
    theirs = read_events(trace)
    ours, losses = read(trace)
    text = (trace / "metadata").read_text()
    seconds, rest = (int(text.split(f" {name} = ")[1].split(";")[0]) for name in ("offset_s", "offset"))
    modules = Modules()
    assert ours == [expected(event, seconds * 10**9 + rest, modules) for event in theirs]
    assert losses == []
    return Counter(event["event"] for event in ours)


@pytest.fixture
def written(compile_c: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    return lambda events, **more: write_trace(compile_c, tmp_path / "trace", events, **more)


@pytest.fixture(scope="module")
def small(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of samples: 1, 2, 4 and some packets."""
    return write_trace(compile_c, tmp_path_factory.mktemp("small") / "trace", 3000, stacks=100)


@pytest.fixture
def trace(small: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(small, tmp_path / "copy"))


def patch(file: Path, at: int, new: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(new)


def test_every_event_of_real_programs_is_what_babeltrace_reads(run_preloaded, tmp_path, exercised) -> None:
    environment = {"POIREAU_SAMPLE_PERIOD": "2048", "POIREAU_TRACE": str(tmp_path), "POIREAU_OVERHEAD_BUDGET": "off"}
    family = "import os, json; [os.fork() for _ in range(2)]; x = [json.dumps(list(range(i))) for i in range(150)]"
    run_preloaded(["/usr/bin/python3", "-c", family], environment)
    run_preloaded(["/bin/bash", "-c", "ls -la /usr >/dev/null; (true; sort /etc/passwd) | tail -1"], environment)
    found = directories(tmp_path)
    assert len(found) >= 8
    counts = sum((check(each) for each in found), Counter())
    assert counts["alloc"] > 500 and counts["free"] > 300 and counts["process"] == len(found)
    exercised.count("decoded", "real processes", len(found))


def test_every_event_of_a_trace_of_many_files_is_what_babeltrace_reads(written, seed) -> None:
    counts = check(written(6000, stacks=3000, seed=seed))
    assert sum(counts.values()) == 6000


def test_a_stack_has_the_same_number_each_time_and_in_each_process(compile_c, tmp_path) -> None:
    traces = [write_trace(compile_c, tmp_path / str(each), 2000, stacks=50, process=each) for each in (7, 8)]
    reader = Reader(DECODE, traces)
    readings = [[batch["alloc"]["frames"].tolist() for batch in reader.batches()] for _ in range(2)]
    assert readings[0] == readings[1]
    tables = reader.tables()
    assert len(tables.stack_ends) == 51
    assert tables.process_ids == [7, 8] and tables.sources == [str(each) for each in traces]


def test_another_layout_is_not_recognized(trace) -> None:
    assert recognizes(trace)
    metadata = trace / "metadata"
    text = metadata.read_text()
    for old, new in [
        ("u64 since", "u32 since"),
        ("major = 1", "major = 2"),
        ("vpid = 4242", "vpid = x"),
        ("offset = ", "offset = 9"),
        ("};\n", "};\n\n"),
    ]:
        changed = text.replace(old, new, 1)
        assert changed != text or old == "u64 since"
        metadata.write_text(changed + (" " if changed == text else ""))
        assert not recognizes(trace), old
    metadata.write_text(
        text.replace('hostname = "host"', 'hostname = "a \\"b\\" \\\\"').replace("offset_s = 17", "offset_s = -9")
    )
    assert recognizes(trace)
    metadata.unlink()
    assert not recognizes(trace)
    assert read(trace) == ([], [Loss(0, "its metadata is missing, or of another layout", 1)])


CUT, HEADER_DAMAGED = "a file is cut off within a packet", "a packet's header is damaged"
EVENT_DAMAGED = "the rest of a packet is damaged"
MISSING = "packets were overwritten or removed before they were read"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no magic": (lambda file: patch(file, PACKET, b"\0\0\0\0"), HEADER_DAMAGED),
    "packet size 0": (lambda file: patch(file, PACKET + 28 + 4, bytes(8)), HEADER_DAMAGED),
    "content size 0": (lambda file: patch(file, PACKET + CONTENT, bytes(8)), HEADER_DAMAGED),
    "content beyond the packet": (
        lambda file: patch(file, PACKET + CONTENT, struct.pack("<Q", 8 * PACKET + 8)),
        HEADER_DAMAGED,
    ),
    "content not of whole bytes": (lambda file: patch(file, PACKET + CONTENT, b"\x01"), HEADER_DAMAGED),
    "unknown event": (lambda file: patch(file, PACKET + HEADER.size, b"\xff\xff"), EVENT_DAMAGED),
    "a text without end": (
        lambda file: patch(file, PACKET + HEADER.size + 2 + 8 + 32, b"x" * (PACKET - HEADER.size - 42)),
        EVENT_DAMAGED,
    ),
    "zeros": (lambda file: patch(file, PACKET + HEADER.size, bytes(PACKET - HEADER.size)), EVENT_DAMAGED),
    "cut within an event": (lambda file: os.truncate(file, 4 * PACKET - 5000), CUT),
    "cut within a header": (lambda file: os.truncate(file, 3 * PACKET + 20), CUT),
    "empty": (lambda file: os.truncate(file, 0), CUT),
    "cut between packets": (lambda file: os.truncate(file, 2 * PACKET), MISSING),
    "removed": (lambda file: file.unlink(), MISSING),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_loses_what_is_damaged_and_says_so(small, trace, damage) -> None:
    act, cause = DAMAGE[damage]
    whole, _ = read(small)
    act(trace / "samples_3")
    left, losses = read(trace)
    of_packet = len(whole) // sum(file.name.startswith("samples") for file, _ in packets(small))
    lost = {"empty": 4, "removed": 4, "cut between packets": 2}.get(damage, 1)
    keys = Counter(map(key_of, whole))
    assert not Counter(map(key_of, left)) - keys
    assert 0 < len(whole) - len(left) <= (lost + 0.5) * of_packet
    told = {MISSING: lost} if cause == MISSING else {cause: 1, **({MISSING: lost - 1} if lost > 1 else {})}
    assert {loss.cause: loss.count for loss in losses} == told
    assert {loss.process for loss in losses} == {0}
    assert [event for event in left if event["event"] == "module"] == [e for e in whole if e["event"] == "module"]


def test_what_a_flight_recorder_overwrote_comes_last_and_the_gap_is_told(small, trace) -> None:
    whole, _ = read(small)
    files = sorted(trace.glob("samples_*"), key=lambda path: int(path.name.split("_")[1]))
    # The second file is the newest now: as if the writer had come around to it again.
    newest = 1 + len(files)
    data = bytearray(files[1].read_bytes())
    for at in range(0, len(data), PACKET):
        sequence = HEADER.unpack_from(data, at)[5] + 1000
        data[at + SEQUENCE + 4 : at + SEQUENCE + 12] = struct.pack("<Q", sequence)
    for at in range(0, len(data), PACKET):
        header = list(HEADER.unpack_from(data, at))
        header[5], header[7] = 1000 + at // PACKET, newest
        HEADER.pack_into(data, at, *header)
    files[1].write_bytes(data)
    left, losses = read(trace)
    assert Counter(map(key_of, left)) == Counter(map(key_of, whole))
    moved, _ = read(only(trace, files[1]))
    assert [key_of(e) for e in left][-len(moved) :] == [key_of(e) for e in moved]
    assert losses == [Loss(0, MISSING, 2)]


def only(trace: Path, file: Path) -> Path:
    """The same with nothing but this file of samples."""
    copy = Path(shutil.copytree(trace, trace.with_name("only")))
    for each in [*copy.glob("samples_*"), *copy.glob("facts_*")]:
        if each.name != file.name:
            each.unlink()
    return copy


def packets(trace: Path) -> Iterator[tuple[Path, int]]:
    for file in [*trace.glob("samples_*"), *trace.glob("facts_*")]:
        for at in range(0, file.stat().st_size, PACKET):
            header = HEADER.unpack(file.read_bytes()[at : at + HEADER.size])
            if header[0] == MAGIC and header[3] > 8 * HEADER.size:
                yield file, at


def key_of(event: Event) -> tuple[object, ...]:
    return event["event"], event["stamp"], event.get("id"), event.get("thread")


# Whoever reads what nobody would write does so in a process that has little memory and little time.
WORKER = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from poireau.native.binding import DECODE, Reader
for line in sys.stdin:
    reader = Reader(DECODE, [line.strip()])
    keys = []
    for batch in reader.batches():
        for event in ("alloc", "free"):
            keys += zip([event] * len(batch[event]["id"]), batch[event]["stamp"].tolist(), batch[event]["id"].tolist())
    tables = reader.tables()
    print(json.dumps([keys, [[loss.cause, loss.count] for loss in tables.losses]]), flush=True)
    reader.close()
"""


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[[Path], tuple[Counter[tuple[object, ...]], list[list[object]]]]]:
    command = ["timeout", "300", sys.executable, "-c", WORKER]
    pipe = subprocess.PIPE
    environment = clean_environment(PYTHONPATH=str(ROOT))
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)

    def ask(trace: Path) -> tuple[Counter[tuple[object, ...]], list[list[object]]]:
        process.stdin.write(f"{trace}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait()}"
        keys, losses = json.loads(line)
        return Counter(map(tuple, keys)), losses

    yield ask
    process.kill()
    process.wait()


@pytest.mark.slow
def test_whatever_is_done_to_some_bytes_leaves_the_other_packets(small, worker, tmp_path, seed, scale) -> None:
    whole, _ = worker(small)
    of_packet = {place: keys_in(small, *place) for place in packets(small) if place[0].name.startswith("samples")}
    byte = st.tuples(st.sampled_from(sorted(of_packet)), st.integers(0, PACKET - 1), st.integers(1, 255))
    run = st.tuples(st.sampled_from(sorted(of_packet)), st.integers(0, PACKET - 1), st.binary(min_size=1, max_size=64))

    @settings(max_examples=int(scale(600)), suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(byte, run), min_size=1, max_size=6))
    def check_mutated(mutations: list[tuple[tuple[Path, int], int, int | bytes]]) -> None:
        copy = tmp_path / "mutated"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(small, copy)
        for (file, packet), at, change in mutations:
            data = bytearray((copy / file.name).read_bytes())
            new = bytes([data[packet + at] ^ change]) if isinstance(change, int) else change[: PACKET - at]
            patch(copy / file.name, packet + at, new)
        got, _ = worker(copy)
        hit = {place for place, _, _ in mutations}
        for place, keys in of_packet.items():
            if place not in hit:
                assert not keys - got, place
        assert sum(got.values()) <= 3 * sum(whole.values())

    random.seed(seed)
    check_mutated()


def keys_in(trace: Path, file: Path, at: int) -> Counter[tuple[object, ...]]:
    from poireau.glimpse import events

    data = file.read_bytes()[at : at + PACKET]
    content = HEADER.unpack_from(data)[3] // 8
    return Counter((name, time + OFFSET, fields["id"]) for name, time, fields in events(data[:content]))


def test_files_of_any_size_and_kind_end(trace, worker) -> None:
    with (trace / "samples_9").open("wb") as sparse:
        sparse.truncate(1 << 42)
    os.mkfifo(trace / "samples_10")
    (trace / "samples_11").mkdir()
    (trace / "samples_12").symlink_to("samples_12")
    (trace / "samples_13").symlink_to("/dev/zero")
    (trace / "samples_99999999999999999999").write_bytes(b"x")
    keys, losses = worker(trace)
    assert len(keys) > 2900
    assert dict(losses)["a file can't be opened"] == 4


LOADER = """
#include <dlfcn.h>
#include <stdlib.h>
int main(int count, char** libraries) {
  for (int i = 0; i < 60; ++i) {
    void* library = dlopen(libraries[1 + i % 2], RTLD_NOW);
    void* (*make)(void) = (void* (*)(void))dlsym(library, "make");
    for (int j = 0; j < 3; ++j) free(make());
    dlclose(library);
  }
}
"""


def test_frames_lie_in_what_was_loaded_there_at_the_time(compile_c, run_preloaded, tmp_path) -> None:
    libraries = []
    for size in (1111, 2222):  # in turn at the same address
        source = f"#include <stdlib.h>\nvoid* make(void) {{ void* volatile made = malloc({size}); return made; }}"
        libraries.append(tmp_path / f"lib{size}.so")
        shutil.copy(compile_c(source, ["-shared", "-fPIC"]), libraries[-1])
    options = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(tmp_path), "POIREAU_OVERHEAD_BUDGET": "off"}
    run_preloaded([compile_c(LOADER), *libraries], options)
    (trace,) = directories(tmp_path)
    events, _ = read(trace)
    births = [event for event in events if event["event"] == "alloc" and event["size"] in (1111, 2222)]
    assert len(births) == 180
    for birth in births:
        assert birth["frames"][0][0] == str(libraries[birth["size"] // 1112]), birth


def test_memory_grows_with_stacks_not_with_events(compile_c, tmp_path) -> None:
    script = (
        "import resource, sys; from poireau.native.binding import *\n"
        "for _ in Reader(DECODE, sys.argv[1:]).batches(): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def peak(name: str, events: int) -> int:
        trace = write_trace(compile_c, tmp_path / name, events, stacks=500)
        command = [sys.executable, "-c", script, trace]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
        return int(done.stdout) << 10

    assert peak("long", 400_000) - peak("short", 100_000) < 6 << 20

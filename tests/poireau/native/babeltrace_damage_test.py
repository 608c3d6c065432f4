"""Of a damaged trace all that is sound is read, what isn't is counted, and neither memory nor time run away.

Each is read in a process of its own, with a limit to both; what libbabeltrace2 would say there is seen.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys

import pytest

from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.e2e.lttng_test import lttng_of
from tests.poireau.native.handmade import Layout

BLOCKS = ROOT / "tests" / "programs" / "lttng_blocks.c"
MEMORY = 2 << 30
READER = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from poireau.errors import Failure
from tests.poireau.native.reading import read
for path in sys.argv[1:]:
    try:
        got = read(path)
        print(json.dumps([[row["id"] for row in got.of("alloc")], got.losses]))
    except Failure as failure:
        print(json.dumps([None, str(failure)]))
"""
DAMAGED = "damaged packets"
EVENTS = {"poireau:alloc": {"id": "u64", "function": "text", "frames": "frames"}}
PACKETS = 5


def read_all(directories):
    """Of each the ids of the births, or None, and its losses, or the complaint."""
    environment = clean_environment(PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", READER, *map(str, directories)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    where = directories[len(lines)] if len(lines) < len(directories) else None
    assert (done.returncode, done.stderr, where) == (0, "", None)
    return [json.loads(line) for line in lines]


@pytest.fixture
def handmade(tmp_path):
    """write(name, packets) and packets of ten events each."""
    layout = Layout(EVENTS)
    packets = [
        layout.packet(
            [
                (number, "poireau:alloc", {"id": number, "function": b"malloc", "frames": [number] * 3})
                for number in range(10 * packet, 10 * packet + 10)
            ],
            room=packet,
        )
        for packet in range(PACKETS)
    ]
    return (lambda name, *some: layout.write(tmp_path / str(name), *some)), packets


def ids_of(*packets):
    return [number for packet in packets for number in range(10 * packet, 10 * packet + 10)]


def test_a_file_that_is_cut_keeps_its_whole_packets(handmade):
    write, packets = handmade
    whole, size = b"".join(packets), len(packets[0])
    ends = [len(b"".join(packets[:count])) for count in range(PACKETS + 1)]
    cuts = sorted(
        {*ends[1:], *range(1, size, 7), *(end + more for end in ends[:-1] for more in (1, 24, 40, 55, 56, 57))}
    )
    results = read_all([write(cut, whole[:cut]) for cut in cuts])
    for cut, (ids, losses) in zip(cuts, results):
        kept = sum(end <= cut for end in ends) - 1
        assert (ids, losses) == (ids_of(*range(kept)), {} if cut in ends else {DAMAGED: 1}), cut


def test_a_packet_that_claims_another_size_takes_no_other_with_it(handmade):
    write, packets = handmade
    wrong = [0, 1, 8, 2**32, 2**63, 2**64 - 8, 8 * len(packets[2]) - 8, 8 * len(b"".join(packets[2:])) + 8]
    fields = {"content": 24, "packet": 32}
    traces_of = {
        (name, value): write(
            f"{name}-{value}",
            *packets[:2],
            packets[2][:at] + value.to_bytes(8, "little") + packets[2][at + 8 :],
            *packets[3:],
        )
        for name, at in fields.items()
        for value in wrong
    }
    for case, (ids, losses) in zip(traces_of, read_all(list(traces_of.values()))):
        assert set(ids_of(0, 1, 3, 4)) <= set(ids), case
        assert ids == ids_of(*range(PACKETS)) or losses == {DAMAGED: 1}, case


def test_all_sizes_zero_is_no_endless_trace(handmade):
    write, packets = handmade
    hollow = [packet[:24] + bytes(16) + packet[40:] for packet in packets]
    ((ids, losses),) = read_all([write("hollow", *hollow)])
    assert (ids, losses) == ([], {DAMAGED: 1})


def test_what_lies_behind_a_damaged_event_is_read(handmade):
    write, packets = handmade
    at = 200
    some = [
        packet[:at] + b"\xff" * 40 + packet[at + 40 :] if number in (1, 3) else packet
        for number, packet in enumerate(packets)
    ]
    ((ids, losses),) = read_all([write("events", *some)])
    assert set(ids_of(0, 2, 4)) <= set(ids)
    assert losses == {DAMAGED: 2}


def test_a_stranger_s_packet_is_left_out(handmade, tmp_path):
    write, packets = handmade
    other = Layout(EVENTS).packet([(1, "poireau:alloc", {"id": 77})])
    ((ids, losses),) = read_all([write("strange", packets[0], other, b"no packet at all", packets[1])])
    assert (ids, losses) == (ids_of(0, 1), {DAMAGED: 1})


def test_metadata_that_is_cut_describes_what_it_still_does(handmade):
    write, packets = handmade
    trace = write("cut", *packets)
    text = (trace / "metadata").read_text()
    (trace / "metadata").write_text(text + "event { name = ")
    ((ids, losses),) = read_all([trace])
    assert (ids, losses) == (ids_of(*range(PACKETS)), {"damaged metadata": 1})


DEEP = 100_000
MEANT_TO_HARM = {
    "an array of four billion": "u8 a[4000000000];",
    "arrays of arrays": "u8 a[0x10000][65536];",
    "structures of structures": "".join(
        f"struct s{n} {{ {f'struct s{n - 1} a; struct s{n - 1} b;' if n else 'u8 a;'} }} f{n}; " for n in range(40)
    ),
    "one within the other": "struct { " * DEEP + "u8 a; " + "} b; " * DEEP,
    "one index after the other": "u8 a" + "[1]" * DEEP + ";",
    "what is counted of what is counted": "enum : " * DEEP + "u8 { A } a;",
}


@pytest.mark.parametrize("where", ["fields := struct { ", "packet.context := struct { "])
def test_metadata_that_is_meant_to_harm_does_not(handmade, where):
    write, packets = handmade
    harmful = [write(f"{number}", *packets) for number in range(len(MEANT_TO_HARM))]
    for trace, fields in zip(harmful, MEANT_TO_HARM.values()):
        text = (trace / "metadata").read_text()
        (trace / "metadata").write_text(text.replace(where, where + fields))
    for case, (ids, complaint) in zip(MEANT_TO_HARM, read_all(harmful)):
        assert ids is None and complaint.endswith("metadata with more fields than anybody means"), case


@pytest.mark.parametrize("item", ["u8", "struct { }", "struct { u8 a[1000]; }"])
def test_an_event_that_says_it_has_more_items_than_it_can_is_damaged(tmp_path, item):
    layout = Layout({"poireau:alloc": {"id": "u64"}, "stranger:numbers": {"count": "u64"}})

    def written(count):
        born = {time: (time, "poireau:alloc", {"id": time}) for time in (1, 3)}
        rows = [born[1], (2, "stranger:numbers", {"count": count}), born[3]]
        trace = layout.write(tmp_path / str(count), layout.packet(rows), layout.packet([born[3]]))
        text = (trace / "metadata").read_text()
        (trace / "metadata").write_text(text.replace("u64 _count;", f"u64 count; {item} numbers[count];"))
        return trace

    counts = [0, 2**28, 2**32, 2**63]
    (ids, losses), *rest = read_all([written(count) for count in counts])
    assert (ids, losses) == ([1, 3, 3], {"events that are not ours": 1})
    assert rest == [[[1, 3], {DAMAGED: 1}]] * 3


def mutated(source, target, kind: str, rng: random.Random):
    shutil.copytree(source, target)
    files = [
        path for path in target.rglob("*") if path.is_file() and path.stat().st_size and path.parent.name != "index"
    ]
    path = rng.choice([path for path in files if (path.name == "metadata") == (kind == "metadata")])
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if kind in ("flips", "metadata"):
        for _ in range(rng.choice((1, 1, 20))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "header":
        content[rng.randrange(min(84, len(content)))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "zeros":
        content[at : at + 5000] = bytes(len(content[at : at + 5000]))
    else:
        content[at:at] = rng.randbytes(rng.randrange(1, 100))
    path.write_bytes(content)
    return target


KINDS = ("flips", "metadata", "header", "cut", "zeros", "more")


def survive(trace, tmp_path, seed, count):
    rng = random.Random(seed)
    cases = [mutated(trace, tmp_path / f"{number}-{(kind := rng.choice(KINDS))}", kind, rng) for number in range(count)]
    ((sound, losses),) = read_all([trace])
    assert (bool(sound), losses) == (True, {})
    results = read_all(cases)
    for case, (ids, losses) in zip(cases, results):
        if case.name.endswith("cut") and ids is not None:
            assert set(ids) <= set(sound) and (losses or len(ids) == len(sound)), case.name
    return results


@pytest.mark.slow
def test_damage_at_random_is_survived(run_preloaded, compile_c, tmp_path, seed, scale):
    own = tmp_path / "own"
    blocks = compile_c(BLOCKS.read_text(), ["-pthread"])
    run_preloaded([blocks, "threads", "100"], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(own)})
    (trace,) = traces.directories(own)
    survive(trace, tmp_path, seed, scale(600))


@pytest.mark.slow
def test_damage_to_what_lttng_wrote_is_survived(library, compile_c, tmp_path, seed, scale):
    for lttng in lttng_of(False, library):
        recorded = lttng.record()
        blocks = shutil.copy(compile_c(BLOCKS.read_text(), ["-pthread"]), lttng.folder / "blocks")
        lttng.run(lttng.profiled([blocks, "threads", "100"]))
        lttng.run(["lttng", "destroy", "s"])
        trace = shutil.copytree(recorded, tmp_path / "lttng")
    survive(trace, tmp_path, seed, scale(600))

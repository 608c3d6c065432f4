"""What is found in memory, whatever it holds: against the same found by brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from poireau import scan
from poireau.errors import Failure
from poireau.scan_areas import Area, chosen
from poireau.scan_library import INDIRECT, LOST, REACHED, demangled, words
from tests.poireau.cores import FREED, HOMES, PAGE, RECORDS, REGION, core, records

HEAP = 0x5555_0000_0000


def brute(data: bytes) -> list[int]:
    return [at for at in range(0, len(data) - 7, 4) if int.from_bytes(data[at : at + 8], "little") >> 45 == 1]


def sprinkled(random: np.random.Generator, size: int, addresses: NDArray[np.uint64], count: int) -> bytearray:
    data = bytearray(random.integers(0, 1 << 14, size // 8 + 1, np.uint64).tobytes()[:size])
    for at in random.integers(0, max(size // 4 - 1, 1), count).tolist():
        data[at * 4 : at * 4 + 8] = int(random.choice(addresses)).to_bytes(8, "little")
    return data[:size]


@pytest.mark.parametrize("plain", [False, True])
def test_every_word_of_the_region_is_found(plain: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    near = np.array([REGION, REGION - 1, 2 * REGION - 1, 2 * REGION, REGION + 12345, 0, 2**64 - 1], np.uint64)
    for size in [*range(80), 4096, 4100]:
        data = bytes(sprinkled(random, size, near, size // 16))
        assert words(data, plain).tolist() == brute(data), size
    noise = random.bytes(1 << 16)
    assert words(noise, plain).tolist() == brute(noise)


def graph(random: np.random.Generator, count: int) -> tuple[dict[int, bytes], NDArray[np.int64]]:
    """Memory of blocks that point at each other by chance, from a few roots; and the state of each."""
    sizes = random.integers(0, 600, count)
    begins = HOMES + 2 * PAGE * np.arange(count) + 16 * random.integers(0, 128, count)
    inner = np.array([begin + random.integers(0, max(size, 1)) for begin, size in zip(begins, sizes)], np.uint64)
    edges: list[set[int]] = [set() for _ in range(count)]
    homes = bytearray(2 * PAGE * count)
    for number, (begin, size) in enumerate(zip(begins.tolist(), sizes.tolist())):
        for at in range(0, size - 7, 4):
            if random.random() < 0.9 / max(size / 8, 1):
                other = int(random.integers(count))
                place = begin - HOMES + at
                homes[place : place + 8] = int(inner[other]).to_bytes(8, "little")
        data = homes[begin - HOMES : begin - HOMES + size]
        for at in brute(bytes(data)):
            word = int.from_bytes(data[at : at + 8], "little")
            own = np.flatnonzero((begins <= word) & (word < begins + np.maximum(sizes, 1)))
            edges[number] |= {int(other) for other in own} - {number}
    roots = random.choice(count, 3, replace=False).tolist()
    heap = bytearray(PAGE)
    for at, root in enumerate(roots):
        heap[at * 100 : at * 100 + 8] = int(inner[root]).to_bytes(8, "little")
    behind = int(begins[5] + max(sizes[5], 1))  # one past the end holds nobody
    heap[2000:2008] = behind.to_bytes(8, "little")
    memory = {
        RECORDS + (2 << 33): records(list(zip(begins.tolist(), sizes.tolist()))),
        HOMES: bytes(homes),
        HEAP: bytes(heap),
    }
    return memory, expected(edges, roots)


def expected(edges: list[set[int]], roots: list[int]) -> NDArray[np.int64]:
    state = np.zeros(len(edges), np.int64)

    def flood(start: list[int], value: int) -> None:
        left = list(start)
        while left:
            for other in edges[left.pop()]:
                if not state[other]:
                    state[other] = value
                    left.append(other)

    state[roots] = REACHED
    flood(roots, REACHED)
    lost = np.flatnonzero(state == 0).tolist()
    pointed = {other for block in lost for other in edges[block]}
    first = [block for block in lost if block not in pointed]
    state[first] = LOST
    flood(first, INDIRECT)
    for block in lost:  # circles: the oldest comes first
        if not state[block]:
            state[block] = LOST
            flood([block], INDIRECT)
    return state


def test_blocks_are_reached_as_a_search_of_the_graph_says(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    met = set()
    for _ in range(10):
        memory, state = graph(random, 60)
        seen, _ = scan.of_core(str(core(tmp_path / "core", memory)))
        blocks = seen.columns.blocks
        assert len(blocks) == len(state)
        assert blocks["state"][np.argsort(blocks["id"])].tolist() == state.tolist()
        met |= set(state.tolist())
    assert met == {REACHED, LOST, INDIRECT}


def test_records_of_freed_blocks_count_for_nothing(tmp_path: Path) -> None:
    memory = {RECORDS: records([(HOMES, 64)], FREED), HOMES: bytes(PAGE), HEAP: HOMES.to_bytes(8, "little") * 512}
    seen, _ = scan.of_core(str(core(tmp_path / "core", memory)))
    assert not len(seen.columns.blocks) and not len(seen.columns.hits)


def test_no_record_is_missed_among_many(tmp_path: Path) -> None:
    count = 20_000  # more than are read at once
    begins = HOMES + 256 * np.arange(count)
    memory = {
        RECORDS: records([(begin, 64) for begin in begins.tolist()]),
        HOMES: b"\1" * (256 * count),
        HEAP: begins.astype(np.uint64).tobytes() + bytes(-8 * count % PAGE),
    }
    seen, _ = scan.of_core(str(core(tmp_path / "core", memory)))
    assert seen.columns.blocks["address"].tolist() == begins.tolist()
    assert (seen.columns.blocks["state"] == REACHED).all()


def test_records_of_another_version_are_refused(tmp_path: Path, seed: int) -> None:
    """As they would be if a field had been put before the others, or if they were longer."""
    good = records([(HOMES + 256 * number, 64) for number in range(1000)])
    longer = b"".join(good[at : at + 128] + bytes(64) for at in range(0, len(good), 128))
    for changed in (bytes(8) + good[:-8], good[8:] + bytes(8), longer[: len(longer) // PAGE * PAGE]):
        path = core(tmp_path / "core", {RECORDS: changed, HOMES: bytes(PAGE), HEAP: bytes(PAGE)})
        with pytest.raises(Failure, match="is of another version"):
            scan.of_core(str(path))


def test_a_register_holds(tmp_path: Path) -> None:
    memory = {RECORDS: records([(HOMES, 64), (HOMES + PAGE, 64)]), HOMES: b"\1" * 2 * PAGE, HEAP: bytes(PAGE)}
    seen, _ = scan.of_core(str(core(tmp_path / "core", memory, [{}, {5: HOMES + 63}])))
    assert seen.columns.blocks["state"].tolist() == [REACHED, LOST]


def test_what_lies_below_a_stack_holds_nothing(tmp_path: Path) -> None:
    stack = 0x7FFE_0000_0000
    word = HOMES.to_bytes(8, "little")
    for offset, state in ((0x800, LOST), (0x1000 - 128, REACHED), (0x1000, REACHED), (0x1800, REACHED)):
        content = bytearray(2 * PAGE)
        content[offset : offset + 8] = word
        memory = {RECORDS: records([(HOMES, 64)]), HOMES: b"\1" * PAGE, stack: bytes(content)}
        seen, _ = scan.of_core(str(core(tmp_path / "core", memory, [{19: stack + 0x1000}])))
        assert seen.columns.blocks["state"].tolist() == [state], hex(offset)


def test_a_stack_beside_another_one_is_read_down_to_that(tmp_path: Path) -> None:
    # Two threads' stacks in one mapping: the upper one's unused part ends where the lower one's begins.
    stacks = 0x7F00_0000_0000
    threads = [{}, {19: stacks + 0x1000, 21: stacks + 0x3F00}, {19: stacks + 0x9000, 21: stacks + 0xAF00}]
    for offset, state in ((0x800, LOST), (0x1100, REACHED), (0x3F80, REACHED), (0x7000, LOST), (0x9100, REACHED)):
        content = bytearray(0xB000)
        content[offset : offset + 8] = HOMES.to_bytes(8, "little")
        memory = {RECORDS: records([(HOMES, 64)]), HOMES: b"\1" * PAGE, stacks: bytes(content)}
        seen, _ = scan.of_core(str(core(tmp_path / "core", memory, threads)))
        assert seen.columns.blocks["state"].tolist() == [state], hex(offset)


def test_what_is_read_is_memory_of_the_processs_own() -> None:
    def area(begin: int, permissions: str, path: str = "", inode: int = 0) -> Area:
        return Area(begin, begin + PAGE, permissions, 0, inode, path)

    own = [
        area(1 << 40, "rw-p"),
        area(2 << 40, "r--p"),
        area(3 << 40, "r-xp", "/bin/x", 7),
        area(4 << 40, "rw-s", "/dev/zero", 5),
    ]
    homes = [area(REGION, "rw-p"), area(RECORDS, "rw-p")]
    others = [
        area(5 << 40, "---p"),
        area(6 << 40, "rw-s", "/x/facts_1", 5),
        area(7 << 40, "rw-s", "/dev/dri/card0", 5),
        area(8 << 40, "rw-s", "/x/data", 5),
        area(9 << 40, "r--p", "[vvar]"),
    ]
    got = chosen([*own, *homes, *others], [(1 << 40, (1 << 40) + 100)])
    assert sorted(got.ranges["begin"].tolist()) == sorted([(1 << 40) + 100, *(each.begin for each in own[1:])])
    assert sorted(got.homes["begin"].tolist()) == [each.begin for each in homes]
    assert got.left_out == 2 * PAGE


def test_symbols_are_shown_as_people_write_them() -> None:
    assert demangled("_ZN3abc3defE") == "abc::def" and demangled("plain") == "plain" and demangled("_Zoops") == "_Zoops"

"""One scan, of a process as it runs or of a core: its blocks, and the words that point into them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poireau import core_file, scan_areas, scan_modules, scan_target
from poireau.errors import REFUSED, Failure
from poireau.model import Heap
from poireau.reached import ScanFacts
from poireau.scan_holders import Place
from poireau.scan_library import IN_KERNEL, IN_REGISTER, REACHED, Columns, Gone, Rows, Scan
from poireau.text import as_size, plain

NO_HOMES = "what sampled blocks hold: it is not in this core (gdb leaves it out, the kernel does not)"
ONLY_LIVE = "what the kernel had of the process: epoll, timers"
LEFT_OUT = (
    "pointers that are tagged, compressed, XORed, or not at a multiple of four bytes",
    "what only the kernel has: signal stacks, io_uring and aio requests, messages in pipes and sockets",
    "leaks that a pointer still holds which nobody uses any more, left in freed memory for example",
)
_PAGES_LOOKED_AT = 64


@dataclass(frozen=True)
class Seen:
    """By one scan of one process."""

    columns: Columns
    place: Place
    facts: ScanFacts
    frozen: bool  # nothing could move
    left_out: tuple[str, ...]
    reading: float = 0.0  # seconds of it
    complete: bool = True  # nothing was left out that could have been read


def of_process(pid: int, budget: int = 0, plain: bool = False) -> Seen:
    """`plain`: as on kernels before Linux 6.7. Raises Gone, and Failure."""
    begun = time.monotonic()
    with _unless_gone(pid), scan_target.opened(pid, plain) as scan:
        areas = scan_areas.of_process(pid)
        modules = scan_modules.of(areas, scan.read)
        chosen = scan_areas.chosen(areas, scan_target.own(modules, areas, scan.read))
        names = scan_target.thread_names(pid)
        kept = scan_target.kept_by_kernel(pid)
        if not scan.find_blocks(chosen.homes):
            raise _of_another_version(f"process {pid}")
        for number, word in enumerate(kept):
            scan.count(word.value.to_bytes(8, "little"), IN_KERNEL, number)
        started = time.monotonic()
        scan.begin(chosen.ranges, budget)
        inside = scan.columns().read
        scan.complete()
        reading = time.monotonic() - started
        scan.finish()
        columns = scan.columns()
    place = Place(areas, modules, columns.threads, names, [word.what for word in kept], (pid,), pid)
    facts = ScanFacts(pid, time.monotonic() - begun, columns.stopped / 1e9, columns.read, len(columns.blocks))
    # What is read last, and by `finish`, is what nobody points at.
    unmet = int(columns.blocks["size"][columns.blocks["state"] != REACHED].sum())
    together = budget > 0 and not columns.threads["stopped"].any()
    frozen = together and not columns.threads["error"].any() and columns.read - inside <= 2 * unmet
    left_out = tuple(_left_out(pid, columns, chosen.left_out))
    return Seen(columns, place, facts, frozen, left_out, reading, not columns.swapped and not columns.too_wide)


def _of_another_version(what: str) -> Failure:
    return Failure(
        f"{what}: its blocks can't be told, its libpoireau.so is of another version: use the poireau of that one",
        REFUSED,
    )


@contextmanager
def _unless_gone(pid: int) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ProcessLookupError):
        raise Gone from None
    except OSError as error:
        raise Failure(f"process {pid}: {error.strerror}", REFUSED) from None


def _left_out(pid: int, columns: Columns, shared: int) -> Iterator[str]:
    if shared:
        yield f"{as_size(shared)} of files and devices that process {pid} shares with others"
    if columns.swapped:
        yield f"{as_size(columns.swapped)} of process {pid} that are swapped out"
    if columns.too_wide:
        yield f"{as_size(columns.too_wide)} of addresses that process {pid} reserved, too many to look through"
    unread = int((columns.threads["error"] != 0).sum())
    if unread:
        tracer = scan_target.traced_by(pid)
        why = f"process {tracer} traces it" if tracer else "they did not stop"
        yield f"registers of {unread} of {len(columns.threads)} threads of process {pid}: {why}"


def states_of(columns: Columns, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    rows = rows_of(columns, ids)
    blocks = np.append(columns.blocks["state"].astype(np.int64), -1)
    return blocks[rows]


def rows_of(columns: Columns, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of blocks by id; -1: it was not there."""
    order = np.argsort(columns.blocks["id"], kind="stable")
    known = columns.blocks["id"][order]
    at = np.searchsorted(known, ids)
    rows = np.full(len(ids), -1, np.int64)
    there = np.flatnonzero(at < len(known))
    there = there[known[at[there]] == ids[there]]
    rows[there] = order[at[there]]
    return rows


def of_core(path: str, names: Mapping[int, str] | None = None) -> tuple[Seen, core_file.Core]:
    """`names`: of threads, which a core has not. Raises Failure: it is none."""
    begun = time.monotonic()
    core = core_file.read(path)
    try:
        scan = Scan(core=path, segments=core.segments)
    except OSError as error:
        raise Failure(f"{plain(path)}: {error.strerror}", REFUSED) from None
    with scan:
        reading = core_file.or_from_files(core, scan.read)
        modules = scan_modules.of(core.areas, reading)
        chosen = scan_areas.chosen(core.areas, scan_target.own(modules, core.areas, scan.read))
        if not scan.find_blocks(chosen.homes):
            raise _of_another_version(plain(path))
        scan.know(core.threads)
        for thread, register_set, data in core.registers:
            scan.count(data, IN_REGISTER, thread, register_set)
        scan.begin(chosen.ranges)
        scan.complete()
        scan.finish()
        columns = scan.columns()
        has_homes = _has_homes(columns.blocks, scan)
    place = Place(core.areas, modules, columns.threads, names or core.names, (), (), core.pid)
    facts = ScanFacts(core.pid, time.monotonic() - begun, 0.0, columns.read, len(columns.blocks))
    left_out = (*core.left_out, *(() if has_homes else (NO_HOMES,)), ONLY_LIVE)
    return Seen(columns, place, facts, True, left_out, complete=has_homes and not core.is_cut), core


def thread_names(heap: Heap) -> dict[int, str]:
    return dict(zip(heap.threads["thread"].tolist(), heap.threads["name"].tolist()))


def _has_homes(blocks: Rows, scan: Scan) -> bool:
    """Around a block there are bytes that are not zero, unless they are missing."""
    pages = np.unique(blocks["address"] & ~np.uint64(4095))[:_PAGES_LOOKED_AT].tolist()
    empty = sum(not any(scan.read(page, 4096)) for page in pages)
    return 2 * empty <= len(pages)

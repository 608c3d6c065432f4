"""What holds a block, in words: the global variable, the stack, the register, the other block where a word lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poireau import reached, scan_areas
from poireau.scan_areas import Area
from poireau.scan_library import IN_BLOCK, IN_KERNEL, IN_REGISTER, Columns, Rows
from poireau.scan_modules import Module, Symbols
from poireau.text import plain

RED_ZONE = 128
AFTER = 4096  # and what is above it: pthreads' own
_REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es "
    "fs gs"
).split()
_MOST_NAMED = 4096  # words of a module that are looked up one by one


@dataclass
class Words:
    """Texts, each once; number 0 is the empty one."""

    texts: list[str] = field(default_factory=lambda: [""])
    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.texts)) if text in self.numbers else self._added(text)

    def _added(self, text: str) -> int:
        self.texts.append(text)
        self.numbers[text] = len(self.texts) - 1
        return len(self.texts) - 1


@dataclass(frozen=True)
class Place:
    """Whose memory it is."""

    areas: Sequence[Area]
    modules: Sequence[Module]
    threads: Rows  # of scan_library.THREAD
    names: Mapping[int, str]  # of threads
    kept: Sequence[str] = ()  # what the kernel keeps, by number
    processes: tuple[int, ...] = ()  # in which files may still be found
    main: int = 0  # the first thread

    def described(self, address: int) -> tuple[int, str]:
        """One word in its memory."""
        words = Words()
        kind, number = _in_memory(self, np.array([address], np.uint64), words)
        return int(kind[0]), words.texts[int(number[0])]


def of(
    columns: Columns,
    chosen: NDArray[np.int64],
    place: Place,
    words: Words,
    sites: Callable[[NDArray[np.uint64]], list[str]],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Kinds and numbers of words of these hits. `sites`: where blocks of these ids were asked for."""
    hits = columns.hits[chosen]
    kind, word = _in_memory(place, hits["at"], words)
    where = hits["from"]
    if (rows := np.flatnonzero(where == IN_BLOCK)).size:
        ids = columns.blocks["id"][hits["who"][rows]]
        distinct, inverse = np.unique(ids, return_inverse=True)
        kind[rows] = reached.SAMPLED
        word[rows] = np.array([words.number(_from(text)) for text in sites(distinct)], np.int64)[inverse]
    for row in np.flatnonzero(where == IN_REGISTER).tolist():
        hit = hits[row]
        thread = _thread(place, int(columns.threads["tid"][hit["who"]]))
        number = int(hit["at"]) // 8
        name = f"register {_REGISTERS[number]}" if hit["set"] == 0 and number < len(_REGISTERS) else "a vector register"
        kind[row], word[row] = reached.REGISTER, words.number(f"{name} of {thread}")
    for row in np.flatnonzero(where == IN_KERNEL).tolist():
        kind[row], word[row] = reached.KERNEL, words.number(place.kept[int(hits[row]["who"])])
    return kind, word


def _from(site: str) -> str:
    return f"sampled block from {site}" if site else "sampled block"


def _thread(place: Place, tid: int) -> str:
    name = place.names.get(tid, "")
    return f'thread {tid} "{plain(name)}"' if name else f"thread {tid}"


def _in_memory(place: Place, at: NDArray[np.uint64], words: Words) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    kind, word = np.zeros(len(at), np.uint8), np.zeros(len(at), np.int64)
    left = np.ones(len(at), bool)

    def within(begin: int, end: int) -> NDArray[np.int64]:
        return np.flatnonzero(left & (at >= np.uint64(begin)) & (at < np.uint64(max(end, 0))))

    def told(rows: NDArray[np.int64], as_kind: int, text: str) -> None:
        if len(rows):
            kind[rows], word[rows], left[rows] = as_kind, words.number(text), False

    tls = sum(-(-module.tls // 64) * 64 for module in place.modules)
    program = next((module for module in place.modules if module.tls and not _is_library(module)), None)
    by_stack = sorted(place.threads.tolist(), key=lambda thread: -thread[0])
    for sp, fs, *_, tid, error in by_stack:
        if error:
            continue
        who = _thread(place, tid)
        area = scan_areas.at(place.areas, sp)
        own = area is not None and sp < fs < area.end
        bottom = fs - tls if own and fs - tls > sp else fs if own else area.end if area is not None else sp
        for row in within(fs - tls if not own else bottom, fs + AFTER).tolist():
            name = "" if program is None else _of_thread(program, place, int(at[row]) - fs)
            text = f"thread-local {name} of {who}" if name else f"thread-local storage of {who}"
            told(np.array([row]), reached.THREAD, text)
        if area is not None and (own or tid == place.main or area.size < 1 << 30):
            told(within(sp - RED_ZONE, bottom), reached.STACK, f"stack of {who}")
    for module in place.modules:
        rows = within(module.begin, module.end)
        variables = Symbols(module, place.processes).common if len(rows) else None
        for row in rows[:_MOST_NAMED].tolist():
            name = variables.name(int(at[row]) - module.bias) if variables is not None else ""
            named = f"global {plain(name)} in {plain(module.name)}" if name else f"data of {plain(module.name)}"
            told(np.array([row]), reached.GLOBAL, named)
        told(rows[_MOST_NAMED:], reached.GLOBAL, f"data of {plain(module.name)}")
    for area in place.areas:
        if left.any() and len(rows := within(area.begin, area.end)):
            told(rows, *_of_area(area))
    return kind, word


def _of_thread(program: Module, place: Place, offset: int) -> str:
    """The executable's are directly below the thread's pointer."""
    size = -(-program.tls // program.tls_alignment) * program.tls_alignment
    return plain(Symbols(program, place.processes).of_threads.name(offset + size)) if -size <= offset < 0 else ""


def _is_library(module: Module) -> bool:
    return ".so" in module.name


def _of_area(area: Area) -> tuple[int, str]:
    if area.path == "[heap]":
        return reached.HEAP, "an unsampled heap block in [heap]"
    if area.path.startswith("[stack"):
        return reached.STACK, "the first thread's stack"
    if area.shared or area.path.startswith("/dev/zero"):
        name = scan_areas.shown(area.path)
        return reached.MAPPING, "shared memory" if name == "zero" else f"shared memory {plain(name)}"
    if area.is_file:
        return reached.MAPPING, f"memory mapped from {plain(scan_areas.shown(area.path))}"
    name = area.path.removeprefix("[anon:").rstrip("]") if area.path.startswith("[anon:") else ""
    return reached.MAPPING, f"anonymous memory ({plain(name) if name else 'an unsampled heap block, or mmap'})"

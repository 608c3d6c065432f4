"""The table: what heap_errors.cc commits, and the one line that is said of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from signal import SIGSEGV

PAGE = 4096
CAUGHT_BY_ITSELF = 99  # the status of a program whose own handler got the signal


@dataclass(frozen=True)
class Case:
    error: str
    offset: int
    maker: str
    size: int
    place: str
    right: bool = False

    @property
    def arguments(self) -> list[str]:
        return [self.error, str(self.offset), self.maker, str(self.size), self.place]


# What heap_errors.cc commits: where (see `address`), and what is said of it. {there} is "ADDRESS, 4 bytes into", {by}
# the function that frees rightly. Where two lines are given, the block's place in its page decides. `faults` are only
# seen with guards.
USE = "use after free: {} at {{there}} a freed {{block}}"
READ, WRITE, EXECUTE = (USE.format(how) for how in ("read", "write", "execute"))
OVERFLOW = "overflow: write at {{there}} a {{block}}|short overflow: {{changed}} a {{block}}, found by {}"
UNDERFLOW = "underflow: write at {{there}} a {{block}}|short underflow: {{changed}} a {{block}}, found by {}"
DOUBLE = "double free: {{address}}, a freed {{block}}, given to {}"
INVALID = "invalid free: {{there}} a {{block}}, given to {}"
NOWHERE = "invalid free: {address}, where no block is, given to free"
RESIZE = "resize of a freed block: {address}, a freed {block}, given to realloc"
MISMATCH = "mismatched release: {{address}}, a {{block}}, given to {}"
SIZE = "wrong size: {{address}}, a {{block}}, given to {} as {{offset}} bytes"
FAULTS_ONLY = {
    "read": ("inside", READ),
    "read all": ("start", READ),
    "read aged": ("inside", READ),
    "read stale": ("inside", READ),
    "read behind freed": ("behind", READ),
    "read before freed": ("before", READ),
    "write": ("inside", WRITE),
    "write aged": ("inside", WRITE),
    "execute": ("inside", EXECUTE),
    "memcpy": ("inside", READ),
    "memset": ("start", WRITE),
    "strlen": ("start", READ),
    "strcpy": ("start", WRITE),
    "write(2)": ("start", READ + ", in write"),
    "read(2)": ("start", WRITE + ", in read"),
    "overread": ("behind", "overflow: read at {there} a {block}"),
    "underread": ("before", "underflow: read at {there} a {block}"),
}
SEEN_WITHOUT = {
    "overflow": ("behind", OVERFLOW.format("{by}")),
    "overflow resized": ("behind", OVERFLOW.format("realloc")),
    "overflow kept": ("behind", OVERFLOW.format("exit")),
    "overrun": ("end", OVERFLOW.format("{by}")),
    "underflow": ("before", UNDERFLOW.format("{by}")),
    "underflow resized": ("before", UNDERFLOW.format("realloc")),
    "underflow kept": ("before", UNDERFLOW.format("exit")),
    "twice": ("start", DOUBLE.format("{by}")),
    "twice aged": ("start", DOUBLE.format("{by}")),
    "twice by two": ("start", DOUBLE.format("{by}")),
    "resized to nothing and freed": ("start", DOUBLE.format("free")),
    "resized to nothing twice": ("start", RESIZE),
    "resized stale": ("start", RESIZE),
    "resized freed": ("start", RESIZE),
    "resized inside": ("inside", INVALID.format("realloc")),
    "inside": ("inside", INVALID.format("{by}")),
    "inside freed": ("inside", INVALID.format("free").replace("a {block}", "a freed {block}")),
    "nowhere": ("nowhere", NOWHERE),
    "free": ("start", MISMATCH.format("free")),
    "delete": ("start", MISMATCH.format("operator delete")),
    "delete[]": ("start", MISMATCH.format("operator delete[]")),
    "delete aligned": ("start", MISMATCH.format("operator delete")),
    "resized": ("start", MISMATCH.format("realloc")),
    "delete of size": ("start", SIZE.format("operator delete")),
    "delete[] of size": ("start", SIZE.format("operator delete[]")),
    "delete of aligned size": ("start", SIZE.format("operator delete")),
}
AGED = {"read aged", "twice aged"}  # without guards nobody knows the block any more
ERRORS = {**FAULTS_ONLY, **SEEN_WITHOUT}
MAKERS = {  # maker -> the function that made the block, and the one that frees it; others as they are called, and free
    "grown": ("realloc", "free"),
    "shrunk": ("realloc", "free"),
    "new": ("operator new", "operator delete"),
    "new[]": ("operator new[]", "operator delete[]"),
    "nothrow": ("operator new", "operator delete"),
    "aligned": ("operator new", "operator delete"),
}

# Which of them, as products: error | offset | maker | size | place.
ANY = "malloc, calloc, realloc, grown, shrunk, reallocarray, memalign, aligned_alloc, posix_memalign, valloc"
ANY += ", new, new[], nothrow, aligned"
SOME = "malloc, realloc, memalign, new"
NEAR = "main, thread, child"
PLACES = f"{NEAR}, small thread, end of a thread, grandchild, exit, signal, all signals blocked"
OWN = "handlers of its own, stack of its own"
PLACES += f", {OWN}"
TABLE = f"""
read                        | 17       | {ANY}                          | 24               | main
read                        | 0        | {SOME}                         | 100              | {PLACES}
write                       | 23       | {SOME}                         | 24               | thread, child, exit
read                        | 0        | malloc, new[]                  | 1, 4096          | main
read                        | 11999    | {SOME}                         | 12000            | main, child
read, write                 | 3000000  | {SOME}                         | 3145728          | main, thread
read all                    | 0        | {SOME}                         | 24, 4096         | main, child
read aged                   | 20       | {SOME}                         | 24               | {NEAR}
read stale                  | 20       | malloc, grown                  | 24               | main, child
read behind freed           | 0, 3     | {SOME}                         | 24               | main
read before freed           | 1        | {SOME}                         | 24               | main
write                       | 0, 5     | {ANY}                          | 24               | main
write aged                  | 5        | malloc, new                    | 24               | main, thread
execute                     | 0        | malloc, new                    | 24               | main
memcpy, memset, strlen      | 0        | {SOME}                         | 24               | main
strcpy                      | 0        | {SOME}                         | 24               | main, signal
memcpy                      | 8000     | malloc                         | 12000            | thread
write(2), read(2)           | 0        | malloc, new                    | 24               | {NEAR}
overread                    | 4080     | {SOME}                         | 24               | {NEAR}
overread                    | 0        | {SOME}                         | 3145728          | main
underread                   | 4080     | {SOME}                         | 24               | {NEAR}
overflow                    | 0        | {ANY}                          | 24, 32           | main
overflow                    | 0        | {SOME}                         | 32               | {PLACES}
overflow                    | 4080     | {SOME}                         | 24               | main, child
overflow                    | 0        | {SOME}                         | 4096, 12000, 3145728 | main
overflow, overrun           | 9        | new[]                          | 1, 100           | main
overrun                     | 1, 2, 3, 7, 8, 13, 14, 15 | malloc, new   | 17               | main
overrun                     | 9, 15, 64 | malloc                        | 24               | main, thread
overflow resized            | 0        | malloc, shrunk                 | 24, 32           | main, thread
overflow kept               | 0        | malloc, new                    | 24, 32           | main, child
underflow                   | 1        | {ANY}                          | 24, 32           | main
underflow                   | 1        | {SOME}                         | 24               | {PLACES}
underflow                   | 1, 16, 4080 | malloc, new[]               | 24, 100          | main
underflow                   | 1        | {SOME}                         | 4096, 12000, 3145728 | main
underflow resized           | 1        | malloc, shrunk                 | 24               | main
underflow kept              | 1        | malloc, new                    | 24               | main, child
twice                       | 0        | {ANY}                          | 24               | main
twice                       | 0        | {SOME}                         | 100              | {PLACES}
twice                       | 0        | {SOME}                         | 1, 12000, 3145728 | main
twice aged                  | 0        | {SOME}                         | 24               | {NEAR}
twice by two                | 0        | {SOME}                         | 24               | main, child
resized to nothing and freed | 0       | malloc, grown                  | 24               | {NEAR}
resized to nothing twice    | 0        | malloc, grown                  | 24               | main
resized stale               | 0        | malloc, calloc                 | 24               | main, thread
resized freed               | 0        | malloc, calloc, grown, memalign | 24, 12000       | main
resized freed               | 0        | malloc                         | 24               | {PLACES}
resized inside              | 4, 16    | malloc, grown                  | 24               | main
inside                      | 4, 16    | {SOME}                         | 24               | {NEAR}
inside                      | 4096     | {SOME}                         | 12000            | main
inside freed                | 4        | malloc, calloc                 | 24               | main
nowhere                     | 0        | malloc                         | 24               | main, thread
free                        | 0        | new, new[], nothrow, aligned   | 24               | main
free                        | 0        | new                            | 24               | thread, child
delete                      | 0        | malloc, memalign, calloc, grown, new[] | 24       | main
delete[]                    | 0        | malloc, memalign, calloc, grown, new | 24         | main
delete, delete[]            | 0        | malloc                         | 24               | thread, child
resized                     | 0        | new, new[]                     | 24               | main
delete of size              | 16, 32   | new, nothrow                   | 24               | main
delete of size              | 32       | new                            | 24               | thread, child
delete[] of size            | 32       | new[]                          | 24               | main
delete of aligned size      | 32       | aligned                        | 24               | main
"""
TWINS = f"""
nothing                     | 0        | {ANY}                          | 1, 24, 100, 4096, 12000 | main
nothing                     | 0        | {SOME}                         | 24, 3145728      | {PLACES}
kept, ends, usable          | 0        | {ANY}                          | 1, 24, 3145728   | main
kept                        | 0        | {SOME}                         | 24               | {PLACES}
ends                        | 0        | {SOME}                         | 32               | thread, child, exit
free of nothing             | 0        | {ANY}                          | 24               | main
resized to nothing          | 0        | malloc, grown, memalign        | 24               | {NEAR}
resized and used            | 0        | malloc, calloc, shrunk, memalign | 24, 3145728    | {NEAR}
freed by another            | 0        | {ANY}                          | 24               | main, child
thousands                   | 0        | {SOME}                         | 24               | {NEAR}
all sizes                   | 0        | malloc                         | 24               | main
live write(2)               | 0        | {SOME}                         | 24, 4096         | main
free                        | 0        | malloc, calloc, memalign, valloc | 24             | main, child
delete                      | 0        | new, nothrow                   | 24               | thread, child
delete[]                    | 0        | new[]                          | 24               | thread, child
delete of size              | 24       | new, nothrow                   | 24               | {NEAR}
delete[] of size            | 24       | new[]                          | 24               | main
delete of aligned size      | 24       | aligned                        | 24               | main
resized                     | 0        | malloc, grown, memalign        | 24               | {NEAR}
null                        | 0, 16    | malloc                         | 24               | main, {OWN}
"""


def cases(table: str, right: bool = False) -> list[Case]:
    found = []
    for row in filter(None, table.splitlines()):
        cells = [[each.strip() for each in cell.split(",")] for cell in row.split("|")]
        for error, offset, maker, size, place in itertools.product(*cells):
            found.append(Case(error, int(offset), maker, int(size), place, right))
    return found


def written(template: str, case: Case, block: int, place: int, writes: int) -> str:
    """The line for an access at `place`, or for `writes` bytes that were changed from there on."""
    made_by, freed_by = MAKERS.get(case.maker, (case.maker, "free"))
    where = f"0x{place:x}, {position(place - block, case.size)}"
    return template.format(
        there=where,
        changed=f"{count(writes)} changed from {where}",
        address=f"0x{place:x}",
        block=f"{case.size}-byte block from {made_by}",
        by=freed_by,
        offset=case.offset,
    )


def first_lines(case: Case, block: int, guarded: bool) -> set[str]:
    """What the first line about it may be; "" for none. `block` is its address."""
    if case.right or (case.error in FAULTS_ONLY and not guarded):
        return {""}
    where, line = ERRORS[case.error]
    at = address(where, case, block)
    first_page, end = block - block % PAGE, block + case.size + -(block + case.size) % PAGE
    writes = case.offset if case.error == "overrun" else 1
    # A block that fits a page has one to itself; the homes of others may be larger than they need.
    in_its_pages, may_be_larger = at >= first_page and at + writes <= end, case.size > PAGE

    def write_out(template: str) -> str:
        return written(template, case, block, max(at, end) if template.startswith("overflow: write") else at, writes)

    fault, _, late = line.partition("|")
    if not late:
        return {write_out(fault)}
    if in_its_pages:
        return {write_out(late)}
    if not guarded:
        return {"", write_out(late)}
    return {write_out(fault), *([write_out(late)] if may_be_larger else [])}


REMAPPED = 64 << 10  # larger blocks have guarded homes
OUT_OF_REACH = {"underflow", "underflow resized", "underflow kept", "underread", "overread", "read before freed"}


def lines_where_all_is_protected(case: Case, block: int) -> set[str]:
    """The same where each block has a page of addresses to itself, in memory that it shares with others: a few bytes
    behind it are noise, what lies farther may be accessible."""
    if case.right or case.size > REMAPPED:
        return first_lines(case, block, True)
    where, line = ERRORS[case.error]
    fault, _, late = line.partition("|")
    if case.error in OUT_OF_REACH or (case.error == "overflow" and case.offset >= PAGE // 2):
        return {"", written(fault, case, block, address(where, case, block), 1)}
    at, writes = address(where, case, block), case.offset if case.error == "overrun" else 1
    if late:
        return {written(late, case, block, at, changed) for changed in range(1, writes + 1)}
    return {written(fault, case, block, at, writes)}


def address(where: str, case: Case, block: int) -> int:
    return {
        "start": block,
        "inside": block + case.offset,
        "behind": block + case.size + case.offset,
        "before": block - case.offset,
        "end": block + case.size,
        "nowhere": block ^ 1 << 20,
    }[where]


def position(offset: int, size: int) -> str:
    if offset < 0:
        return f"{count(-offset)} before"
    return f"{count(offset)} into" if offset < size else f"{count(offset - size)} after"


def count(number: int) -> str:
    return "1 byte" if number == 1 else f"{number} bytes"


def status(case: Case) -> int:
    own_handler = case.place in ("handlers of its own", "stack of its own")
    if case.error == "null":
        return CAUGHT_BY_ITSELF if own_handler else -SIGSEGV
    return -SIGSEGV if case.error == "execute" else 0  # also without us: heaps are not executable

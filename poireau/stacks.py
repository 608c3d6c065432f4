"""Stacks as sequences of places in the source, all of a trace's at once, as columns.

A place is a row of Names: a function, a file, a line. Inlined functions have places of their own. Names are searched
once each, and what was found goes over the stacks by array arithmetic.

Who asked for memory is seldom the innermost function: operator new, std::vector, g_malloc pass requests on. The
*site* of a stack is its innermost place outside of such wrappers, of the C and C++ libraries and of the loader; where
there is no other, its innermost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.tables import Names, Numbers, Tables

Flags = NDArray[np.bool_]
NOWHERE = -1  # the place of an empty stack

_RUNTIME = re.compile(
    r"(?:.*/)?(?:libc|libstdc\+\+|libc\+\+(?:abi)?|libgcc_s|libpthread|libdl|ld-linux[^/]*|libpoireau[^/]*)[.-][^/]*"
)
_WRAPPERS = re.compile(
    r"(?:std|__gnu_cxx|boost::container|boost::alloc\w*)::.*"  # containers, strings, allocators, smart pointers
    r"|alloc::(?:alloc|raw_vec|vec|string|boxed|collections|sync|rc|slice|str|fmt|borrow)::.*"  # Rust
    r"|__r(?:ust|g|dl)_\w+|hashbrown::.*"
    r"|operator (?:new|delete)(?:\[\])?"
    r"|(?:__libc_|__interceptor_)?(?:malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|posix_memalign|valloc)"
    r"|w?cs?n?dup|strn?dup|v?asprintf|get(?:line|delim)"
    r"|g_(?:try_)?(?:malloc|realloc)(?:0)?(?:_n)?|g_slice_\w+|g_(?:strn?dup|memdup2?)"  # GLib
    r"|x(?:malloc|calloc|realloc|zalloc|strn?dup|memdup|nmalloc|2nrealloc)\w*"  # GNU programs
    r"|z(?:try)?(?:malloc|calloc|realloc)\w*"  # redis
    r"|_?Py(?:Mem|Object)_(?:Raw)?(?:Malloc|Calloc|Realloc)\w*|_PyMem_\w+"  # Python
    r"|(?:CRYPTO|OPENSSL)_(?:zalloc|malloc|realloc|strn?dup)"
    r"|(?:sqlite3(?:Db)?(?:Malloc|Realloc)\w*|sqlite3MemMalloc)"
    r"|(?:.*(?:_|::))?(?:m|re|c)alloc(?:_?(?:or_die|zero|safe|checked|nofail|usable_size|array))?"  # of anybody
)
_OF_RUST = re.compile(
    r"<&?(?:mut )?(?:(?:std|alloc|hashbrown)::|[\w\[\]]+ as (?:std|core|alloc)::|.* as alloc::\w+::spec_)"
)
_DECORATED = re.compile(r"[<( ]")
_OPERATOR = re.compile(r"\(anonymous namespace\)|\boperator ?(?:\(\)|<=>|<<=?|>>=?|[<>]=?|->\*?|(?=\w))")
_INNERMOST = re.compile(r"<[^<>()]*>|\([^<>()]*\)")
_QUALIFIERS = re.compile(r"(?: (?:const|volatile|&&?|noexcept|\[clone [^]]*\])| +)*$")
_HIDDEN = str.maketrans("<>() ", "\1\2\3\4\5")
_LONGEST = 4096  # nesting takes the square of it
_SHOWN = str.maketrans("\1\2\3\4\5", "<>() ")


@dataclass(frozen=True)
class Stacks:
    """By number, as in `tables`: a stack none of whose frames has a name is empty."""

    tables: Tables
    names: Names
    ends: NDArray[np.int64]  # of stack s, in the columns that follow; it begins where the one before ends
    places: NDArray[np.int64]  # rows of `names`, innermost first
    frames: Numbers  # each place's

    @classmethod
    def of(cls, tables: Tables, names: Names) -> Stacks:
        begins = begins_of(names.ends)
        counts = np.asarray(names.ends, np.int64) - begins
        spread = counts[tables.stack_frames]
        ends = np.concatenate([[0], np.cumsum(spread)])[np.asarray(tables.stack_ends, np.int64)]
        places = runs(begins[tables.stack_frames], spread)
        return cls(tables, names, ends, places, np.repeat(np.asarray(tables.stack_frames), spread))

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def begins(self) -> NDArray[np.int64]:
        return begins_of(self.ends)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """The stack of each place."""
        return np.repeat(np.arange(len(self)), self.ends - self.begins)

    def places_of(self, stack: int) -> NDArray[np.int64]:
        return self.places[self.begins[stack] : self.ends[stack]]

    def found(self, pattern: re.Pattern[str]) -> Flags:
        """Of each place, whether its function, file or module has it."""
        functions, files = ask_each(self.names.functions, pattern.search), ask_each(self.names.files, pattern.search)
        modules = ask_each([module.path for module in self.tables.modules], pattern.search)
        rows = functions[self.names.function] | files[self.names.file]
        return rows[self.places] | modules[np.asarray(self.tables.frame_module)][self.frames]

    def having(self, places: Flags) -> Flags:
        """Of each stack, whether it has such a place."""
        before = np.concatenate([[0], np.cumsum(places)])
        return before[self.ends] > before[self.begins]

    def without(self, places: Flags) -> Stacks:
        kept = np.concatenate([[0], np.cumsum(~places)])
        return replace(self, ends=kept[self.ends], places=self.places[~places], frames=self.frames[~places])

    def chosen(self, focus: str = "", ignore: str = "") -> Flags:
        """Of each stack, whether a selection with these asks about it."""
        chosen = np.ones(len(self), bool)
        if focus:
            chosen &= self.having(self.found(re.compile(focus)))
        if ignore:
            chosen &= ~self.having(self.found(re.compile(ignore)))
        return chosen

    def wrappers(self, more: str = "") -> Flags:
        """Of each place, whether it only passes a request on."""
        if more not in self._wrappers:
            self._wrappers[more] = self._found_wrappers(more)
        return self._wrappers[more]

    @cached_property
    def _wrappers(self) -> dict[str, Flags]:
        return {}

    def _found_wrappers(self, more: str) -> Flags:
        own = re.compile(more) if more else None
        functions = ask_each(
            self.names.functions,
            lambda name: (
                _WRAPPERS.fullmatch(qualified(name)) or _OF_RUST.match(name) or (own is not None and own.search(name))
            ),
        )
        modules = ask_each([module.path for module in self.tables.modules], _RUNTIME.fullmatch)
        return functions[self.names.function][self.places] | modules[np.asarray(self.tables.frame_module)][self.frames]

    def sites(self, wrappers: Flags) -> NDArray[np.int64]:
        """Of each stack, where in `places` its site is; NOWHERE: it is empty."""
        others = np.append(np.flatnonzero(~wrappers), len(wrappers))
        first = others[np.searchsorted(others, self.begins)] if len(self) else others[:0]
        first = np.where(first < self.ends, first, self.begins)
        return np.where(self.ends > self.begins, first, NOWHERE)

    def from_sites(self, sites: NDArray[np.int64]) -> Stacks:
        """Without what is further in than their sites."""
        return self.without(np.arange(len(self.places)) < sites[self.owners])

    @cached_property
    def lines(self) -> NDArray[np.int64]:
        """Of each row of `names`, a number that rows of the same function, file and line share."""
        place = number_pairs(self.names.file, self.names.line)
        return number_pairs(self.names.function, place)

    def keys(self, of_rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Of each stack, what is the same for two (of any traces) if `of_rows` is, from place to place."""
        return _sums(_mixed(of_rows[self.places], self._depths), self.begins, self.ends)

    @cached_property
    def _depths(self) -> NDArray[np.int64]:
        return np.arange(len(self.places)) - np.repeat(self.begins, self.ends - self.begins)

    def same(self) -> NDArray[np.int64]:
        """Of each stack, the first one of the same places: addresses in one line are no difference to people."""
        keys = self.keys(self.lines.astype(np.uint64))
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return first[inverse]

    def portable(self) -> NDArray[np.uint64]:
        """Keys by the names of functions, which other runs, builds and hosts have as well."""
        return self.keys(hashes(self.names.functions)[self.names.function])

    def portable_addresses(self) -> NDArray[np.uint64]:
        """Keys by build id and address, for those who have the same files but no names."""
        tables = self.tables
        modules = hashes([module.build_id or module.path for module in tables.modules])
        frames = _mixed(modules[np.asarray(tables.frame_module)], np.asarray(tables.frame_address))
        whole = np.asarray(tables.stack_ends, np.int64)
        begins = begins_of(whole)
        depths = np.arange(len(tables.stack_frames)) - np.repeat(begins, whole - begins)
        return _sums(_mixed(frames[np.asarray(tables.stack_frames)], depths), begins, whole)


@dataclass(frozen=True)
class Tree:
    """Calls: who called whom. Node 0 is the root, and a node comes before those below it, which are side by side."""

    parent: NDArray[np.int64]  # the root's is itself
    place: NDArray[np.int64]  # one of its places; the root has NOWHERE
    ends: NDArray[np.int64]  # of the nodes of each depth
    node: NDArray[np.int64]  # of each stack, in which it ends

    def upwards(self, own: NDArray[Any], add: np.ufunc = np.add) -> NDArray[Any]:
        """Of each node, the sum of what it and all below it have of their own; several columns are rows of `own`."""
        total = own.copy()
        for begin, end in zip(self.ends[-2::-1], self.ends[:0:-1]):
            above = self.parent[begin:end]
            first = np.flatnonzero(np.diff(above, prepend=-1))
            to = above[first]
            total[..., to] = add(total[..., to], add.reduceat(total[..., begin:end], first, axis=-1))
        return total


def tree(stacks: Stacks, chosen: Flags, of_rows: NDArray[np.int64], inverted: bool = False) -> Tree:
    """Of the chosen stacks, from the outermost place inwards, or `inverted`. Places whose rows have one number in
    `of_rows`, and one parent, are one node. A stack that isn't chosen, or is empty, ends in the root."""
    node = np.zeros(len(stacks), np.int64)
    parents, places, ends = [np.zeros(1, np.int64)], [np.full(1, NOWHERE)], [1]
    left = np.flatnonzero(chosen & (stacks.ends > stacks.begins))
    depth = 0
    while len(left):
        at = stacks.begins[left] + depth if inverted else stacks.ends[left] - 1 - depth
        pairs = node[left] << 32 | of_rows[stacks.places[at]]
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        parents.append(node[left][first])
        places.append(at[first])
        node[left] = ends[-1] + inverse
        ends.append(ends[-1] + len(first))
        depth += 1
        left = left[stacks.ends[left] - stacks.begins[left] > depth]
    return Tree(np.concatenate(parents), np.concatenate(places), np.array(ends), node)


def qualified(function: str) -> str:
    """`ns::Class::function`: without the arguments, what templates were made of, and what it returns."""
    if not _DECORATED.search(function) or len(function) > _LONGEST:
        return function
    bare = _OPERATOR.sub(lambda match: match[0].translate(_HIDDEN), function)
    shorter = _INNERMOST.sub("", bare)
    while shorter != bare:
        bare, shorter = shorter, _INNERMOST.sub("", shorter)
    words = _QUALIFIERS.sub("", bare).rsplit(" ", 1)
    return words[-1].translate(_SHOWN) or function


def runs(begins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """begins[0], begins[0] + 1, ..., begins[1], ...: `counts` of each."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + counts, counts)


def begins_of(ends: Numbers) -> NDArray[np.int64]:
    return np.concatenate([[0], np.asarray(ends, np.int64)[:-1]]) if len(ends) else np.zeros(0, np.int64)


def ask_each(texts: Sequence[str], question: Callable[[str], object]) -> Flags:
    return np.fromiter((bool(question(text)) for text in texts), bool, len(texts))


def number_pairs(one: Numbers, other: Numbers) -> NDArray[np.int64]:
    """A number from 0 for each distinct pair. Both are below 2^32."""
    pairs = np.asarray(one, np.uint64) << np.uint64(32) | np.asarray(other, np.uint64)
    numbers: NDArray[np.int64] = np.unique(pairs, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """The same for the same text, wherever."""
    from hashlib import blake2b

    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def _mixed(values: NDArray[np.uint64], salts: Numbers) -> NDArray[np.uint64]:
    """Well spread (the finalizer of splitmix64)."""
    mixed = (np.asarray(values, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed += np.asarray(salts).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    return mixed ^ mixed >> np.uint64(31)


def _sums(values: NDArray[np.uint64], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    return np.asarray(before[ends] - before[begins], np.uint64)

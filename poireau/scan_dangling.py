"""Who points at freed blocks, in words, from what the process found when it last swept its memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poireau import scan_areas, scan_modules, scan_target
from poireau.processes import REGION
from poireau.scan_holders import Place
from poireau.scan_library import ranges
from poireau.scan_modules import Symbols
from poireau.text import as_size, plain

SCHEMA = "poireau.dangling"
SCHEMA_VERSION = 1
FRAMES = 4


@dataclass(frozen=True)
class Holder:
    at: int  # where the word lies
    offset: int  # into the block
    where: str


@dataclass(frozen=True)
class Dangling:
    """A freed block that something points at."""

    address: int
    size: int
    kind: str  # the function that it was asked of; "": not known
    freed: tuple[str, ...]  # functions, innermost first
    count: int  # of those that point at it
    holders: tuple[Holder, ...]  # some of them


def place(pid: int) -> Place:
    """Raises Failure, OSError or scan_library.Gone."""
    with scan_target.opened(pid) as reader:
        areas = scan_areas.of_process(pid)
        reader.begin(ranges([]))
        threads = reader.columns().threads
        modules = scan_modules.of(areas, reader.read)
    return Place(areas, modules, threads, scan_target.thread_names(pid), (), (pid,), pid)


def of(answer: Mapping[str, Any], where: Place) -> list[Dangling]:
    """`answer`: of the control socket, and nothing in it is trusted."""
    named: dict[int, str] = {}
    symbols = {module.begin: Symbols(module, where.processes) for module in where.modules}
    found = []
    for block in _list(answer, "blocks"):
        address, size = _number(block, "address"), _number(block, "size")
        holders = []
        for pair in _list(block, "holders"):
            if isinstance(pair, list) and len(pair) == 2 and all(type(each) is int for each in pair):
                holders.append(Holder(pair[0], pair[1] - address, _where(where, pair[0])))
        freed = tuple(_function(where, symbols, named, each) for each in _list(block, "freed") if type(each) is int)
        kind = block.get("kind")
        count = max(_number(block, "count"), len(holders))
        found.append(Dangling(address, size, kind if isinstance(kind, str) else "", freed, count, tuple(holders)))
    return found


def lines(found: Sequence[Dangling], more: int) -> Iterator[str]:
    for block in found:
        made = f" from {plain(block.kind)}" if block.kind else ""
        yield f"{block.address:#x}: a freed {block.size}-byte block{made}, {_several(block.count, 'pointer')} at it"
        for holder in block.holders:
            yield f"  {holder.at:#x}, {holder.where}: {_offset(holder.offset, block.size)}"
        if block.count > len(block.holders):
            yield f"  and {block.count - len(block.holders)} more"
        if block.freed:
            yield f"  freed by {', '.join(map(plain, block.freed[:FRAMES]))}"
    total = sum(block.size for block in found)
    yield f"{_several(len(found) + more, 'freed block')} that something points at" + (
        f", {as_size(total)} in the {len(found)} shown" if found else ""
    )


def as_json(pid: int, found: Sequence[Dangling], more: int, swept: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "pid": pid,
        "swept_bytes": swept,
        "blocks": [
            {
                "address": f"{block.address:#x}",
                "size": block.size,
                "made_by": block.kind,
                "freed": list(block.freed),
                "pointers": block.count,
                "holders": [
                    {"at": f"{each.at:#x}", "offset": each.offset, "where": each.where} for each in block.holders
                ],
            }
            for block in found
        ],
        "more": more,
    }


def _where(place: Place, at: int) -> str:
    return "in a block of ours" if at in REGION else place.described(at)[1] or "nowhere that is mapped now"


def _function(place: Place, symbols: Mapping[int, Symbols], named: dict[int, str], address: int) -> str:
    """Of a return address."""
    if address not in named:
        module = next((each for each in place.modules if each.begin <= address < each.end), None)
        name = "" if module is None else symbols[module.begin].functions.name(address - 1 - module.bias)
        named[address] = name or (f"{address:#x}" if module is None else f"{module.name}+{address - module.bias:#x}")
    return named[address]


def _list(of: Mapping[str, Any], name: str) -> list[Any]:
    value = of.get(name)
    return [each for each in value if name != "blocks" or isinstance(each, dict)] if isinstance(value, list) else []


def _number(of: Mapping[str, Any], name: str) -> int:
    value = of.get(name)
    return value if type(value) is int else 0


def _offset(offset: int, size: int) -> str:
    if offset < 0:
        return f"{_several(-offset, 'byte')} before it"
    return (
        f"{_several(offset - size, 'byte')} after it"
        if offset >= max(size, 1)
        else f"{_several(offset, 'byte')} into it"
    )


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"

"""`whatis`: what lies at an address."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from poireau import asking
from poireau.errors import USAGE, Failure

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.scan_whatis import Scene


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "whatis",
        help="what lies at an address of a process, or of its core",
        description="What lies at these addresses: how far into which object, who asked for it, whether it was freed "
        "and by whom, as far as it was sampled; otherwise the global variable, the stack or the mapping.",
        epilog="Example: poireau whatis 4711 0x2080001a1010. Exit status: 0, 1 if nothing is known of any.",
    )
    verb.add_argument("target", metavar="PID|CORE|TRACE", help="where: a process, a core, or a trace alone")
    verb.add_argument("addresses", metavar="ADDRESS", nargs="+", help="hexadecimal, with or without 0x")
    verb.add_argument("--trace", metavar="DIR", help="the trace of it, or the directory under which traces lie")
    verb.add_argument("--held", action="store_true", help="who points at it, too: all of its memory is read")
    verb.add_argument("--json", action="store_true", help="the same for a program to read")
    asking.add_symbols(verb)
    verb.set_defaults(act=act, reads_traces=True)


def act(parsed: argparse.Namespace) -> int:
    from poireau import scan_whatis

    addresses = [scan_whatis.parsed(text) for text in parsed.addresses]
    for text, address in zip(parsed.addresses, addresses):
        if address is None:
            raise Failure(f"{text} is no address: it should read 0x7f12345678", USAGE)
    answers = scan_whatis.answers(_scene(parsed), [each for each in addresses if each is not None], parsed.held)
    if parsed.json:
        rows = [dict(answer.facts) for answer in answers]
        asking.write_json({"schema": "poireau.whatis", "version": 1, "addresses": rows})
    else:
        asking.write_lines(
            line if number else f"{answer.address:#x}: {line}"
            for answer in answers
            for number, line in enumerate(answer.lines)
        )
    return 0 if any(answer.facts["kind"] not in ("unknown", "unmapped") for answer in answers) else 1


def _scene(parsed: argparse.Namespace) -> Scene:
    from poireau import core_file, resident, scan_whatis

    target = parsed.target
    if core_file.is_core(target):
        own = _heap_if_any(parsed, str(core_file.read(target).pid))
        return scan_whatis.of_core(own, target, own.end if own is not None else 0)
    if target.isascii() and target.isdecimal():
        pid = int(target)
        if not os.path.exists(f"/proc/{pid}"):
            return _ended(_heap(parsed, target))
        own = _heap_if_any(parsed, target)
        numbers = {} if own is None else {seen: number for number, seen in resident.pids(own.processes).items()}
        return scan_whatis.of_process(own, pid, numbers.get(pid), parsed.held, time.time_ns())
    if not os.path.isdir(target):
        core_file.read(target)  # says what is wrong with it
    heap = asking.opened(parsed, [target])
    running = resident.pids(heap.processes)
    if len(running) == 1:
        ((number, pid),) = running.items()
        return scan_whatis.of_process(heap, pid, number, parsed.held, time.time_ns())
    return _ended(heap)


def _ended(heap: Heap) -> Scene:
    from poireau.scan_whatis import Scene

    return Scene(heap, None, None, None, heap.end, False)


def _heap_if_any(parsed: argparse.Namespace, pid: str) -> Heap | None:
    """Of who left no trace, what is mapped can be told."""
    try:
        return _heap(parsed, pid)
    except Failure as failure:
        if parsed.trace:
            raise
        asking.complain(f"only mappings can be told: {failure}")
        return None


def _heap(parsed: argparse.Namespace, pid: str) -> Heap:
    """`--trace` may be the very one."""
    if parsed.trace and os.path.isfile(os.path.join(parsed.trace, "metadata")):
        return asking.opened(parsed, [parsed.trace])
    return asking.opened(parsed, [pid])

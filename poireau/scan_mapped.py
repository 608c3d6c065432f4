"""What is mapped at an address, where no sampled block is: code, a variable, a stack, the heap, a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from poireau import reached, scan_areas, scan_modules
from poireau.scan_areas import Area
from poireau.scan_holders import Place
from poireau.text import as_size, plain


def named(place: Place, area: Area, address: int) -> tuple[str, str]:
    """Its kind, and in words."""
    name = plain(scan_areas.shown(area.path))
    if any(module.is_ours and module.begin <= address < module.end for module in place.modules):
        return "ours", f"the library's own, in {name or 'libpoireau.so'}"
    if area.is_file and scan_areas.is_of_tracer(area.path):
        return "ours", f"a file of the trace, {name}"
    function = _function(place, address) if area.is_file else ""
    if function or "x" in area.permissions:  # which cores that gdb has written do not tell of files
        within = f"{function}, " if function else ""
        return "code", f"{within}code of {name}" if name else "code that was made while running"
    kind, what = place.described(address)
    if kind == reached.HEAP:
        return "heap", "in [heap], where blocks are that were not sampled"
    if kind == reached.STACK and area.path == "[stack]" and what.startswith("the "):
        return "stack", "below the first thread's stack: not in use"
    if kind == reached.STACK:
        return "stack", f"on the {what}" if not what.startswith("the ") else f"on {what}"
    if kind == reached.MAPPING and not area.path:
        near = [row for row in place.threads.tolist() if not row[-1] and area.begin <= row[0] < area.end]
        if near and address < min(row[0] for row in near):
            return "stack", "below a stack's pointer: not in use"
    return reached.KINDS[kind] if kind else "mapping", what or "a mapping"


def _function(place: Place, address: int) -> str:
    module = next((each for each in place.modules if each.begin <= address < each.end), None)
    if module is None:
        return ""
    return plain(scan_modules.Symbols(module, place.processes).functions.with_offset(address - module.bias))


def neighbours(areas: Sequence[Area], address: int) -> str:
    """Of what is not mapped."""
    before = max((area for area in areas if area.end <= address), key=lambda area: area.end, default=None)
    after = min((area for area in areas if area.begin > address), key=lambda area: area.begin, default=None)
    words = []
    if before is not None:
        words.append(f"{as_size(address - before.end)} behind {_called(before)}")
    if after is not None:
        words.append(f"{as_size(after.begin - address)} before {_called(after)}")
    return ": " + ", ".join(words) if words else ""


def _called(area: Area) -> str:
    return plain(os.path.basename(area.path)) or "anonymous memory"

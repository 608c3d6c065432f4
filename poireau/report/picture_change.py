"""What has changed between two moments of a heap, or two heaps, on one tree: of each node by how much, and whether that
is more than chance.

The estimates are those of diff.py: between two moments what is alive at both cancels; two heaps have one tree by the
names of functions, and what is shown beside it is of the second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import estimates, windows
from poireau.errors import USAGE, Failure
from poireau.estimates import Estimates, nothing
from poireau.grouping import Codes, gather
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import picture_data, picture_sums, picture_tree
from poireau.report.picture_data import MOST, Document, Drawn
from poireau.report.picture_text import figures, rounded
from poireau.selection import Selection, clock
from poireau.stacks import Stacks

_COMMON, _BEFORE, _AFTER = 0, 1, 2  # sides of windows.compared
VIEW = "change"


@dataclass(frozen=True)
class Sides:
    """Of each node, what is at both, only before, only after: bytes and blocks."""

    bytes: Sequence[Estimates]
    count: Sequence[Estimates]
    names: tuple[str, str]
    units: tuple[float, float]  # what one sample may stand for where there is none, of before and after


def of_moments(heap: Heap, before: int, selection: Selection | None = None, limit: int = MOST) -> Document:
    """What is in use at the end of the window, and was at that time."""
    selection = selection or Selection()
    gathered = picture_sums.gather(heap, selection)
    after = heap.end if selection.until is None else selection.until
    if before >= after:
        raise Failure("the second moment is not after the first", USAGE)
    drawn = picture_data.drawn(gathered, limit)
    groups = gather(windows.compared(heap, selection, before, after), ("stack", "side"))
    known = np.isin(groups.keys["stack"], gathered.numbers)
    groups = groups.take(known)
    ends = drawn.tree.nodes.node[groups.keys["stack"]]

    def sides(sums: Estimates) -> list[Estimates]:
        found = []
        for side in (_COMMON, _BEFORE, _AFTER):
            its = np.flatnonzero(groups.keys["side"] == side)
            found.append(sums.take(its).grouped(ends[its], len(drawn.tree)))
        return drawn.tree.upwards(found)

    unit = float(groups.bytes.unit.max(initial=0.0))
    compared = Sides(sides(groups.bytes), sides(groups.count), (clock(before), clock(after)), (unit, unit))
    return _with(picture_data.picture(heap, drawn, VIEW), compared, "in use")


def of_heaps(
    before: Heap,
    after: Heap,
    selections: tuple[Selection, Selection] = (Selection(), Selection()),
    what: str = "in-use",
    limit: int = MOST,
    names: tuple[str, str] | None = None,
) -> Document:
    """`names`: of the two; whose they are, unless it is told."""
    old = picture_sums.gather(before, selections[0], what, ())
    new = picture_sums.gather(after, selections[1], what)
    stacks = _joined(picture_data.from_sites(new), picture_data.from_sites(old))
    others = old.numbers + len(new.stacks)
    numbers = np.concatenate([new.numbers, others])
    function = pd.factorize(np.array(stacks.names.functions, object))[0][stacks.names.function]
    values = [np.append(told.bytes.value, np.zeros(len(others))) for told in new.views.values()]
    values.append(np.append(np.zeros(len(new.numbers)), old.views[what].bytes.value))
    tree = picture_tree.pruned(stacks, numbers, function, values, limit)
    drawn = Drawn(new, stacks, tree, tree.nodes.node[new.numbers])
    ends = tree.nodes.node[others]

    def sides(one: Estimates, other: Estimates) -> list[Estimates]:
        parts = (nothing(len(tree)), one.grouped(ends, len(tree)), other.grouped(drawn.ends, len(tree)))
        return tree.upwards(parts)

    one, other = old.views[what], new.views[what]
    units = (float(one.bytes.unit.max(initial=0.0)), float(other.bytes.unit.max(initial=0.0)))
    document = picture_data.picture(after, drawn, VIEW)
    names = names or (picture_data.title(Preamble.of(before, selections[0]), old), document["title"])
    compared = Sides(sides(one.bytes, other.bytes), sides(one.count, other.count), names, units)
    return {**_with(document, compared, picture_data.name_of(new, what)), "title": " → ".join(names)}


def _with(document: Document, sides: Sides, what: str) -> Document:
    common, before, after = sides.bytes
    row = np.flatnonzero(common.samples + before.samples + after.samples > 0)
    common, before, after = (each.take(row) for each in sides.bytes)
    change = estimates.difference(*(_unseen(*each) for each in zip((before, after), sides.units)))
    both = [common + common + before + after, _sum(sides.count, row)]
    view = {
        "key": VIEW,
        "name": f"change: {what}",
        "unit": "bytes",
        "note": "as wide as what there was before and after together",
        "row": row.tolist(),
        "bytes": {**figures(_exact(both[0])), "samples": both[0].samples.tolist()},
        "count": {**figures(_exact(both[1])), "samples": both[1].samples.tolist()},
    }
    return {
        **document,
        "title": f"{document['title']}: {' → '.join(sides.names)}",
        "views": [view, *document["views"]],
        "change": {
            "names": list(sides.names),
            "row": row.tolist(),
            "before": rounded((common + before).value),
            "after": rounded((common + after).value),
            "value": rounded(change.value),
            "low": rounded(np.minimum(change.low, change.value)),
            "high": rounded(np.maximum(change.high, change.value)),
            "significant": change.significant().tolist(),
        },
    }


def _sum(count: Sequence[Estimates], row: Codes) -> Estimates:
    common, before, after = (each.take(row) for each in count)
    return common + common + before + after


def _exact(of: Estimates) -> Estimates:
    zero = np.zeros(len(of))
    return Estimates(of.value, zero, zero, of.value, of.samples, zero)


def _unseen(side: Estimates, unit: float) -> Estimates:
    return replace(side, unit=np.where(side.samples > 0, side.unit, unit))


def _joined(one: Stacks, other: Stacks) -> Stacks:
    """The stacks of both; the numbers of the second follow those of the first."""

    def both(first: NDArray[np.integer], second: NDArray[np.integer], more: int = 0) -> NDArray[np.int64]:
        return np.concatenate([np.asarray(first, np.int64), np.asarray(second, np.int64) + more])

    a, b = one.names, other.names
    names = replace(
        a,
        function=both(a.function, b.function, len(a.functions)),
        file=both(a.file, b.file, len(a.files)),
        line=both(a.line, b.line),
        inlined=np.concatenate([a.inlined, b.inlined]),
        functions=[*a.functions, *b.functions],
        files=[*a.files, *b.files],
    )
    s, t = one.tables, other.tables
    tables = replace(
        s,
        modules=[*s.modules, *t.modules],
        frame_module=both(s.frame_module, t.frame_module, len(s.modules)),
    )
    return Stacks(
        tables,
        names,
        both(one.ends, other.ends, len(one.places)),
        both(one.places, other.places, len(a.function)),
        both(one.frames, other.frames, len(s.frame_module)),
    )

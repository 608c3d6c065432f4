"""A flamegraph: each box is a function, as wide as what was asked for in it and below it; what it calls hangs from it.

The largest boxes are drawn. What is smaller is one box in its parent that says how many it stands for, so that widths
still add up: nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poireau.estimate import Estimate
from poireau.estimates import Estimates, joined
from poireau.naming import NO_STACK
from poireau.preamble import Preamble
from poireau.report import colours, words
from poireau.report.picture_text import doubtful
from poireau.report.pictures import (
    CELL,
    EDGE,
    ROW,
    SIZE,
    SMALL,
    WIDTH,
    Box,
    Drawing,
    Shape,
    Words,
    doubt,
    doubts,
    fitted,
    head,
    shortened,
    wrapped,
)
from poireau.report.text import Form, chosen, form_of, told
from poireau.report.tree import Calls

MOST = 6000  # boxes, besides those of what is smaller
_FINEST = 0.3  # pixels of the narrowest box


@dataclass(frozen=True)
class Flame:
    """A row a box, the first one is all; a box comes before those in it."""

    title: str
    lines: Sequence[str]  # what else is said at the top
    form: Form
    parent: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    names: Sequence[str]
    code: Sequence[bool]  # what isn't a function has no colour of its own
    below: Sequence[str] = field(repr=False)  # what else a tooltip says
    inverted: bool = False

    def __len__(self) -> int:
        return len(self.parent)


def of_calls(calls: Calls, preamble: Preamble, limit: int = MOST, inverted: bool = False) -> Flame:
    """What would be narrower than can be seen is drawn together."""
    kept = calls.largest(limit)
    kept = kept[calls.bytes.value[kept] >= least() * calls.bytes.value[0]]
    table = calls.table(kept)
    more = [_smaller(calls, kept), _without_stack(calls)]
    of_bytes = joined([calls.bytes.take(kept), *(each.bytes for each in more)])
    of_count = joined([calls.count.take(kept), *(each.count for each in more)])
    names = ["all", *table["function"].tolist()[1:], *(name for each in more for name in each.names)]
    nothing = [""] * (len(names) - len(kept))
    modules = ["", *table["module"].tolist()[1:], *nothing]
    places = ["", *map(words.place, table["file"].tolist()[1:], table["line"].tolist()[1:]), *nothing]
    blocks = (of_count[number] for number in range(len(names)))
    view = calls.view
    return Flame(
        f"{told(view)}{chosen(view.selection)}: {words.whole(view.total_bytes, form_of(view))} in "
        f"{words.blocks(view.total_count)}",
        [*preamble.lines(), *doubtful(view.samples)],
        form_of(view),
        np.concatenate([table["parent"].to_numpy(np.int64), *(each.parent for each in more)]),
        of_bytes.value,
        of_bytes.low,
        of_bytes.high,
        names,
        [False, *[True] * (len(kept) - 1), *[False] * len(nothing)],
        [_below(*each) for each in zip(modules, places, blocks, of_bytes.samples.tolist())],
        inverted,
    )


def least() -> float:
    """What a box of its own has, of all."""
    return _FINEST / WIDTH


def draw(flame: Flame, width: float = WIDTH) -> Drawing:
    shapes, top = head(flame.title, flame.lines, width)
    left, depth = _layout(flame)
    total = float(flame.value[0]) if len(flame) else 0.0
    if total <= 0:
        return _nothing(flame, shapes, top, width)
    scale = (width - 2 * EDGE) / total
    wide = flame.value * scale
    columns = [each.tolist() for each in (left * scale, wide, depth, flame.parent)]
    for at, (x, w, d, parent) in enumerate(zip(*columns)):
        shapes.append(_box(flame, at, EDGE + x, top + d * ROW, w, parent, total))
    low = top + (int(depth.max()) + 1) * ROW + 10
    shapes += doubts(EDGE, low)
    way = "who asked for memory is on top, its callers below" if flame.inverted else "callers are on top"
    shapes.append(Words(EDGE + 290, low + 10, f"as wide as it is large; {way}", SMALL, "faint"))
    return Drawing(flame.title, width, low + 12 + EDGE, shapes)


def _box(flame: Flame, at: int, x: float, y: float, wide: float, parent: int, total: float) -> Box:
    value, low, high = float(flame.value[at]), float(flame.low[at]), float(flame.high[at])
    name = flame.names[at]
    figure = words.whole(Estimate(value, low, high, 0, 0.0), flame.form)
    title = f"{shortened(name)}\n{figure}, {words.share(value, total)}"
    fill = colours.of_name(name) if flame.code[at] else "rest"
    gap = 1.0 if wide > 3 else 0.0
    room = wide - gap - 6
    label = fitted(words.function(name, max(int(room / (SIZE * CELL)), 1)), room) if wide > 20 else ""
    return Box(x, y, wide - gap, ROW - 1, fill, label, f"{title}{flame.below[at]}", doubt(value, low, high), parent)


def _layout(flame: Flame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where each box begins, and how deep it is: the largest of a parent comes first, what is smaller last."""
    count = len(flame)
    left, depth = np.zeros(count), np.zeros(count, np.int64)
    if count < 2:
        return left, depth
    rest = ~np.array(flame.code, np.bool_)
    order = np.lexsort((-flame.value, rest, flame.parent))
    order = order[order != 0]
    before = np.cumsum(flame.value[order]) - flame.value[order]
    first = np.flatnonzero(np.diff(flame.parent[order], prepend=-1))
    sizes = np.diff(first, append=len(order))
    offset = np.zeros(count)
    offset[order] = before - np.repeat(before[first], sizes)
    now = np.zeros(1, np.int64)
    children = np.argsort(flame.parent, kind="stable")
    children = children[children != 0]
    ends = np.searchsorted(flame.parent[children], np.arange(count + 1))
    while True:
        counts = ends[now + 1] - ends[now]
        if not counts.sum():
            return left, depth
        parents = np.repeat(now, counts)
        starts = np.cumsum(counts) - counts
        now = children[np.repeat(ends[now] - starts, counts) + np.arange(counts.sum())]
        left[now] = left[parents] + offset[now]
        depth[now] = depth[parents] + 1


@dataclass(frozen=True)
class _More:
    """Boxes that are no function."""

    parent: NDArray[np.int64]
    bytes: Estimates
    count: Estimates
    names: list[str]


def _smaller(calls: Calls, kept: NDArray[np.int64]) -> _More:
    """What is too small for a box of its own, of each parent."""
    nodes = calls.nodes
    is_kept = np.zeros(len(nodes.parent), np.bool_)
    is_kept[kept] = True
    dropped = np.flatnonzero(~is_kept & is_kept[nodes.parent])
    parent, rows, count = np.unique(
        np.searchsorted(kept, nodes.parent[dropped]), return_inverse=True, return_counts=True
    )
    of_bytes, of_count = (each.take(dropped).grouped(rows, len(parent)) for each in (calls.bytes, calls.count))
    return _More(parent, of_bytes, of_count, [f"{number:,} smaller" for number in count.tolist()])


def _without_stack(calls: Calls) -> _More:
    groups = calls.view.groups
    assert groups is not None
    alone = calls.nodes.node[groups.keys["stack"]] == 0
    there = int(alone.any())
    rows = np.zeros(int(alone.sum()), np.intp)
    of_bytes, of_count = (each.take(alone).grouped(rows, there) for each in (groups.bytes, groups.count))
    return _More(np.zeros(there, np.int64), of_bytes, of_count, [NO_STACK] * there)


def _below(module: str, place: str, blocks: Estimate, samples: int) -> str:
    where = ", ".join(filter(None, (place, shortened(module))))
    said = f"\n{words.blocks(blocks)}, {samples:,} sample{'s' * (samples != 1)}"
    return said + (f"\n{where}" if where else "")


def _nothing(flame: Flame, shapes: list[Shape], top: float, width: float) -> Drawing:
    shapes.append(Box(EDGE, top + 6, width - 2 * EDGE, 5 * ROW, "rule"))
    said = wrapped("Nothing to draw: no sample is in this view.", width, 15)
    shapes += [Words(width / 2, top + 6 + 2.8 * ROW, said[0], 15, "faint", "middle")]
    return Drawing(flame.title, width, top + 6 * ROW + EDGE, shapes)

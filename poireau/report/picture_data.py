"""A heap as the pages get it: the tree of who asked for memory, what there is of each node in every view, and when it
was allocated and freed. flamegraph/src/picture.ts says what all of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from poireau import naming, requested
from poireau.estimate import Estimate
from poireau.estimates import Estimates
from poireau.grouping import Codes
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import colours, picture_tree
from poireau.report.picture_cells import Cells
from poireau.report.picture_sums import Gathered, Told, gather
from poireau.report.picture_text import Texts, figures, milliseconds, rounded, sums
from poireau.report.picture_tree import UNKNOWN, Pruned
from poireau.report.text import chosen
from poireau.selection import Selection, clock
from poireau.stacks import NOWHERE, Stacks, number_pairs
from poireau.text import plain
from poireau.views import UNITS, WHATS

MOST = 20_000  # nodes
MOST_CELLS = 120_000
_FEWEST_BINS = 60
Document = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What has been gathered, on the tree that is drawn."""

    gathered: Gathered
    stacks: Stacks  # each ends in its site
    tree: Pruned
    ends: Codes  # of each of `numbers`, the node in which it ends


def of(
    heap: Heap, selection: Selection | None = None, shown: str = "in-use", limit: int = MOST, inverted: bool = False
) -> Document:
    """`shown`: the view to begin with, of views.WHATS, and leaked. `limit`: nodes; 0: all."""
    return picture(heap, drawn(gather(heap, selection or Selection(), shown), limit), shown, inverted)


def drawn(gathered: Gathered, limit: int = MOST) -> Drawn:
    stacks, shorter = gathered.stacks, from_sites(gathered)
    keys = number_pairs(stacks.lines, stacks.names.inlined.astype(np.int64))
    values = [each.bytes.value for each in gathered.views.values()]
    tree = picture_tree.pruned(shorter, gathered.numbers, keys, values, limit)
    return Drawn(gathered, shorter, tree, tree.nodes.node[gathered.numbers])


def from_sites(gathered: Gathered) -> Stacks:
    stacks = gathered.stacks
    return stacks.from_sites(stacks.sites(stacks.wrappers(gathered.selection.wrappers)))


def picture(heap: Heap, drawn: Drawn, shown: str = "in-use", inverted: bool = False) -> Document:
    gathered = drawn.gathered
    preamble = Preamble.of(heap, gathered.selection, gathered.periods, gathered.stacks)
    times, cells, tree = _over_time(drawn)
    texts = Texts()
    return {
        "schema": "poireau.picture",
        "version": 1,
        "title": title(preamble, gathered),
        "lines": [*preamble.lines(), *map(plain, gathered.complaints)],
        "nodes": nodes(tree, drawn.stacks, texts),
        "names": texts.texts,
        "views": _views(drawn),
        "shown": shown,
        "inverted": inverted,
        "times": times,
        "cells": cells,
        "change": None,
        "period": max((period for period, _ in gathered.periods), default=1),
    }


def title(preamble: Preamble, gathered: Gathered) -> str:
    whose = list(dict.fromkeys(map(plain, preamble.programs)))  # by exec, one process is several
    more = f" and {len(whose) - 2:,} more" if len(whose) > 2 else ""
    return f"{', '.join(whose[:2]) or 'no process'}{more}{chosen(gathered.selection)}"


def nodes(tree: Pruned, stacks: Stacks, texts: Texts) -> Document:
    places = naming.places(stacks, tree.nodes.place)
    code = tree.nodes.place != NOWHERE
    names = np.where(code, places["function"], "")
    names[tree.kind == UNKNOWN] = naming.NO_STACK
    functions = names.tolist()
    of_function = {name: colours.index(name) for name in set(functions)}
    return {
        "parent": tree.nodes.parent.tolist(),
        "name": texts.numbers(functions),
        "file": texts.numbers(places["file"] if len(stacks.places) else [""] * len(tree)),
        "line": np.where(code, places["line"], 0).tolist(),
        "module": texts.numbers(places["module"] if len(stacks.places) else [""] * len(tree)),
        "kind": tree.kind.tolist(),
        "others": tree.others.tolist(),
        "colour": [of_function[name] if is_code else -1 for name, is_code in zip(functions, code.tolist())],
    }


def _views(drawn: Drawn) -> list[Document]:
    views = drawn.gathered.views
    own = [sums.grouped(drawn.ends, len(drawn.tree)) for told in views.values() for sums in (told.bytes, told.count)]
    totals = drawn.tree.upwards(own)
    both = zip(totals[::2], totals[1::2])
    return [_view(drawn.gathered, key, told, *of) for (key, told), of in zip(views.items(), both)]


def _view(gathered: Gathered, key: str, told: Told, of_bytes: Estimates, of_count: Estimates) -> Document:
    row = np.flatnonzero(of_bytes.samples > 0)
    if told.counted is not None:
        of_bytes = requested.shared_out(of_bytes, told.counted, told.bytes)
    found = {name: figures(each.take(row)) for name, each in (("bytes", of_bytes), ("count", of_count))}
    if told.counted is not None and len(row):
        _put(found["bytes"], told.counted)
    return {
        "key": key,
        "name": name_of(gathered, key),
        "unit": UNITS.get(key, "bytes"),
        "note": told.note,
        "row": row.tolist(),
        **found,
    }


def _put(written: Document, estimate: Estimate) -> None:
    """In the first row, which is all."""
    for name, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high)):
        written[name][0] = rounded(np.array([value]))[0]


def name_of(gathered: Gathered, key: str) -> str:
    selection = gathered.selection
    if key == "in-use":
        return "in use at the end" if selection.until is None else f"in use at {clock(selection.until)}"
    if key == "leaked":
        return "in use of what leaks"
    said = WHATS[key]
    if (selection.since is None and selection.until is None) or key in ("resident", "peak"):
        return said
    return f"{said}, from {clock(gathered.since)} to {clock(gathered.until)}"


def _over_time(drawn: Drawn) -> tuple[Document, Document, Pruned]:
    """The total over time, cells, and the tree with nodes that only these have."""
    _, of_stacks = drawn.gathered.cells[("stack",)]
    keys = drawn.gathered.cells[("stack",)][0]["stack"]
    of_numbers = np.searchsorted(drawn.gathered.numbers, keys)
    cells, tree = bounded(of_stacks.of(drawn.ends[of_numbers]).summed(), drawn.tree)
    total = cells.of(np.zeros(len(tree), np.int64)).series(1)
    times = {"edges": milliseconds(cells.edges), "total": figures(total)}
    columns = {"node": cells.row, "born": cells.born, "gone": cells.gone}
    return times, {**{name: column.tolist() for name, column in columns.items()}, **sums(cells.sums)}, tree


def bounded(cells: Cells, tree: Pruned, most: int = MOST_CELLS) -> tuple[Cells, Pruned]:
    """Not so many: of longer bins, and of fewer nodes, in turn."""
    whole, of_nodes, limit = tree, cells, int((tree.rank >= 0).sum())
    while len(cells) > most and limit > 1:
        bins = len(of_nodes.edges) - 1
        if bins > _FEWEST_BINS and bins % 2 == 0:
            of_nodes = of_nodes.at(np.arange(0, bins + 1, 2)).summed()
        cells, tree = of_nodes, whole
        if len(cells) > most:
            limit //= 2
            tree, into = picture_tree.coarser(whole, limit)
            cells = of_nodes.of(into).summed()
    return cells.ordered(), tree

"""Who called whom, as a tree: from main inwards, or from who asked for memory outwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.estimates import Estimates
from poireau.naming import NO_STACK, places
from poireau.preamble import Preamble
from poireau.report import words
from poireau.report.text import BOLD, GREY, Style, form_of, opening
from poireau.stacks import Stacks, Tree, tree
from poireau.views import View, figures

LIMIT = 50


@dataclass(frozen=True)
class Calls:
    """Nodes: the bytes and blocks of all stacks that go through each, and the bytes of those that end in it."""

    view: View
    stacks: Stacks
    nodes: Tree
    bytes: Estimates
    count: Estimates
    own: NDArray[np.float64]

    def largest(self, limit: int) -> NDArray[np.int64]:
        """The root and so many nodes; 0: all. A node is never larger than its parent, so that they are a tree as well,
        and here, too, a node comes before those below it."""
        count = len(self.own) if limit == 0 else min(limit + 1, len(self.own))
        return np.sort(np.argsort(-self.bytes.value, kind="stable")[:count])

    def table(self, nodes: NDArray[np.int64]) -> pd.DataFrame:
        """A row each: `parent`, its row; `function`, `file`, `line`, `module`; `bytes` and `count` with their bounds,
        `samples` and `own`."""
        of_bytes, of_count = self.bytes.take(nodes), self.count.take(nodes)
        columns: dict[str, Any] = {"parent": np.searchsorted(nodes, self.nodes.parent[nodes])}
        columns |= places(self.stacks, self.nodes.place[nodes])
        columns |= {**figures("bytes", of_bytes), **figures("count", of_count), "samples": of_bytes.samples}
        return pd.DataFrame({**columns, "own": self.own[nodes]})


def calls(view: View, inverted: bool = False) -> Calls:
    """Of a view by stack or function. Each stack ends in its site."""
    stacks, groups = view.stacks, view.groups
    assert stacks is not None and groups is not None
    shorter = stacks.from_sites(stacks.sites(stacks.wrappers(view.selection.wrappers)))
    number = groups.keys["stack"]
    chosen = np.zeros(len(stacks), bool)
    chosen[number] = True
    nodes = tree(shorter, chosen, np.asarray(stacks.names.function, np.int64), inverted)
    own = groups.bytes.grouped(nodes.node[number], len(nodes.parent))
    return Calls(
        view,
        shorter,
        nodes,
        _upwards(nodes, own),
        _upwards(nodes, groups.count.grouped(nodes.node[number], len(nodes.parent))),
        own.value,
    )


def _upwards(nodes: Tree, own: Estimates) -> Estimates:
    parts = vars(own).items()
    return Estimates(**{name: nodes.upwards(sums, np.maximum if name == "unit" else np.add) for name, sums in parts})


def lines(calls: Calls, preamble: Preamble, style: Style, limit: int = LIMIT) -> Iterator[str]:
    """The `limit` largest nodes; 0: all. Where there is only one way on, the way goes straight down."""
    view = calls.view
    yield from opening(view, preamble, style)
    table = calls.table(calls.largest(limit))
    total = view.total_bytes.value
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(table["parent"].tolist()):
        if node:
            below.setdefault(parent, []).append(node)
    size = form_of(view)
    columns = [table[name].tolist() for name in ("bytes", "bytes_low", "bytes_high", "function", "file", "line")]

    def described(node: int, prefix: str) -> str:
        value, low, high, function, file, line = (column[node] for column in columns)
        text = f"{words.share(value, total):>7}  {size(value)} {words.between(value, low, high, size)}".rstrip()
        lead = f"{text:<34}  {prefix}"
        room = None if style.width is None else max(style.width - len(lead), 12)
        return lead + words.key({"function": function, "file": file, "line": line}, "function", False, room)

    yield style.paint(f"{'SHARE':>7}  {'BYTES':<25}  FUNCTION", BOLD)
    # Each waits with the prefix of its own line, and that of the lines below it.
    waiting = _branches(below, columns[0], 0, "")
    while waiting:
        node, prefix, under = waiting.pop()
        yield described(node, prefix)
        waiting += _branches(below, columns[0], node, under)
    own = float(calls.own[0])
    if own > 0:
        yield f"{words.share(own, total):>7}  {size(own):<25}  {NO_STACK}"
    if len(table) < len(calls.own):
        yield style.paint(f"and {len(calls.own) - len(table):,} smaller ones within these (--limit 0 shows all)", GREY)


def _branches(below: dict[int, list[int]], size: list[float], node: int, under: str) -> list[tuple[int, str, str]]:
    """The last one first."""
    nodes = sorted(below.get(node, ()), key=lambda each: size[each])
    if len(nodes) == 1 and node:
        return [(nodes[0], under, under)]
    return [
        (each, f"{under}{'└' if at == 0 else '├'} ", f"{under}{' ' if at == 0 else '│'} ")
        for at, each in enumerate(nodes)
    ]

"""The tree of a picture: the largest nodes of all its views. What is smaller is one node of its parent that says how
many it stands for, so that widths add up in every view: nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from poireau.estimates import Estimates
from poireau.grouping import Codes
from poireau.stacks import NOWHERE, Stacks, Tree

CODE, INLINED, SMALLER, UNKNOWN = range(4)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pruned:
    """A row a node; 0 is all."""

    nodes: Tree  # `node`: of each stack of Stacks
    kind: Codes
    others: Codes  # of kind SMALLER: how many it stands for
    rank: Codes  # of the nodes of the stacks, the first is the largest; the others have none: -1

    def __len__(self) -> int:
        return len(self.kind)

    def upwards(self, own: Sequence[Estimates]) -> list[Estimates]:
        """Of columns of what ends in each node, those of all that goes through it."""
        names = [each.name for each in fields(Estimates) if each.name != "unit"]
        stacked = np.array([getattr(each, name) for each in own for name in names], np.float64).reshape(-1, len(self))
        totals = self.nodes.upwards(stacked)
        units = self.nodes.upwards(np.array([each.unit for each in own]).reshape(-1, len(self)), np.maximum)
        found = []
        for number, unit in enumerate(units):
            value, variance, third, seen, samples = totals[number * len(names) : (number + 1) * len(names)]
            found.append(Estimates(value, variance, third, seen, np.rint(samples).astype(np.int64), unit))
        return found


def pruned(stacks: Stacks, numbers: Codes, keys: Codes, values: Sequence[Floats], limit: int) -> Pruned:
    """`keys`: of each row of Names, what nodes are told apart by. `values`: of these stacks, in each view. `limit`:
    nodes, besides those of what is smaller; 0: all."""
    chosen = np.zeros(len(stacks), np.bool_)
    chosen[numbers] = True
    whole, shares = _grown(stacks, numbers, keys, values, limit)
    order = np.argsort(-shares, kind="stable")
    count = len(order) if limit == 0 else min(limit + 1, len(order))
    kept = np.zeros(len(order), np.bool_)
    kept[order[:count]] = True
    depth = np.repeat(np.arange(len(whole.ends)), np.diff(whole.ends, prepend=0))
    dropped = ~kept & kept[whole.parent]
    above, others = np.unique(whole.parent[dropped], return_counts=True)
    alone = chosen & (whole.node == 0)  # no stack was found, or all of it is hidden
    old = np.flatnonzero(kept)
    # In the order that a tree has: by depth, and by parent.
    parent = np.concatenate([whole.parent[old], above, np.zeros(int(alone.any()), np.int64)])
    depths = np.concatenate([depth[old], depth[above] + 1, np.ones(int(alone.any()), np.int64)])
    names = np.concatenate([old, np.full(len(parent) - len(old), NOWHERE)])
    order_of = np.lexsort((names == NOWHERE, parent, depths))
    at = np.empty(len(order_of), np.int64)
    at[order_of] = np.arange(len(order_of))
    of_old = np.full(len(kept), NOWHERE)
    of_old[old] = at[: len(old)]
    of_smaller = np.full(len(kept), NOWHERE)
    of_smaller[above] = at[len(old) : len(old) + len(above)]
    node = _into(whole, of_old, of_smaller)[whole.node]
    if alone.any():
        node[alone] = at[-1]
    place = np.where(names == NOWHERE, NOWHERE, whole.place[np.maximum(names, 0)])[order_of]
    kind = np.full(len(order_of), SMALLER)
    kind[of_old[old]] = CODE
    kind[np.flatnonzero(place != NOWHERE)] = np.where(
        stacks.names.inlined[stacks.places[place[place != NOWHERE]]], INLINED, CODE
    )
    stands = np.zeros(len(order_of), np.int64)
    stands[of_smaller[above]] = others
    if alone.any():
        kind[at[-1]] = UNKNOWN
    rank = np.full(len(order_of), NOWHERE)
    rank[of_old[order[:count]]] = np.arange(count)
    ends = np.cumsum(np.bincount(depths))
    return Pruned(Tree(of_old[parent][order_of], place, ends, node), kind, stands, rank)


def coarser(of: Pruned, limit: int) -> tuple[Pruned, Codes]:
    """With more nodes, of what is not among so many; and of each node of before, which one it is in then."""
    count, parent = len(of), of.nodes.parent
    big = (of.rank >= 0) & (of.rank <= limit) | (of.kind == UNKNOWN)
    small = np.flatnonzero(~big & big[parent])
    above, rows = np.unique(parent[small], return_inverse=True)
    of_smaller = np.full(count, NOWHERE)
    of_smaller[above] = count + np.arange(len(above))
    into = _into(of.nodes, np.where(big, np.arange(count), NOWHERE), of_smaller)
    others = np.bincount(rows, np.maximum(of.others[small], 1), len(above)).astype(np.int64)
    more = np.full(len(above), NOWHERE)
    nodes = replace(of.nodes, parent=np.append(parent, above), place=np.append(of.nodes.place, more))
    kind, others = np.append(of.kind, np.full(len(above), SMALLER)), np.append(of.others, others)
    return Pruned(nodes, kind, others, np.append(of.rank, more)), into


def _grown(stacks: Stacks, numbers: Codes, keys: Codes, values: Sequence[Floats], limit: int) -> tuple[Tree, Floats]:
    """From the outermost places inwards, but for what lies in nodes that are not among the `limit` largest of their
    depth; and of each node the greatest part that it has in any view."""
    parts = [each / each.sum() for each in values if each.sum() > 0]
    row = np.zeros(len(stacks), np.int64)
    row[numbers] = np.arange(len(numbers))
    node = np.zeros(len(stacks), np.int64)
    parents, places, ends, shares = [np.zeros(1, np.int64)], [np.full(1, NOWHERE)], [1], [np.full(1, np.inf)]
    left, depth = numbers[stacks.ends[numbers] > stacks.begins[numbers]], 0
    while len(left):
        at = stacks.ends[left] - 1 - depth
        pairs = node[left] << 32 | keys[stacks.places[at]]
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        above, count = node[left][first], len(first)
        share = np.zeros(count)
        for part in parts:
            np.maximum(share, np.bincount(inverse, part[row[left]], count), out=share)
        # However sums are rounded, none is larger than its parent.
        share = np.minimum(share, shares[-1][above - ends[-1] + len(shares[-1])])
        parents.append(above)
        places.append(at[first])
        shares.append(share)
        node[left] = ends[-1] + inverse
        ends.append(ends[-1] + count)
        depth += 1
        further = stacks.ends[left] - stacks.begins[left] > depth
        if 0 < limit < count:
            largest = np.zeros(count, np.bool_)
            largest[np.argpartition(-share, limit)[:limit]] = True
            further &= largest[inverse]
        left = left[further]
    whole = Tree(np.concatenate(parents), np.concatenate(places), np.array(ends), node)
    return whole, np.concatenate(shares)


def _into(nodes: Tree, own: Codes, smaller: Codes) -> Codes:
    """Of each node, its `own` new one; where there is none, that of what is smaller in the nearest above that has."""
    into = own.copy()
    for begin, end in zip(nodes.ends[:-1], nodes.ends[1:]):
        above = nodes.parent[begin:end]
        inherited = np.where(own[above] >= 0, smaller[above], into[above])
        into[begin:end] = np.where(own[begin:end] >= 0, own[begin:end], inherited)
    return into

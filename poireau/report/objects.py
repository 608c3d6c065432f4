"""Views, trees and differences as JSON: one object with `schema` and `version`; each figure is {value, ci95, n}."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from poireau.diff import Diff
from poireau.estimate import Estimate
from poireau.naming import places
from poireau.preamble import Preamble
from poireau.report.text import ordered
from poireau.report.tree import Calls
from poireau.stacks import Stacks
from poireau.views import UNITS, View, estimate_of

VERSION = 1
_KEYS = "function file line module process pid program thread name free_thread free_name smallest largest call".split()


def of_view(view: View, preamble: Preamble, limit: int, by_through: bool = False) -> dict[str, Any]:
    table = ordered(view, by_through)
    several = ["bytes", "count"] + (["through"] if "through" in table else [])
    rows = [
        {**_key(row, view.stacks), **{name: estimate_of(row, name).as_json() for name in several}}
        for row in _first(table, limit)
    ]
    return {**_head("poireau.top", view, preamble), "rows": rows, "more": len(table) - len(rows)}


def of_calls(calls: Calls, preamble: Preamble, limit: int) -> dict[str, Any]:
    """Nodes refer to their parents by number; the root is 0, and no parent comes after its children."""
    table = calls.table(calls.largest(limit))
    nodes = [
        {
            "parent": row["parent"] if number else None,
            **{name: row[name] for name in ("function", "file", "line", "module")},
            **{name: estimate_of(row, name).as_json() for name in ("bytes", "count")},
        }
        for number, row in enumerate(table.to_dict("records"))
    ]
    return {**_head("poireau.tree", calls.view, preamble), "nodes": nodes, "more": len(calls.own) - len(nodes)}


def of_diff(diff: Diff, preambles: tuple[Preamble, ...], limit: int) -> dict[str, Any]:
    def figure(row: Mapping[str, Any], name: str, samples: int) -> dict[str, object]:
        return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], samples, 0.0).as_json()

    rows = []
    for row in _first(diff.table, limit):
        before, after = int(row["samples_before"]), int(row["samples_after"])
        each = {"before": before, "after": after, "change": before + after}
        figures = {
            prefix + name: figure(row, prefix + name, n) for prefix in ("", "count_") for name, n in each.items()
        }
        sure = {"chance": float(f"{row['chance']:.6g}"), "significant": row["significant"]}
        rows.append({**_key(row, diff.stacks[row["side"]]), **figures, **sure})
    return {
        "schema": "poireau.diff",
        "version": VERSION,
        "what": diff.what,
        "by": diff.by,
        "unit": UNITS.get(diff.what, "bytes"),
        "of": [preamble.as_json() for preamble in preambles],
        "moments": list(diff.moments),
        "total": {name: getattr(diff, name).as_json() for name in ("before", "after", "change")},
        "rows": rows,
        "more": len(diff.table) - len(rows),
    }


def text_of(document: Mapping[str, Any]) -> str:
    """What has no value in JSON is null."""
    return json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"


def _head(schema: str, view: View, preamble: Preamble) -> dict[str, Any]:
    return {
        "schema": schema,
        "version": VERSION,
        "what": view.what,
        "by": view.by,
        "unit": view.unit,
        "since": view.since,
        "until": view.until,
        "of": [preamble.as_json()],
        "total": {"bytes": view.total_bytes.as_json(), "count": view.total_count.as_json()},
    }


def _first(table: Any, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (table if limit == 0 else table.head(limit)).to_dict("records")
    return rows


def _key(row: Mapping[str, Any], stacks: Stacks | None) -> dict[str, Any]:
    key = {name: row[name] for name in _KEYS if name in row}
    if stacks is None or "stack" not in row:
        return key
    columns = places(stacks, np.arange(stacks.begins[row["stack"]], stacks.ends[row["stack"]]))
    frames = [dict(zip(columns, frame)) for frame in zip(*columns.values())]
    return {**key, "frames": frames}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

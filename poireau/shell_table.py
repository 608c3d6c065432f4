"""The table behind what a command has printed: `df` at the prompt."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from poireau.model import Heap


def of(heap: Heap, parsed: argparse.Namespace) -> pd.DataFrame:
    """What was asked for by `parsed`; of what is no table, what is in use."""
    from poireau import asking, diff, leaks
    from poireau.report.text import ordered
    from poireau.views import view

    until = getattr(parsed, "at", None) or getattr(parsed, "until", None)
    selection = asking.selection(_whole(parsed), heap, getattr(parsed, "since", None), until)
    if parsed.verb == "leaks":
        return leaks.find(heap, selection).table
    if parsed.verb == "errors":
        return heap.errors
    if parsed.verb == "diff" and parsed.before:
        before, after = asking.when(parsed.before, heap), asking.when(parsed.after or "end", heap)
        return diff.of_moments(heap, before, after, parsed.by, selection).table
    what = parsed.verb if parsed.verb in ("freed", "peak") else getattr(parsed, "what", None) or "in-use"
    answer = view(heap, what, getattr(parsed, "by", None) or "function", selection)
    return ordered(answer, bool(getattr(parsed, "cumulative", False))).drop(columns="place", errors="ignore")


def _whole(parsed: argparse.Namespace) -> argparse.Namespace:
    """Not every command has every option."""
    nothing = {"process": [], "thread": [], "focus": "", "ignore": "", "hide": ""}
    return argparse.Namespace(**{**nothing, **vars(parsed)})

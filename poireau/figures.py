"""What a program's stats say, in figures for people."""

from __future__ import annotations

from poireau import estimate
from poireau.control import Answer
from poireau.estimate import Estimate
from poireau.text import as_size, plain


def number(stats: Answer, name: str) -> int:
    value = stats.get(name)
    return value if type(value) is int else 0


def group(stats: Answer, name: str) -> Answer:
    value = stats.get(name)
    return value if isinstance(value, dict) else {}


def by_calls(stats: Answer) -> bool:
    return stats.get("by_calls") is True


def period(stats: Answer) -> str:
    """In force, and who decides about it."""
    now = number(stats, "period")
    if stats.get("armed") is not True or now == 0:
        return "dormant"
    automatic = stats.get("sample_period") == "auto"
    if now == 1:
        return "every call" + " auto" * automatic
    rule = "auto" if automatic else plain(str(group(stats, "governor").get("period", "?")))
    return f"{f'{now} calls' if by_calls(stats) else as_size(now)} {'ungoverned' if rule == 'off' else rule}"


def live(stats: Answer) -> Estimate | None:
    """Bytes that are alive now, sampled or not."""
    classes = stats.get("live_by_class")
    if not isinstance(classes, list):
        return None
    groups = []
    for each in classes:
        if not isinstance(each, list) or len(each) != 4 or not all(type(figure) is int for figure in each):
            return None
        groups.append(estimate.Group(*each[1:]))
    return estimate.total_bytes(groups, 0 if by_calls(stats) else number(stats, "period"))


def live_text(stats: Answer) -> str:
    """With the margin in which it lies with 95 % certainty."""
    total = live(stats)
    if total is None:
        return "-"
    if total.samples == 0 and number(stats, "period") != 1:
        return f"< {as_size(total.high)}" if total.high else "-"
    return as_size(total.value) + ("" if total.exact else f" \u00b1 {as_size(total.margin)}")

"""Sizes, times, tables and other people's words, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def plain(text: str) -> str:
    """Fit for a terminal, whoever chose it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_size(size: float) -> str:
    """Three digits and a unit: 512KiB, 4.51MiB."""
    if size < 1024:
        return f"{size:.0f}B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1000 or unit == "TiB":
            break
    digits = 0 if size >= 100 or size == int(size) else 1 if size >= 10 else 2
    return f"{size:.{digits}f}{unit}"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def age(seconds: float) -> str:
    """To two digits, however short: 3.8 s, 12 ms, 150 us."""
    if seconds < 10:
        unit, size = next((each for each in (("s", 1.0), ("ms", 1e-3)) if seconds >= 0.995 * each[1]), ("us", 1e-6))
        number = seconds / size
        return f"{number:.0f} {unit}" if number >= 9.95 or number == round(number) else f"{number:.1f} {unit}"
    return duration(seconds)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> Iterator[str]:
    """Lines; the columns named in `right` hold numbers."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if head in right else cell.ljust(width) for cell, width, head in zip(row, widths, heads)
        ]
        yield "  ".join(cells).rstrip()

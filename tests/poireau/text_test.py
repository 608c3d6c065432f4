"""Sizes, times and tables as people read them."""

from __future__ import annotations

import pytest

from poireau.text import as_size, duration, plain, table


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.50KiB"), (512 << 10, "512KiB"), (4729078, "4.51MiB"),
     (1000 << 10, "0.98MiB"), (999 << 20, "999MiB"), (1 << 30, "1GiB"), (5 << 50, "5120TiB")],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(size: float, text: str) -> None:
    assert as_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 ms"), (0.3, "300 ms"), (40.4, "40 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (864000, "10 days")],
)
def test_times_are_round(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert list(table(["A", "BB"], [["1", "x"], ["22", "yyy"]], right=["A"])) == [" A  BB", " 1  x", "22  yyy"]
    assert list(table(["A"], [])) == ["A"]


def test_what_a_terminal_would_obey_is_spelled() -> None:
    assert plain("a\x1b[2J\n\u20ac\udcff") == "a\\x1b[2J\\n\u20ac\\udcff"

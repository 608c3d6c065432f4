from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poireau.errors import USAGE, Failure
from poireau.selection import Selection, check, clock, distance, moment

SECOND = 10**9
BEGIN, END = 1_700_000_000 * SECOND, 1_700_000_600 * SECOND + 5


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60s", END - 60 * SECOND),
        ("-60s", END - 60 * SECOND),
        ("-1.5m", END - 90 * SECOND),
        ("200ms", END - SECOND // 5),
        ("2h", END - 7200 * SECOND),
        ("+10s", BEGIN + 10 * SECOND),
        ("begin", BEGIN),
        ("end", END),
        ("@1700000000.5", BEGIN + SECOND // 2),
        ("2023-11-14T22:13:20", BEGIN),
        ("2023-11-14 22:13:20Z", BEGIN),
        ("2023-11-15T00:13:20+02:00", BEGIN),
        ("22:13:20", BEGIN),
        ("22:13:20.25", BEGIN + SECOND // 4),
        ("22:14", BEGIN + 40 * SECOND),
        ("22:30", BEGIN + 1000 * SECOND - 24 * 3600 * SECOND),  # it is later than the end: that of the day before
    ],
)
def test_a_moment_is_before_the_end_after_the_beginning_or_absolute(text: str, expected: int) -> None:
    assert moment(text, BEGIN, END) == expected


@pytest.mark.parametrize(
    "text",
    ["", "soon", "60", "60 parsecs", "25:00", "12:60", "@x", "@1e400", "2023-13-01", "9999999999999d", "1e9s", "@nan"],
)
def test_what_is_no_time_is_said_in_one_line(text: str) -> None:
    with pytest.raises(Failure) as failure:
        moment(text, BEGIN, END)
    assert failure.value.status == USAGE
    assert "\n" not in str(failure.value)


@given(st.text(max_size=12))
@example("٣s")
def test_no_text_does_anything_but_be_a_time_or_fail(text: str) -> None:
    with contextlib.suppress(Failure):
        assert isinstance(moment(text, BEGIN, END), int)


def test_a_distance_has_a_unit() -> None:
    assert distance("10ms") == 10**7
    assert distance("-1.5h") == -5400 * SECOND
    assert distance("10") is None


@pytest.mark.parametrize("name", ["focus", "ignore", "hide", "wrappers"])
def test_what_is_no_regular_expression_is_said_in_one_line_with_its_name(name: str) -> None:
    with pytest.raises(Failure, match=rf"^{name}: a\( is no regular expression") as failure:
        check(Selection(**{name: "a("}))
    assert "\n" not in str(failure.value)


def test_a_window_has_to_have_some_time() -> None:
    check(Selection(since=1, until=2))
    with pytest.raises(Failure, match="empty"):
        check(Selection(since=2, until=2))


def test_times_that_no_clock_shows_are_numbers() -> None:
    assert clock(BEGIN) == "22:13:20"
    assert clock(2**63 - 1, True).startswith(("@", "2"))

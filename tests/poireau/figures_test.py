"""What a program's stats say, in figures for people."""

from __future__ import annotations

import pytest

from poireau import figures


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"armed": True, "period": 65536, "sample_period": "auto", "governor": {"period": "governed"}}, "64KiB auto"),
        ({"armed": True, "period": 1, "sample_period": "auto"}, "every call auto"),
        ({"armed": True, "period": 1, "sample_period": 1}, "every call"),
        ({"armed": True, "period": 65536, "sample_period": 65536, "governor": {"period": "pinned"}}, "64KiB pinned"),
        ({"armed": False, "period": 0, "sample_period": "auto"}, "dormant"),
    ],
)
def test_a_period_is_said_with_who_decides_about_it(stats: dict[str, object], said: str) -> None:
    assert figures.period(stats) == said

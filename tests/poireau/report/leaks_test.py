from __future__ import annotations

import pytest

from poireau.report.leaks import rate

MIB = 1 << 20


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (41 * MIB, 35 * MIB, 47 * MIB, "41 ± 6 MiB/h"),
        (4.1 * MIB, 3.9 * MIB, 4.3 * MIB, "4.1 ± 0.2 MiB/h"),
        (1.29 * MIB, 1.25 * MIB, 1.33 * MIB, "1.29 ± 0.04 MiB/h"),
        (41 * MIB, 30 * MIB, 80 * MIB, "41 (30 to 80) MiB/h"),
        (14 * MIB, 2 * MIB, 30 * MIB, "14 (2 to 30) MiB/h"),  # it surely grows
        (500.0, 500.0, 500.0, "500 ± 0 B/h"),
        (0.0, 0.0, 3 * MIB, "0.0 (0.0 to 3.0) MiB/h"),
        (2048 * MIB, 1024 * MIB, 3072 * MIB, "2.0 ± 1.0 GiB/h"),
    ],
)
def test_a_rate_has_the_digits_that_its_interval_allows(value: float, low: float, high: float, text: str) -> None:
    assert rate({"value": value, "ci95": [low, high], "n": 1}) == text

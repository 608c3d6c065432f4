"""Texts and figures of a picture as its page gets them: each text once, whoever chose it; figures to a few digits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.estimates import Estimates
from poireau.report.spelling import as_written

LONGEST = 500  # characters
FEW = 20  # samples say little; flame_bar.ts has the same
_DIGITS = 5
_WHOLE = 1 << 53
_LEAST = -307
_TENS = np.array([float(f"1e{power}") for power in range(_LEAST, 309)])  # exact, as no processor's pow() is


class Texts:
    """Numbers for texts."""

    def __init__(self) -> None:
        self.texts = [""]
        self._known = {"": 0}

    def number(self, text: str) -> int:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = len(self.texts)
            self.texts.append(shown(text))
        return known

    def numbers(self, texts: Iterable[str]) -> list[int]:
        return [self.number(text) for text in texts]


def doubtful(samples: int) -> list[str]:
    """What is to be said of so few."""
    if not 0 < samples < FEW:
        return []
    said = f"{samples} sample{'s' * (samples != 1)} say{'s' * (samples == 1)} little"
    return [f"{said}; a shorter period takes more: poireau ctl PID set sample_period 64KiB, or run --period"]


def shown(name: str) -> str:
    """As a page can show it: text and nothing else, and not without end."""
    if len(name) <= LONGEST and name.isprintable() and "std::" not in name:
        return name
    return _cut(as_written(_cut(name, 8 * LONGEST)), LONGEST)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - most // 2 + 1 :]}"


def rounded(values: NDArray[Any]) -> list[Any]:
    """To five digits; what is whole is written as such."""
    values = np.asarray(values, np.float64)
    digits = np.searchsorted(_TENS, np.abs(values), side="right") - 1 + _LEAST
    scale = _TENS[np.abs(digits - _DIGITS + 1).clip(max=-_LEAST) - _LEAST]
    values = np.where(digits >= _DIGITS, np.rint(values / scale) * scale, np.rint(values * scale) / scale)
    whole = (values == np.rint(values)) & (np.abs(values) < _WHOLE)
    if whole.all():
        written: list[Any] = values.astype(np.int64).tolist()
        return written
    found = np.empty(len(values), object)
    found[whole] = values[whole].astype(np.int64)
    found[~whole] = values[~whole]
    return list(found)


def figures(of: Estimates) -> dict[str, list[Any]]:
    """Each interval holds the value that is written."""
    value, low, high = of.value, np.minimum(of.low, of.value), np.maximum(of.high, of.value)
    return {"value": rounded(value), "low": rounded(low), "high": rounded(high), "samples": of.samples.tolist()}


def sums(of: Estimates) -> dict[str, list[Any]]:
    columns = {name: rounded(getattr(of, name)) for name in ("value", "variance", "third", "seen", "unit")}
    return {**columns, "samples": of.samples.tolist()}


def milliseconds(times: NDArray[np.int64]) -> list[float]:
    return [round(time / 1e6, 3) for time in times.tolist()]

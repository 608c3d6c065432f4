"""What is claimed of estimates, and how often that is true."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from poireau.estimates import Difference, Estimates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """Estimates and truths of one kind, and about how large an error is to be expected."""

    name: str
    got: Estimates | Difference
    truth: Floats
    scale: Floats
    covers: tuple[float, float] = (0.93, 0.97)

    @property
    def bias(self) -> float:
        """In standard errors."""
        error = (self.got.value - self.truth) / self.scale
        return float(error.sum() / sqrt((error**2).sum()))

    @property
    def coverage(self) -> float:
        slack = 1e-9 * np.abs(self.truth) + 1e-6
        return float(np.mean((self.got.low <= self.truth + slack) & (self.truth <= self.got.high + slack)))

    def check(self) -> str:
        six = 6 * sqrt(0.95 * 0.05 / len(self.truth))
        low, high = self.covers
        said = f"{self.name}: {100 * self.coverage:.1f} % ({self.bias:+.1f} se of {len(self.truth)})"
        assert abs(self.bias) < 6, said
        assert low - six < self.coverage < high + six, said
        return said


def usual_error(truth: Floats, samples: Floats) -> Floats:
    """Of so many samples that weigh the same; of less than one, it is not counted."""
    return np.maximum(truth, 1) / np.sqrt(np.maximum(samples, 0.2))

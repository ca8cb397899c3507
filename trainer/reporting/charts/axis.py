"""Axes: which pixel a value lies at, and which values are written beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers 1, 2 or 5 times a power of ten apart within [low, high], at most `most`."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * step) < most)
    return [
        round(index * step, 12) for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high]; with 2 and 5 times those where there are fewer than three."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high * 1.0001]
        if len(found) >= 3:
            break
    return found[:: len(found) // 8 + 1] if found else [low, high]


@dataclass(frozen=True)
class Axis:
    """Values [low, high] along pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value."""
        value, low, high = (self._scaled(v) for v in (value, self.low, self.high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.logarithmic)

    def ticks(self) -> list[float]:
        return logarithmic_ticks(self.low, self.high) if self.logarithmic else ticks(self.low, self.high)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

"""Outputs of operators on two devices, compared: the worst difference of each operator, and whether it is close enough.

A difference is that of an array's largest number: relative to it, |a - b|.max() / |b|.max().
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tests.gpu_check.operators import HALF

# Sums are in another order, divisions and exponentials differ in their last bits.
OF_OPERATOR = 1e-5
# cuDNN may take Winograd's form of a convolution, and a network is a score of them, behind each other.
CLOSE = {"convolution": 1e-4, "convolution's gradient": 1e-4, "product": 1e-4, "stage 1": 1e-3, "stage 2": 1e-3}
# A number of float16 rounded to its neighbour; in a network those add up.
CLOSE_IN_HALF = {"stage 1": 5e-2, "stage 2": 5e-2}
OF_HALF = 2.0**-9


@dataclass(frozen=True)
class Difference:
    """The worst of an operator's, at which seed, and how large it may be."""

    operator: str
    worst: float
    seed: int
    wanted: float

    @property
    def good(self) -> bool:
        return self.worst <= self.wanted


def compare(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> list[Difference]:
    """Of two results of `tests.gpu_check.operators`. Arrays of another shape, or that one alone has, are infinitely far
    from each other; so are numbers from such that are none."""
    worst: dict[str, tuple[float, int]] = {}
    for name in sorted({*found, *expected}):
        operator, seed, _ = name.rsplit("/", 2)
        distance = _distance(found.get(name), expected.get(name))
        worst[operator] = max(worst.get(operator, (-1.0, 0)), (distance, int(seed)))
    return [Difference(operator, *values, _wanted(operator)) for operator, values in worst.items()]


def _distance(one: np.ndarray | None, other: np.ndarray | None) -> float:
    if one is None or other is None or one.shape != other.shape:
        return np.inf
    a, b = one.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    largest = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
    distance = float(np.abs(np.where(same, 0, a - b)).max() / largest)
    return distance if np.isfinite(distance) else np.inf


def _wanted(operator: str) -> float:
    kind = operator.removesuffix(f" {HALF}")
    if kind == operator:
        return CLOSE.get(kind, OF_OPERATOR)
    return CLOSE_IN_HALF.get(kind, OF_HALF)

"""Windows of a map, as Swin's attention has them: how a map is made to hold whole ones, how it is moved against them,
and what the places of one are to each other.

    map (5,7), windows of 4     ──padded──►  (8,8)     ──rolled by 2──►  rows and columns 2..7, 0, 1
                                                                         └ the last windows hold places of two sides
"""

from __future__ import annotations

import functools

import numpy as np

from trainer.device import jt


def padded(x: jt.Var, divisor: int, value: float = 0.0) -> jt.Var:
    """A map (B,H,W,C) with `value` right and below, up to multiples of `divisor`."""
    for axis in (1, 2):
        if lacking := -x.shape[axis] % divisor:
            shape = list(x.shape)
            shape[axis] = lacking
            x = jt.concat([x, jt.full(shape, value)], axis)
    return x


def rolled(x: jt.Var, shift: int) -> jt.Var:
    """A map (B,H,W,C), `shift` places further left and up; what leaves it comes back at the other side."""
    if not shift:
        return x
    x = jt.concat([x[:, shift:], x[:, :shift]], 1)
    return jt.concat([x[:, :, shift:], x[:, :, :shift]], 2)


@functools.lru_cache(64)
def regions(height: int, width: int, window: int, shift: int) -> np.ndarray:
    """int32 (n,N), in which of nine regions of the map each place of each window is; those of one window that are in
    different regions were apart before the map was rolled."""

    def bands(length: int) -> np.ndarray:
        return np.digitize(np.arange(length), (length - window, length - shift))

    numbers = 3 * bands(height)[:, None] + bands(width)
    cut = numbers.reshape(height // window, window, width // window, window).transpose(0, 2, 1, 3)
    return cut.reshape(-1, window * window).astype(np.int32)


@functools.lru_cache(8)
def distances(window: int) -> np.ndarray:
    """f32 (N·N,(2w-1)²), a one in each row: which entry of the table belongs to two places of a window."""
    places = np.stack(np.divmod(np.arange(window * window), window), 1)  # (N,2): row, column
    rows, columns = (places[:, None] - places[None] + window - 1).transpose(2, 0, 1)
    return np.eye((2 * window - 1) ** 2, dtype=np.float32)[((2 * window - 1) * rows + columns).ravel()]

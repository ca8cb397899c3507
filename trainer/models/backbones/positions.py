"""Learnt positions of a square grid, for maps of other sizes: interpolated bicubically, between the grid's places.

    grid (G,G,C) ── rows: (h,G) times (G,G·C) ── columns: (w,G) times (G,h·C) ──► map (h,w,C)

Both are products with a matrix of four numbers in each row, so that the gradients are products as well. They are those
of torch's ``interpolate(mode='bicubic', align_corners=False)``; a map of the grid's own size gets the grid itself.
"""

from __future__ import annotations

import functools

import numpy as np

from trainer.device import jt, var

_SHARPNESS = -0.75  # torch's, of Keys' cubic convolution


def resized(positions: jt.Var, height: int, width: int) -> jt.Var:
    """Positions f32 (G·G,C), row by row -> f32 (height,width,C)."""
    count, channels = positions.shape
    grid = round(count**0.5)
    rows = jt.matmul(var(bicubic(height, grid)), positions.reshape(grid, grid * channels))
    rows = rows.reshape(height, grid, channels).transpose(1, 0, 2).reshape(grid, height * channels)
    return jt.matmul(var(bicubic(width, grid)), rows).reshape(width, height, channels).transpose(1, 0, 2)


@functools.lru_cache(256)
def bicubic(length: int, grid: int) -> np.ndarray:
    """f32 (length,grid): what each of `grid` places in a row counts in each of `length` that cover the same span."""
    centres = (np.arange(length) + 0.5) * grid / length - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((length, grid))
    for place in range(4):
        weights = _cubic(np.abs(centres - first - place))
        # Beyond the border stands the outermost place again.
        np.add.at(matrix, (np.arange(length), np.clip(first + place, 0, grid - 1)), weights)
    return matrix.astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """What a place at that distance, from 0 to 2, counts."""
    near = (_SHARPNESS + 2) * distance**3 - (_SHARPNESS + 3) * distance**2 + 1
    far = _SHARPNESS * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, far)

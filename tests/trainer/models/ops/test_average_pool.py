"""Means of 2x2 pixels against numpy, and what comes back to each pixel."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.ops.average_pool import average_pool


@pytest.mark.parametrize("size", [(2, 2), (6, 10), (7, 5)])
def test_means_of_two_by_two_pixels_without_an_odd_last_row_or_column(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 3, *size)).astype(np.float32)
    height, width = size[0] // 2, size[1] // 2
    cells = x[:, :, : 2 * height, : 2 * width].reshape(2, 3, height, 2, width, 2)
    uploaded = var(x)
    y = average_pool(uploaded)
    np.testing.assert_allclose(y.numpy(), cells.mean((3, 5)), rtol=1e-5, atol=1e-6)
    weights = generator.standard_normal(y.shape).astype(np.float32)
    expected = np.zeros_like(x)
    expected[:, :, : 2 * height, : 2 * width] = weights.repeat(2, 2).repeat(2, 3) / 4
    np.testing.assert_allclose(jt.grad((y * var(weights)).sum(), uploaded).numpy(), expected, rtol=1e-6)

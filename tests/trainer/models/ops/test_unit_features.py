"""Unit features against numpy, their gradient against differences."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.ops.unit_features import unit_features


def by_formula(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    z = np.maximum(x + bias[:, None, None], 0)
    return z / np.maximum(np.sqrt((z**2).sum(1, keepdims=True)), 1e-12)


@pytest.mark.parametrize("size", [(3, 5), (20, 31)])  # within one piece of cells, and over several
def test_every_cell_has_unit_length_over_its_channels(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    x, bias = generator.standard_normal((2, 6, *size)), generator.standard_normal(6)
    found = unit_features(var(x, "float32"), var(bias, "float32")).numpy()
    np.testing.assert_allclose(found, by_formula(x, bias), rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_small_differences() -> None:
    generator = np.random.default_rng(0)
    x, bias = generator.standard_normal((2, 4, 3, 5)), generator.standard_normal(4)
    cotangent = generator.standard_normal(x.shape)
    leaves = [var(x, "float32"), var(bias, "float32")]
    total = (unit_features(*leaves) * var(cotangent, "float32")).sum()
    gradients = [gradient.numpy() for gradient in jt.grad(total, leaves)]
    step = 1e-6
    for gradient, array, of in ((gradients[0], x, lambda v: (v, bias)), (gradients[1], bias, lambda v: (x, v))):
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * step
                ends.append((by_formula(*of(moved)) * cotangent).sum())
            expected[index] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_a_cell_of_zeros_stays_zero_and_passes_nothing_on() -> None:
    x = var(np.full((1, 3, 2, 2), -1.0), "float32")
    y = unit_features(x, jt.zeros(3))
    gradient = jt.grad(y.sum(), x)
    assert (y.numpy() == 0).all() and (gradient.numpy() == 0).all()

"""The norm with its neighbours against the same written with Jittor's own operators, forward and backward."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.ops.fixed_norm import fixed_norm

CHANNELS = 5


def inputs() -> list[jt.Var]:
    """x, weight, bias, mean, variance, shortcut."""
    generator = np.random.default_rng(0)
    x, shortcut = (generator.standard_normal((2, CHANNELS, 6, 7)) for _ in range(2))
    rows = [generator.standard_normal(CHANNELS) for _ in range(3)]
    return [var(a, "float32") for a in (x, *rows, generator.uniform(0.5, 2, CHANNELS), shortcut)]


def composed(values: list[jt.Var], adds: bool, with_relu: bool) -> jt.Var:
    x, weight, bias, mean, variance, shortcut = values
    weight, bias, mean, variance = (row.reshape(1, -1, 1, 1) for row in (weight, bias, mean, variance))
    y = (x - mean) * weight / jt.sqrt(variance + 1e-5) + bias
    y = y + shortcut if adds else y
    return jt.maximum(y, 0.0) if with_relu else y


@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_values_and_gradients_are_those_of_the_formula(adds: bool, with_relu: bool) -> None:
    values = inputs()
    x, weight, bias, mean, variance, shortcut = values
    found = fixed_norm(x, weight, bias, mean, variance, 1e-5, shortcut if adds else None, with_relu)
    expected = composed(values, adds, with_relu)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
    leaves = [x, weight, bias, *([shortcut] if adds else [])]
    cotangent = var(np.random.default_rng(1).standard_normal(x.shape), "float32")
    gradients = jt.grad((found * cotangent).sum(), leaves)
    others = jt.grad((expected * cotangent).sum(), leaves)
    for gradient, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(gradient.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adds", [False, True])
def test_a_number_that_is_none_stays_one_behind_the_relu(adds: bool) -> None:
    x, weight, bias, mean, variance, shortcut = inputs()
    broken = x.numpy().copy()
    broken[1, 2, 3, 4] = np.nan
    y = fixed_norm(var(broken), weight, bias, mean, variance, 1e-5, shortcut if adds else None, with_relu=True).numpy()
    assert np.argwhere(np.isnan(y)).tolist() == [[1, 2, 3, 4]]


def test_other_shapes_than_the_maps_are_refused() -> None:
    x = jt.zeros((1, 4, 8, 8))
    with pytest.raises(ValueError, match="a norm of 3 channels is given a map of 4"):
        fixed_norm(x, *[jt.ones(3)] * 4, 1e-5)
    with pytest.raises(ValueError, match=r"a shortcut \(1, 4, 8, 7\) is to be added to a map \(1, 4, 8, 8\)"):
        fixed_norm(x, *[jt.ones(4)] * 4, 1e-5, x[:, :, :, 1:])

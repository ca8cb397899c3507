"""Convolutions and their gradients against Jittor's own, for what takes another way each."""

import numpy as np
import pytest

from trainer.device import jt, nn, var
from trainer.models.ops.convolution import convolve

# inputs, outputs, kernel, stride: matrix products; blocks of 16 channels; other numbers of channels
GEOMETRIES = [(32, 48, 1, 1), (8, 6, 1, 1), (32, 48, 1, 2), (32, 48, 3, 1), (16, 32, 3, 2), (3, 20, 7, 2), (5, 7, 3, 1)]


@pytest.mark.parametrize(("inputs", "outputs", "size", "stride"), GEOMETRIES)
def test_values_and_gradients_are_those_of_jittors_convolution(
    inputs: int, outputs: int, size: int, stride: int
) -> None:
    generator = np.random.default_rng(0)
    x = var(generator.standard_normal((2, inputs, 13, 18)), "float32")
    weight = var(generator.standard_normal((outputs, inputs, size, size)), "float32")
    bias = var(generator.standard_normal(outputs), "float32")
    found = convolve(x, weight, bias, stride, size // 2)
    expected = nn.conv2d(x, weight, bias, stride, size // 2)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
    cotangent = var(generator.standard_normal(found.shape), "float32")
    leaves = [x, weight, bias]
    gradients, others = (jt.grad((y * cotangent).sum(), leaves) for y in (found, expected))
    for gradient, other in zip(gradients, others, strict=True):
        other = other.numpy()
        np.testing.assert_allclose(gradient.numpy(), other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_a_frozen_input_gets_no_gradient_and_the_weight_the_same_one() -> None:
    generator = np.random.default_rng(0)
    image = generator.standard_normal((2, 16, 9, 9)).astype(np.float32)
    weight = var(generator.standard_normal((16, 16, 3, 3)), "float32")
    gradients = [
        jt.grad((convolve(x, weight, padding=1) ** 2).sum(), weight).numpy()
        for x in (var(image), var(image).stop_grad())
    ]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("channels", [3, 5])
def test_a_map_of_other_channels_is_refused(channels: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a convolution of {channels} channels is given a map of 4"):
        convolve(jt.zeros((1, 4, 8, 8)), jt.zeros((2, channels, size, size)), padding=size // 2)

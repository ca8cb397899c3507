"""Small layers by their definition."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models import layers
from trainer.models.layers import Deconvolution, unit_length


def test_vectors_have_unit_length_along_the_axis_and_zeros_stay_zeros_with_a_gradient_that_is_a_number() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-0.5, 0.0]], np.float32)
    x = var(vectors)
    np.testing.assert_allclose(unit_length(x, 1).numpy(), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
    np.testing.assert_allclose(unit_length(var(vectors.T), 0).numpy(), [[0.6, 0, -1], [0.8, 0, 0]], rtol=1e-6)
    assert np.isfinite(jt.grad(unit_length(x, 1).sum(), x).numpy()).all()


def test_a_deconvolution_makes_of_each_place_four_by_the_four_matrices_of_its_weights() -> None:
    layer, generator = Deconvolution(3, 5), np.random.default_rng(0)
    x = generator.standard_normal((2, 4, 6, 3)).astype(np.float32)
    found = layer(var(x)).numpy()
    assert found.shape == (2, 8, 12, 5)
    for row in (0, 1):
        for column in (0, 1):
            expected = x @ layer.weight.numpy()[:, :, row, column] + layer.bias.numpy()
            np.testing.assert_allclose(found[:, row::2, column::2], expected, rtol=1e-5, atol=1e-6)


def test_a_deconvolution_begins_within_torchs_bounds() -> None:
    layer, bound = Deconvolution(8, 16), (4 * 16) ** -0.5  # 1 / sqrt(fan in)
    for numbers in (layer.weight.numpy(), layer.bias.numpy()):
        assert 0.8 * bound < np.abs(numbers).max() <= bound


@pytest.mark.parametrize("height", [7, 8])
@pytest.mark.parametrize("width", [9, 10])
def test_upsamplings_gradient_is_the_same_where_sums_are_made_in_one_order(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    generator = np.random.default_rng(0)
    coarse, weights = (
        var(generator.random((2, 3, 4, 5)), "float32"),
        var(generator.random((2, 3, height, width)), "float32"),
    )
    gradients = []
    for in_order in (False, True):
        monkeypatch.setattr(layers, "sums_in_order", lambda in_order=in_order: in_order)
        fine = layers.upsample_nearest(coarse, height, width)
        gradients.append(jt.grad((fine * weights).sum(), coarse).numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-6)

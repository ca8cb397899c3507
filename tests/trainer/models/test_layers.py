"""Small layers by their definition."""

import numpy as np

from trainer.device import jt, var
from trainer.models.layers import unit_length


def test_vectors_have_unit_length_along_the_axis_and_zeros_stay_zeros_with_a_gradient_that_is_a_number() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-0.5, 0.0]], np.float32)
    x = var(vectors)
    np.testing.assert_allclose(unit_length(x, 1).numpy(), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
    np.testing.assert_allclose(unit_length(var(vectors.T), 0).numpy(), [[0.6, 0, -1], [0.8, 0, 0]], rtol=1e-6)
    assert np.isfinite(jt.grad(unit_length(x, 1).sum(), x).numpy()).all()

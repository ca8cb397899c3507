"""The batched matrix product against numpy, forward and both gradients."""

import numpy as np

from trainer.device import jt, var
from trainer.models.ops.matmul import batched_matmul


def test_product_and_gradients_match() -> None:
    generator = np.random.default_rng(0)
    left, right, weight = (
        generator.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (3, 5, 2), (3, 4, 2))
    )
    a, b = var(left), var(right)
    product = batched_matmul(a, b)
    np.testing.assert_allclose(product.numpy(), left @ right, rtol=1e-5, atol=1e-6)
    by_left, by_right = jt.grad((product * var(weight)).sum(), [a, b])
    np.testing.assert_allclose(by_left.numpy(), weight @ right.transpose(0, 2, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_right.numpy(), left.transpose(0, 2, 1) @ weight, rtol=1e-5, atol=1e-6)

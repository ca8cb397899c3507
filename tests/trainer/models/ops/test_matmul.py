"""The batched matrix product against numpy, forward and both gradients."""

from types import SimpleNamespace

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.ops import matmul
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


def test_on_a_gpu_cublas_turns_what_is_read_in_its_turned_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in has the arguments of Jittor's cublas_batched_matmul, whose infer_shape says what they mean."""

    def multiply(a: jt.Var, b: jt.Var, trans_a: bool, trans_b: bool) -> jt.Var:
        left, right = (x.numpy().swapaxes(1, 2) if turn else x.numpy() for x, turn in ((a, trans_a), (b, trans_b)))
        return var(left @ right)

    gpu = SimpleNamespace(
        flags=SimpleNamespace(use_cuda=1),
        compile_extern=SimpleNamespace(cublas_ops=SimpleNamespace(cublas_batched_matmul=multiply)),
    )
    generator = np.random.default_rng(0)
    left, right, weight = (
        generator.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (3, 5, 2), (3, 4, 2))
    )
    product = matmul.BatchedMatmul()
    with monkeypatch.context() as patch:
        patch.setattr(matmul, "jt", gpu)
        found = product.execute(var(left), var(right))
        by_left, by_right = product.grad(var(weight))
    np.testing.assert_allclose(found.numpy(), left @ right, rtol=1e-6)
    np.testing.assert_allclose(by_left.numpy(), weight @ right.transpose(0, 2, 1), rtol=1e-6)
    np.testing.assert_allclose(by_right.numpy(), left.transpose(0, 2, 1) @ weight, rtol=1e-6)

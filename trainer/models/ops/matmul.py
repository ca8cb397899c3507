"""Batched matrix product whose gradients are batched matrix products, too; on the CPU by oneDNN's sgemm.

Jittor's own derives gradients from broadcasts and sums, whose kernels run at a twentieth of the speed of the product on
the CPU, and copies what it transposes. A GPU has cuBLAS for all of it, which reads a matrix in its turned form, too.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.onednn import onednn
from trainer.models.ops.operator import Operator

PRODUCT = """
    const bool turn_left = data["turn_left"] != 0, turn_right = data["turn_right"] != 0;
    matmul::multiply(in0_p, turn_left, in1_p, turn_right, out0_shape0, out0_shape1,
                     turn_left ? in0_shape1 : in0_shape2, out0_shape2, out0_p);
"""


def _product(left: jt.Var, right: jt.Var, turn_left: bool = False, turn_right: bool = False) -> jt.Var:
    if jt.flags.use_cuda:
        return jt.compile_extern.cublas_ops.cublas_batched_matmul(left, right, turn_left, turn_right)
    rows, columns = left.shape[2 if turn_left else 1], right.shape[1 if turn_right else 2]
    data = {"turn_left": float(turn_left), "turn_right": float(turn_right)}
    return onednn([(left.shape[0], rows, columns)], [left, right], kernel(__file__, PRODUCT), data)[0]


class BatchedMatmul(Operator):
    """f32 (N,I,J) times (N,J,K) -> (N,I,K)."""

    def execute(self, left: jt.Var, right: jt.Var) -> jt.Var:
        """f32 (N,I,J) and (N,J,K) -> f32 (N,I,K)."""
        self.left, self.right = left, right
        return _product(left, right)

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Of the product, f32 (N,I,K) -> of its factors, f32 (N,I,J) and (N,J,K)."""
        return _product(gradient, self.right, turn_right=True), _product(self.left, gradient, turn_left=True)


def batched_matmul(left: jt.Var, right: jt.Var) -> jt.Var:
    """f32 (N,I,J) times f32 (N,J,K) -> f32 (N,I,K)."""
    return BatchedMatmul.apply(left, right)

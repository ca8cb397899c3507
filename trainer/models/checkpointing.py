"""Activation checkpointing: a block that computes its inner maps a second time instead of keeping them.

    forward    x ──► block ──► y                            x is kept
    backward   x, again ──► block ──► inner maps ──► gradients of x and of the block's parameters

The gradients are the same to rounding: those of several uses of x are added in another order. Jittor computes whatever
is ready, so the second pass must not be ready before the gradient of y is there: x comes from an operator that takes
that gradient, too, and only copies.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainer.device import jt, nn
from trainer.device.kernels import kernel
from trainer.models.ops.operator import Operator, forgetting


class _Checkpointed(Operator):
    def __init__(self, block: nn.Module, parameters: list[jt.Var]) -> None:
        super().__init__()
        self.kept = (block, parameters)  # in a tuple: they are not this module's own

    def execute(self, x: jt.Var, *_: jt.Var) -> jt.Var:
        self.x, self.differentiates_x = x, not x.is_stop_grad()
        with jt.no_grad():
            y = self.kept[0](x)
        return y.start_grad()

    def grad(self, gradient: jt.Var) -> tuple:
        block, parameters = self.kept
        gradient = gradient.detach()
        copy = kernel(__file__, "checkpointing::copy(in0_p, in0->size, out0_p);")
        x = jt.code(self.x.shape, self.x.dtype, [self.x, gradient], **copy)
        x = x.start_grad() if self.differentiates_x else x.stop_grad()
        y = block(x)
        with forgetting():
            gradients = jt.grad((y * gradient).sum(), [*([x] if self.differentiates_x else []), *parameters])
        return tuple(gradients if self.differentiates_x else [None, *gradients])


def checkpointed(blocks: Iterable[nn.Module], x: jt.Var) -> jt.Var:
    """`blocks`, one after the other, of which those that train are checkpointed while they train.

    Each takes and gives one map (B,C,H,W).
    """
    for block in blocks:
        parameters = [parameter for parameter in block.parameters() if not parameter.is_stop_grad()]
        x = _Checkpointed(block, parameters)(x, *parameters) if parameters and not jt.flags.no_grad else block(x)
    return x

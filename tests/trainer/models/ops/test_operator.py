"""Operators: for how long they keep what their gradients need."""

import gc
import weakref

import numpy as np

from trainer.device import jt, var
from trainer.models.ops.operator import Operator


class Square(Operator):
    def execute(self, x: jt.Var) -> jt.Var:
        self.x = x
        return x * x

    def grad(self, gradient: jt.Var) -> jt.Var:
        return gradient * self.x * 2


def square(x: jt.Var) -> tuple[jt.Var, weakref.ref]:
    """The result, and what has computed it."""
    operator = Square()
    return operator(x), weakref.ref(operator)


def test_what_a_gradient_needs_is_kept_with_the_result() -> None:
    x = var(np.float32([1, 2, 3]))
    y, operator = square(x)
    gc.collect()
    assert operator() is not None and not y.is_stop_grad()
    assert jt.grad(y.sum(), x).numpy().tolist() == [2, 4, 6]


def test_without_a_gradient_nothing_is_kept_and_the_result_has_none_either() -> None:
    y, operator = square(var(np.float32([1, 2, 3])).stop_grad())
    gc.collect()
    assert operator() is None and y.is_stop_grad()
    assert y.numpy().tolist() == [1, 4, 9]

"""What all differentiable operators of our own are, and when they forget what they keep for their gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trainer.device import jt

_forgetful = False


class Operator(jt.Function):
    """``execute`` computes; ``grad`` gives the gradients by what ``execute`` has kept in attributes.

    These live as long as the graph of the whole step, or, inside `forgetting`, until the gradient has been built.
    Where no input has a gradient, as in frozen layers, they go at once, and the result has none either.
    """

    def __call__(self, *inputs: object) -> jt.Var | list[jt.Var]:
        if any(isinstance(one, jt.Var) and not one.is_stop_grad() for one in inputs):
            return super().__call__(*inputs)
        with jt.no_grad():
            return self.execute(*inputs)

    def _grad(self, *gradients: jt.Var) -> list:
        built = super()._grad(*gradients)
        if _forgetful:
            self.__dict__.clear()
        return built


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Inside, an operator keeps nothing once its gradient has been built, which then cannot be built again."""
    global _forgetful
    before, _forgetful = _forgetful, True
    try:
        yield
    finally:
        _forgetful = before

"""What all differentiable operators of our own are, and when they forget what they keep for their gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trainer.device import jt

_forgetful = False


class Operator(jt.Function):
    """``execute`` computes; ``grad`` gives the gradients by what ``execute`` has kept in attributes.

    These live as long as the graph of the whole step, or, inside `forgetting`, until the gradient has been built.
    """

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

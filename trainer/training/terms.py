"""The terms that a detector's ``loss(batch)`` returns, {name: Var (1,)}: losses, by their names, and monitors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trainer.device import jt


def total_loss(terms: dict[str, jt.Var]) -> jt.Var:
    """What is minimised: the plain sum, f32 (1,), as MMDetection's BaseDetector forms it."""
    total = jt.zeros(1)
    for term in minimised(terms):
        total = total + terms[term]
    return total


def minimised(terms: Mapping[str, object]) -> list[str]:
    """The names of the terms that are minimised."""
    return [name for name in terms if "loss" in name]


def packed(values: Iterable[jt.Var]) -> jt.Var:
    """Numbers (1,) as one f32 (values,), so that the host reads them with one copy.

    Without gradient: whoever keeps them until they are computed would else keep what their gradient needs.
    """
    return jt.concat([value.reshape(1).float32() for value in values]).stop_grad()

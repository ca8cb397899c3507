"""Boxes taken apart and put together: the last axis of a (..., 4) tensor as four tensors, and rows picked by index."""

from __future__ import annotations

from trainer.device import jt


def split(boxes: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var, jt.Var]:
    """(..., 4) -> four (...)."""
    return tuple(boxes[..., column] for column in range(4))


def join(first: jt.Var, second: jt.Var, third: jt.Var, fourth: jt.Var) -> jt.Var:
    """Four (...) -> (..., 4)."""
    return jt.stack([first, second, third, fourth], dim=-1)


def gather_rows(values: jt.Var, index: jt.Var) -> jt.Var:
    """Rows of each image by index; gradients of a row that is picked several times add up.

    Args:
        values: (B,N,D) or (B,N).
        index: i32 (B,K), in [0, N).

    Returns:
        (B,K,D) or (B,K).
    """
    return values.reindex([*index.shape, *values.shape[2:]], ["i0", "@e0(i0,i1)", "i2"][: values.ndim], extras=[index])

"""Operators whose CPU source calls oneDNN, the library that Jittor has installed for its own."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.device import jt, onednn_flags


def onednn(
    shapes: list[tuple[int, ...]], inputs: list[jt.Var], sources: dict[str, str], data: Mapping[str, float]
) -> list[jt.Var]:
    """jt.code for outputs f32 of `shapes`, such as [(B,O,H,W)], compiled and linked with oneDNN; no gradient.

    Args:
        sources: of `trainer.device.kernels.kernel`.
    """
    outputs = jt.code(shapes, ["float32"] * len(shapes), inputs, data=data, **sources)
    for output in outputs:
        output.compile_options = {f"FLAGS: {onednn_flags()} ": 1}
    return outputs

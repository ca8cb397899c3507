"""Feature pyramid network: every level gets the same number of channels and the context of all coarser ones.

    C5 ─1x1─► + ─────────────3x3─► P5 ─every second─► P6
              │ x2
    C4 ─1x1─► + ─────────────3x3─► P4
              │ x2      ...down to P2

Lin et al., "Feature Pyramid Networks for Object Detection"; mmdet's FPN with its defaults (no norm, no activation).
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.layers import Convolution, init_xavier_uniform, upsample_nearest
from trainer.models.registry import register
from trainer.models.values import Count, Counts


class ConvModule(nn.Module):
    """A convolution under the name that MMDetection's checkpoints give it: `conv`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        self.conv = Convolution(inputs, outputs, kernel)
        init_xavier_uniform(self.conv)

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,inputs,H,W) -> f32 (B,outputs,H,W)."""
        return self.conv(x)


@register
class FPN(nn.Module):
    """`num_outs` maps of `out_channels`; those beyond the inputs take every second pixel of the one before."""

    def __init__(self, in_channels: Counts, out_channels: Count, num_outs: Count, where: str = "neck") -> None:
        if num_outs < len(in_channels):
            raise UserError(
                f"{where}.num_outs is {num_outs}; expected {len(in_channels)} or more, one for each of in_channels"
            )
        self.lateral_convs = nn.ModuleList([ConvModule(channels, out_channels, 1) for channels in in_channels])
        self.fpn_convs = nn.ModuleList([ConvModule(out_channels, out_channels, 3) for _ in in_channels])
        self.extra = num_outs - len(in_channels)

    def execute(self, maps: list[jt.Var]) -> list[jt.Var]:
        """Maps f32 (B,C_i,h_i,w_i), each half of the one before -> `num_outs` maps f32 (B,out_channels,h_i,w_i)."""
        merged = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            finer = merged[i - 1]
            merged[i - 1] = finer + upsample_nearest(merged[i], finer.shape[2], finer.shape[3])
        outputs = [conv(x) for conv, x in zip(self.fpn_convs, merged, strict=True)]
        for _ in range(self.extra):
            outputs.append(outputs[-1][:, :, ::2, ::2])
        return outputs

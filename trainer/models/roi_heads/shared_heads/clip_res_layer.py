"""layer4 of CLIP's ResNet, applied to the features of every RoI: (R,16·width,14,14) -> (R,32·width,7,7)."""

from __future__ import annotations

from trainer.device import jt, nn
from trainer.models.backbones.clip_backbone import residual_stage
from trainer.models.checkpointing import checkpointed
from trainer.models.registry import register
from trainer.models.values import Count, FourCounts


@register
class CLIPResLayer(nn.Module):
    """UniDetector's CLIPResLayer; all of it trains, batch norms with fixed statistics.

    Args:
        layers: blocks of CLIP's four stages, of which the last counts here.
        width, with_cp: as CLIPResNet's.

    Attributes:
        layers: as above.
        in_channels, out_channels: of the features.
    """

    def __init__(self, layers: FourCounts = (3, 4, 6, 3), width: Count = 64, with_cp: bool = False) -> None:
        self.layers, self.with_cp = list(layers), with_cp
        self.in_channels, self.out_channels = 16 * width, 32 * width
        self.layer4 = residual_stage(self.in_channels, 8 * width, layers[3], halve=True)

    def execute(self, features: jt.Var) -> jt.Var:
        """RoI features f32 (R,16·width,h,w) -> f32 (R,32·width,h/2,w/2)."""
        return checkpointed(self.layer4, features) if self.with_cp else self.layer4(features)

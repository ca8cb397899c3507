"""CLIP's ResNet, the backbone of stage 2: an image becomes one map with stride 16 (C4).

    image ─ conv1 3x3/2 ─ conv2 3x3 ─ conv3 3x3 ─ pool /2 ─ layer1 ─ layer2 /2 ─ layer3 /2 ─► C4
            └──────── stem, each with bn and ReLU ──────┘

It differs from torchvision's ResNet in two ways: three small convolutions instead of a 7x7, and every stride is a
2x2 average pool instead of a stride of a convolution. layer4 is no part of it: it belongs to the RoIs, see
``roi_heads/shared_heads/clip_res_layer.py``. Batch norms use their running statistics always; their affine parameters
train. Parameters are named as in OpenAI's CLIP (``visual.*``) and in UniDetector's checkpoints.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"; CLIP's ModifiedResNet.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.checkpointing import checkpointed
from trainer.models.layers import Convolution, FixedBatchNorm, init_kaiming
from trainer.models.ops.average_pool import average_pool
from trainer.models.registry import register
from trainer.models.values import EvenCount, FourCounts


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut, f32 (B,C,H,W) -> (B,4·planes,H',W').

    With `halve` both paths average 2x2 pixels in front of their last convolution, so H' = H // 2.
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, halve: bool) -> None:
        outputs = planes * self.expansion
        self.halve = halve
        self.conv1 = Convolution(inputs, planes, 1, bias=False)
        self.bn1 = FixedBatchNorm(planes)
        self.conv2 = Convolution(planes, planes, 3, bias=False)
        self.bn2 = FixedBatchNorm(planes)
        self.conv3 = Convolution(planes, outputs, 1, bias=False)
        self.bn3 = FixedBatchNorm(outputs)
        self.downsample = None
        if halve or inputs != outputs:
            self.downsample = nn.Sequential(Convolution(inputs, outputs, 1, bias=False), FixedBatchNorm(outputs))

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,inputs,H,W) -> f32 (B,4·planes,H',W')."""
        out = self.bn1(self.conv1(x), with_relu=True)
        out = self.bn2(self.conv2(out), with_relu=True)
        if self.halve:
            out, x = average_pool(out), average_pool(x)
        return self.bn3(self.conv3(out), x if self.downsample is None else self.downsample(x), with_relu=True)


def residual_stage(inputs: int, planes: int, blocks: int, halve: bool) -> nn.Sequential:
    """`blocks` bottlenecks, the first of which changes the shape, initialised as CLIP does it.

    The last norm of each block starts at 0, which makes the block the identity.
    """
    stage = nn.Sequential(*(Bottleneck(planes * 4 if i else inputs, planes, halve and i == 0) for i in range(blocks)))
    for block in stage:
        block.bn3.weight.assign(jt.zeros(block.bn3.weight.shape))
    for module in stage.modules():
        if isinstance(module, nn.Conv):
            init_kaiming(module)
    return stage


@register
class CLIPResNet(nn.Module):
    """UniDetector's CLIPResNet.

    Args:
        layers: blocks of the four stages, the last of which is not built here; (3,4,6,3) is RN50, (4,6,10,6) RN50x4.
        width: channels of layer1's inner convolutions, even; 64 is RN50, 80 RN50x4. C4 has 16·width channels.
        frozen_stages: -1 nothing, 0 the stem, n the stem and the first n stages do not train.
        with_cp: see ResNet.
    """

    computes_in_half = True

    def __init__(
        self,
        layers: FourCounts = (3, 4, 6, 3),
        width: EvenCount = 64,
        frozen_stages: int = 1,
        with_cp: bool = False,
        where: str = "backbone",
    ) -> None:
        if frozen_stages not in range(-1, 4):
            raise UserError(f"{where}.frozen_stages: -1 to 3 is expected, found {frozen_stages!r}")
        self.layers, self.with_cp = list(layers), with_cp
        channels = (3, width // 2, width // 2, width)
        for i in (1, 2, 3):
            conv = Convolution(channels[i - 1], channels[i], 3, 2 if i == 1 else 1, bias=False)
            init_kaiming(conv)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", FixedBatchNorm(channels[i]))
        inputs = width
        for stage in (1, 2, 3):
            planes = width * 2 ** (stage - 1)
            setattr(self, f"layer{stage}", residual_stage(inputs, planes, layers[stage - 1], halve=stage > 1))
            inputs = planes * Bottleneck.expansion

        frozen = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3] if frozen_stages >= 0 else []
        frozen += [getattr(self, f"layer{stage}") for stage in range(1, frozen_stages + 1)]
        for module in frozen:
            for parameter in module.parameters():
                parameter.stop_grad()

    def stem(self, images: jt.Var) -> jt.Var:
        """Images f32 (B,3,H,W) -> f32 (B,width,H/4,W/4)."""
        x = self.bn1(self.conv1(images), with_relu=True)
        x = self.bn2(self.conv2(x), with_relu=True)
        return average_pool(self.bn3(self.conv3(x), with_relu=True))

    def execute(self, images: jt.Var) -> list[jt.Var]:
        """Images (B,3,H,W) -> one map of their type, (B,16·width,H/16,W/16); odd sizes lose their last row and
        column."""
        x = self.stem(images)
        for blocks in (self.layer1, self.layer2, self.layer3):
            x = checkpointed(blocks, x) if self.with_cp else blocks(x)
        return [x]

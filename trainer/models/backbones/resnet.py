"""ResNet, the backbone of stage 1: an image pyramid of four maps with strides 4, 8, 16 and 32.

    image ── conv1 7x7/2 ── bn1 ── max pool /2 ── layer1 ── layer2 /2 ── layer3 /2 ── layer4 /2
             └──────────── stem ────────────┘       C2        C3           C4           C5

Batch norms use their running statistics always; their affine parameters train. The first `frozen_stages` stages, and
with them the stem, do not train at all. Parameters are named as in torchvision's and MMDetection's checkpoints.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt, nn
from trainer.models.checkpointing import checkpointed
from trainer.models.layers import Convolution, FixedBatchNorm, init_kaiming
from trainer.models.precision import in_type, raised
from trainer.models.registry import register, require
from trainer.models.values import Count, Stages


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (depths 18 and 34)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, style: str) -> None:  # noqa: ARG002 - the style matters to Bottleneck only
        self.conv1 = Convolution(inputs, planes, 3, stride, bias=False)
        self.bn1 = FixedBatchNorm(planes)
        self.conv2 = Convolution(planes, planes, 3, bias=False)
        self.bn2 = FixedBatchNorm(planes)
        self.downsample = shortcut(inputs, planes * self.expansion, stride)

    @property
    def last_norm(self) -> FixedBatchNorm:
        """The norm in front of the addition."""
        return self.bn2

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,inputs,H,W) -> f32 (B,expansion·planes,H/stride,W/stride)."""
        out = self.bn1(self.conv1(x), with_relu=True)
        return self.bn2(self.conv2(out), x if self.downsample is None else self.downsample(x), with_relu=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (depths 50, 101, 152).

    The stride is in the 3x3 convolution with style 'pytorch', in the first 1x1 with style 'caffe'.
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, style: str) -> None:
        first, second = (1, stride) if style == "pytorch" else (stride, 1)
        self.conv1 = Convolution(inputs, planes, 1, first, bias=False)
        self.bn1 = FixedBatchNorm(planes)
        self.conv2 = Convolution(planes, planes, 3, second, bias=False)
        self.bn2 = FixedBatchNorm(planes)
        self.conv3 = Convolution(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = FixedBatchNorm(planes * self.expansion)
        self.downsample = shortcut(inputs, planes * self.expansion, stride)

    @property
    def last_norm(self) -> FixedBatchNorm:
        """The norm in front of the addition."""
        return self.bn3

    def execute(self, x: jt.Var) -> jt.Var:
        """f32 (B,inputs,H,W) -> f32 (B,expansion·planes,H/stride,W/stride)."""
        out = self.bn1(self.conv1(x), with_relu=True)
        out = self.bn2(self.conv2(out), with_relu=True)
        return self.bn3(self.conv3(out), x if self.downsample is None else self.downsample(x), with_relu=True)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """1x1 convolution and norm where the block changes the shape, else nothing."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(Convolution(inputs, outputs, 1, stride, bias=False), FixedBatchNorm(outputs))


ARCHITECTURES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


@register
class ResNet(nn.Module):
    """mmdet's ResNet with norm_eval=True.

    Args:
        depth: 18, 34, 50, 101 or 152.
        base_channels: channels of the stem; stage i has base_channels · 2^i (times 4 with bottlenecks).
        out_indices: stages whose outputs are returned, in order, of (0, 1, 2, 3).
        frozen_stages: -1 nothing, 0 the stem, n the stem and the first n stages.
        style: 'pytorch' or 'caffe', see Bottleneck.
        with_cp: checkpoint the blocks that train: less memory, and their forward pass a second time.
        zero_init_residual: start every block as the identity.
    """

    computes_in_half = True

    def __init__(
        self,
        depth: int,
        base_channels: Count = 64,
        num_stages: int = 4,
        out_indices: Stages = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = True,
        style: str = "pytorch",
        with_cp: bool = False,
        zero_init_residual: bool = True,
        where: str = "backbone",
    ) -> None:
        if depth not in ARCHITECTURES:
            raise UserError(f"{where}.depth: one of {', '.join(map(str, ARCHITECTURES))} is expected, found {depth!r}")
        if style not in ("pytorch", "caffe"):
            raise UserError(f"{where}.style: 'pytorch' or 'caffe' is expected, found {style!r}")
        if frozen_stages not in range(-1, 5):
            raise UserError(f"{where}.frozen_stages: -1 to 4 is expected, found {frozen_stages!r}")
        require(num_stages, 4, f"{where}.num_stages")
        require(norm_eval, True, f"{where}.norm_eval")
        norm_cfg = norm_cfg or {"type": "BN", "requires_grad": True}
        require(norm_cfg, {"type": "BN", "requires_grad": True}, f"{where}.norm_cfg")

        block, counts = ARCHITECTURES[depth]
        self.out_indices, self.with_cp = tuple(out_indices), with_cp
        self.conv1 = Convolution(3, base_channels, 7, 2, bias=False)
        self.bn1 = FixedBatchNorm(base_channels)
        self.maxpool = nn.Pool(3, stride=2, padding=1, op="maximum")
        channels = base_channels
        for stage, count in enumerate(counts):
            planes = base_channels * 2**stage
            blocks = []
            for i in range(count):
                blocks.append(block(channels, planes, 2 if stage > 0 and i == 0 else 1, style))
                channels = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self._init_weights(zero_init_residual)
        self._freeze(frozen_stages)

    def _init_weights(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv):
                init_kaiming(module)
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                module.last_norm.weight.assign(jt.zeros(module.last_norm.weight.shape))

    def _freeze(self, frozen_stages: int) -> None:
        frozen: list[nn.Module] = [self.conv1, self.bn1] if frozen_stages >= 0 else []
        frozen += [getattr(self, f"layer{stage}") for stage in range(1, frozen_stages + 1)]
        for module in frozen:
            for parameter in module.parameters():
                parameter.stop_grad()

    def execute(self, images: jt.Var) -> list[jt.Var]:
        """Images (B,3,H,W) -> the maps of `out_indices`, of their type, (B,C,H/4,W/4) to (B,8C,H/32,W/32), rounded
        up."""
        stem = self.bn1(self.conv1(images), with_relu=True)
        frozen = stem.is_stop_grad()
        x = in_type(self.maxpool(stem if frozen else raised(stem)), stem.dtype)  # its gradient adds up in its own type
        if frozen:
            x = x.stop_grad()  # Jittor does not say so of what comes of what has no gradient
        outputs = []
        for stage in range(4):
            blocks = getattr(self, f"layer{stage + 1}")
            x = checkpointed(blocks, x) if self.with_cp else blocks(x)
            outputs.append(x)
        return [outputs[i] for i in self.out_indices]

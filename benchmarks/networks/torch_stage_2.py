"""Stage 2 in PyTorch: CLIP's ResNet, its attention pooling and the head with text embeddings, written as CLIP and
UniDetector write them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks.torch_roi import BBoxHead, Sampled

HEAD_WIDTH = 64  # channels of one attention head


class Bottleneck(nn.Module):
    """CLIP's: strides are average pools."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * planes
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(planes, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(self.avgpool(x))))


def stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, planes, stride)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes, 1) for _ in range(blocks - 1)))


class CLIPResNet(nn.Module):
    """Up to C4; the stem and layer1 are frozen, all norms in evaluation mode."""

    def __init__(self, layers: list[int], width: int) -> None:
        super().__init__()
        channels = (3, width // 2, width // 2, width)
        for i in (1, 2, 3):
            stride = 2 if i == 1 else 1
            setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, stride, 1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels[i]))
        self.relu, self.avgpool = nn.ReLU(inplace=True), nn.AvgPool2d(2)
        self.layer1 = stage(width, width, layers[0], 1)
        self.layer2 = stage(4 * width, 2 * width, layers[1], 2)
        self.layer3 = stage(8 * width, 4 * width, layers[2], 2)
        for name, parameter in self.named_parameters():
            if not name.startswith(("layer2", "layer3")):
                parameter.requires_grad = False

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for i in (1, 2, 3):
            x = self.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return (self.layer3(self.layer2(self.layer1(self.avgpool(x)))),)


class SharedHead(nn.Module):
    """layer4."""

    def __init__(self, layers: list[int], width: int) -> None:
        super().__init__()
        self.layer4 = stage(16 * width, 8 * width, layers[3], 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(x)


class AttentionPool2d(nn.Module):
    """CLIP's."""

    def __init__(self, size: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(size**2 + 1, channels))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, outputs)
        self.heads = channels // HEAD_WIDTH

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        x, _ = functional.multi_head_attention_forward(
            query=x,
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=self.heads,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            need_weights=False,
        )
        return x[0]


class CLIPHead(BBoxHead):
    """UniDetector's BBoxHeadCLIP with its federated loss.

    Attributes:
        draw: which of the classes to add, given the weights of all and a number.
    """

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        embeddings = torch.from_numpy(np.load(config["zeroshot_path"]))
        text = torch.cat([embeddings.T, torch.zeros(embeddings.shape[1], 1)], 1)
        self.register_buffer("zs_weights", functional.normalize(text, dim=0))
        self.attnpool = AttentionPool2d(config["roi_feat_size"], config["in_channels"], embeddings.shape[1])
        self.fc_reg = nn.Linear(embeddings.shape[1], 4)
        self.federated = 50
        self.draw = lambda weights, number: torch.multinomial(weights, number, replacement=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = self.attnpool(features)
        return functional.normalize(x, dim=1) * 100 @ self.zs_weights, self.fc_reg(x)

    def losses(self, outputs: tuple, sampled: Sampled) -> dict[str, Tensor]:
        logits, deltas = outputs
        count, columns = logits.shape
        target = logits.new_zeros(count, columns)
        target[torch.arange(count), sampled.labels] = 1
        appeared = sampled.labels.unique()
        weights = logits.new_ones(columns)
        weights[appeared] = 0
        missing = self.federated - len(appeared)
        if missing > 0:
            appeared = torch.cat([appeared, self.draw(weights, missing)])
        chosen = logits.new_zeros(columns)
        chosen[appeared] = 1
        terms = functional.binary_cross_entropy_with_logits(logits[:, :-1], target[:, :-1], reduction="none")
        return {
            "loss_cls": (terms * chosen[:-1]).sum() / count,
            "loss_bbox": self.box_loss(deltas, sampled),
        }

    def scores(self, outputs: tuple, objectness: Tensor) -> Tensor:  # noqa: ARG002 - stage 1 needs it
        return outputs[0].sigmoid()

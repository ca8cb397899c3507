"""The CLIP detectors as PyTorch has them, at their full size, in a process of its own.

python -m tests.trainer.weights.torch_clip_detectors FOLDER CONFIG NAME ...     random weights of CONFIG's model in
                                                                              FOLDER/NAME.pth, as a runner saves them

The region proposal head is MMDetection's own; what it has not is written here as OpenAI's CLIP (ModifiedResNet,
AttentionPool2d) and UniDetector have it: a shortcut's pool is called -1, so that its convolution is 0; text embeddings
are a persistent buffer.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import OrderedDict
from pathlib import Path

from benchmarks.networks.mmcv_operators import Uncompiled

if importlib.util.find_spec("mmcv._ext") is None:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")

import mmdet.models  # noqa: F401 - registers everything
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

WIDTH = 64


class Bottleneck(nn.Module):
    """CLIP's, with a pool for a stride."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        if stride > 1 or inputs != 4 * planes:
            parts = {
                "-1": nn.AvgPool2d(stride),
                "0": nn.Conv2d(inputs, 4 * planes, 1, bias=False),
                "1": nn.BatchNorm2d(4 * planes),
            }
            self.downsample = nn.Sequential(OrderedDict(parts))


def stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * planes, planes, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, planes, stride), *rest)


class Backbone(nn.Module):
    """ModifiedResNet up to its third stage."""

    def __init__(self, layers: list[int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, WIDTH // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTH // 2)
        self.conv2, self.bn2 = nn.Conv2d(WIDTH // 2, WIDTH // 2, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH // 2)
        self.conv3, self.bn3 = nn.Conv2d(WIDTH // 2, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)
        self.layer1 = stage(WIDTH, WIDTH, layers[0], 1)
        self.layer2 = stage(4 * WIDTH, 2 * WIDTH, layers[1], 2)
        self.layer3 = stage(8 * WIDTH, 4 * WIDTH, layers[2], 2)


class SharedHead(nn.Module):
    """ModifiedResNet's last stage."""

    def __init__(self, layers: list[int]) -> None:
        super().__init__()
        self.layer4 = stage(16 * WIDTH, 8 * WIDTH, layers[3], 2)


class AttentionPool(nn.Module):
    """CLIP's AttentionPool2d for maps of 7x7."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(7 * 7 + 1, channels))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, outputs)


class BBoxHead(nn.Module):
    """BBoxHeadCLIP and, with several vocabularies, BBoxHeadCLIPPartitioned."""

    def __init__(self, zeroshot_path: str | list[str]) -> None:
        super().__init__()
        several = isinstance(zeroshot_path, list)
        for number, path in enumerate(zeroshot_path if several else [zeroshot_path]):
            text = torch.tensor(np.load(path)).float().T
            self.register_buffer(f"zs_weights_{number}" if several else "zs_weights", nn.functional.pad(text, (0, 1)))
        self.fc_reg = nn.Linear(1024, 4)
        self.attnpool = AttentionPool(2048, 1024)


class RoIHead(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        self.shared_head = SharedHead(config.shared_head.layers)
        self.bbox_head = BBoxHead(config.bbox_head.zeroshot_path)


class Detector(nn.Module):
    """What a config's `model` describes."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone.layers)
        if config.type == "FasterRCNN":
            self.rpn_head = MODELS.build({**config.rpn_head, "train_cfg": None, "test_cfg": None})
        self.roi_head = RoIHead(config.roi_head)


def main(folder: Path, *arguments: str) -> None:
    DefaultScope.get_instance("weights", scope_name="mmdet")
    torch.manual_seed(0)
    for path, name in zip(arguments[::2], arguments[1::2], strict=True):
        model = Detector(Config.fromfile(path).model)
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
        torch.save({"meta": {"epoch": 12}, "state_dict": model.state_dict()}, folder / f"{name}.pth")
        print(name, len(model.state_dict()), sum(parameter.numel() for parameter in model.parameters()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

"""What is trained in the step benchmark: configs, weights and a batch, the same numbers for both frameworks.

    case             backbone            images          RoIs per image   classes
    small stage 1    ResNet-18, 32 wide  4 of 160x192     64                    1
    small stage 2    CLIP, 16 wide       4 of 160x192     32                   80
    full stage 1     ResNet-50           1 of 512x672    512                    1
    full stage 2     CLIP RN50           1 of 512x672    128                 1203
    paper stage 1    ResNet-50           2 of 800x1344   512                    1
    paper stage 2    CLIP RN50           2 of 800x1344   512                 1203

The networks of the full cases are those of the paper; the batch is one image of half its side, and stage 2 trains on a
quarter of its RoIs, so that a round takes seconds on a CPU. The paper's cases are for a GPU.
"""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "models"
PARTS = ("backbone", "RPN", "assignment", "RoIAlign", "heads", "NMS", "optimizer", "step", "inference")
HALF = ("float16", "bfloat16")  # precisions
BOXES = 12  # of each image
PROPOSALS = 300  # of each image, in stage 2
OPTIMIZER = {
    "optimizer": {"type": "SGD", "lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-4},
    "clip_grad": {"max_norm": 35, "norm_type": 2},
}


@dataclass(frozen=True)
class Case:
    """One network with one size of batch."""

    stage: int
    full: bool
    images: int
    height: int
    width: int
    classes: int
    rois: int  # sampled of each image

    def model(self, folder: Path) -> dict[str, Any]:
        """The config's ``model``; a vocabulary that it names is written to `folder`."""
        if self.stage == 1:
            model = Config.fromfile(CONFIGS / ("cln_r50_fpn.py" if self.full else "cln_small.py")).model.to_dict()
            model["train_cfg"]["rcnn"]["sampler"]["num"] = self.rois
            return model
        layers, width = ([3, 4, 6, 3], 64) if self.full else ([1, 1, 1, 1], 16)
        embeddings = folder / f"vocabulary_{self.classes}_{16 * width}.npy"
        np.save(embeddings, _random("vocabulary").standard_normal((self.classes, 16 * width)).astype(np.float32))
        return _stage_2(layers, width, str(embeddings), self.classes, self.rois)


CASES = {
    "small stage 1": Case(1, False, 4, 160, 192, 1, 64),
    "small stage 2": Case(2, False, 4, 160, 192, 80, 32),
    "full stage 1": Case(1, True, 1, 512, 672, 1, 512),
    "full stage 2": Case(2, True, 1, 512, 672, 1203, 128),
    "paper stage 1": Case(1, True, 2, 800, 1344, 1, 512),
    "paper stage 2": Case(2, True, 2, 800, 1344, 1203, 512),
}


def _stage_2(layers: list[int], width: int, embeddings: str, classes: int, rois: int) -> dict[str, Any]:
    stage_1 = Config.fromfile(CONFIGS / "cln_r50_fpn.py").model.to_dict()
    head = stage_1["roi_head"]["bbox_head"]
    rcnn = copy.deepcopy(stage_1["train_cfg"]["rcnn"])
    rcnn["sampler"]["num"] = rois
    return {
        "type": "FastRCNN",
        "data_preprocessor": stage_1["data_preprocessor"],
        "backbone": {"type": "CLIPResNet", "layers": layers, "width": width},
        "roi_head": {
            "type": "StandardRoIHead",
            "shared_head": {"type": "CLIPResLayer", "layers": layers, "width": width},
            "bbox_roi_extractor": {
                "type": "SingleRoIExtractor",
                "roi_layer": {"type": "RoIAlign", "output_size": 14, "sampling_ratio": 0},
                "out_channels": 16 * width,
                "featmap_strides": [16],
            },
            "bbox_head": {
                "type": "BBoxHeadCLIP",
                "in_channels": 32 * width,
                "roi_feat_size": 7,
                "num_classes": classes,
                "bbox_coder": head["bbox_coder"],
                "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
                "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
                "zeroshot_path": embeddings,
            },
        },
        "train_cfg": {"rcnn": rcnn},
        "test_cfg": {
            "rcnn": {
                "score_thr": 0.0001,
                "nms": {"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian"},
                "max_per_img": 300,
            }
        },
    }


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter or buffer by its name, f32; of the size at which signals neither vanish nor explode."""
    random = _random(name)
    if "rpn_reg" in name:  # distances from an anchor's centre: mmcv's RoIAlign raises an error at inverted boxes
        spread = 0.02 if len(shape) == 1 else 0.3 / np.sqrt(shape[1])
        return random.normal(0.5 * (len(shape) == 1), spread, shape).astype(np.float32)
    if name.endswith("running_var"):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    if len(shape) == 1:
        one = float(name.endswith("weight")) * (0.3 if name.endswith(("bn2.weight", "bn3.weight")) else 1.0)
        return (one + random.normal(0, 0.02, shape)).astype(np.float32)
    spread = np.sqrt(1.0 / np.prod(shape[1:]))
    return random.normal(0, spread, shape).astype(np.float32)


def batch(case: Case) -> dict[str, np.ndarray]:
    """Smooth random pictures and boxes: images u8 (B,H,W,3), boxes f32 (B,G,4), labels i32 (B,G), proposals f32
    (B,P,5) by descending score."""
    random = _random("batch")
    coarse = random.uniform(0, 255, (case.images, case.height // 16, case.width // 16, 3))
    images = np.kron(coarse, np.ones((1, 16, 16, 1))) + random.normal(0, 8, (case.images, case.height, case.width, 3))
    sides = np.array([case.width, case.height, case.width, case.height])
    boxes = _boxes(random, case.images, BOXES) * sides
    around = np.repeat(boxes, PROPOSALS // BOXES // 2, 1)
    size = np.tile(around[..., 2:] - around[..., :2], 2)
    around = around + random.normal(0, 0.1, around.shape) * size
    elsewhere = _boxes(random, case.images, PROPOSALS - around.shape[1]) * sides
    corners = np.clip(np.concatenate([around, elsewhere], 1), 0, sides)
    scores = np.sort(random.uniform(0, 1, (case.images, PROPOSALS, 1)), 1)[:, ::-1]
    order = random.permuted(np.tile(np.arange(PROPOSALS), (case.images, 1)), axis=1)
    corners = np.take_along_axis(corners, order[..., None], 1)
    return {
        "images": images.clip(0, 255).astype(np.uint8),
        "boxes": boxes.astype(np.float32),
        "labels": random.integers(0, case.classes, (case.images, BOXES)).astype(np.int32),
        "proposals": np.concatenate([corners, scores], 2).astype(np.float32),
    }


def cotangent(shape: tuple[int, ...], name: str) -> np.ndarray:
    """What an output's gradient is taken to be where a part is run alone, f32."""
    return _random(name).normal(0, 1e-3, shape).astype(np.float32)


def _boxes(random: np.random.Generator, images: int, count: int) -> np.ndarray:
    """Boxes (B,count,4) inside the unit square, a twentieth to a half of its side large."""
    size = np.exp(random.uniform(np.log(0.05), np.log(0.5), (images, count, 2)))
    corner = random.uniform(0, 1, size.shape) * (1 - size)
    return np.concatenate([corner, corner + size], 2)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))

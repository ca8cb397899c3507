"""The CLIP detectors with the sizes of the golden cases: configs, and the vocabulary files that they name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.parity import golden
from tests.parity.models import STAGE_1, first_k_keys
from trainer.models.registry import build
from trainer.models.roi_heads.standard_roi_head import StandardRoIHead

SOFT_NMS = {"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian"}
RCNN = {"score_thr": 1e-4, "nms": SOFT_NMS, "max_per_img": 100}

BBOX_HEAD = {
    "type": "BBoxHeadCLIP",
    "in_channels": 2048,
    "roi_feat_size": 7,
    "bbox_coder": STAGE_1["roi_head"]["bbox_head"]["bbox_coder"],
    "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
    "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
}

STAGE_2 = {
    "type": "FastRCNN",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [122.7709383, 116.7460125, 104.09373615],
        "std": [68.5005327, 66.6321579, 70.32316305],
        "bgr_to_rgb": True,
        "pad_size_divisor": 32,
    },
    "backbone": {"type": "CLIPResNet", "layers": [3, 4, 6, 3]},
    "roi_head": {
        "type": "StandardRoIHead",
        "shared_head": {"type": "CLIPResLayer", "layers": [3, 4, 6, 3]},
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 14, "sampling_ratio": 0},
            "out_channels": 1024,
            "featmap_strides": [16],
        },
        "bbox_head": BBOX_HEAD,
    },
    "train_cfg": {"rcnn": STAGE_1["train_cfg"]["rcnn"]},
    "test_cfg": {"rcnn": RCNN},
}

END_TO_END = {
    **STAGE_2,
    "type": "FasterRCNN",
    "rpn_head": {
        "type": "RPNHead",
        "in_channels": 1024,
        "feat_channels": 1024,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [2, 4, 8, 16, 32],
            "ratios": [0.5, 1.0, 2.0],
            "strides": [16],
        },
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": [1.0] * 4},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    },
    "train_cfg": {
        "rpn": {key: STAGE_1["train_cfg"]["rpn"][key] for key in ("assigner", "sampler", "allowed_border")},
        "rpn_proposal": {"nms_pre": 12000, "nms": {"type": "nms", "iou_threshold": 0.7}, "max_per_img": 2000},
        "rcnn": STAGE_1["train_cfg"]["rcnn"],
    },
    "test_cfg": {
        "rpn": {"nms_pre": 6000, "nms": {"type": "nms", "iou_threshold": 0.7}, "max_per_img": 1000},
        "rcnn": RCNN,
    },
}


def write_embeddings(folder: Path, seed: int, dataset: int, classes: int) -> str:
    """The golden embeddings of a data set as a .npy file; its path."""
    path = folder / f"embeddings_{seed}_{dataset}_{classes}.npy"
    np.save(path, golden.embedding(seed, dataset, classes))
    return str(path)


def write_image_counts(folder: Path, counts: np.ndarray) -> str:
    """Image counts (C,) as a JSON list of categories, not in the order of their ids; its path."""
    path = folder / "image_counts.json"
    categories = [{"id": 10 + i, "name": f"class {i}", "image_count": int(count)} for i, count in enumerate(counts)]
    path.write_text(json.dumps(categories[::-1]))
    return str(path)


def build_roi_head(bbox_head: dict, test_cfg: dict) -> StandardRoIHead:
    """A RoI head whose shared head is left out (the golden features of cases 3 and 4 are those behind it)."""
    head = build(
        {**STAGE_2["roi_head"], "shared_head": None, "bbox_head": bbox_head},
        "model.roi_head",
        train_cfg=STAGE_2["train_cfg"]["rcnn"],
        test_cfg=test_cfg,
    )
    head.sampler.keys = head.bbox_head.keys = first_k_keys
    return head

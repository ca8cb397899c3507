"""Models filled with the golden weights, and gradients by parameter name."""

from __future__ import annotations

import copy

import numpy as np

from shared.batch import BOX_MULTIPLE, blank_arrays, padded
from tests.parity import golden
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.ops.random_keys import Draw

EVERYTHING = 1_000_000  # as a number of samples: nothing is left to choose

STAGE_1 = {
    "type": "FasterRCNN",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_size_divisor": 32,
    },
    "backbone": {
        "type": "ResNet",
        "depth": 50,
        "base_channels": 64,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "frozen_stages": 1,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": True,
        "style": "pytorch",
    },
    "neck": {"type": "FPN", "in_channels": [256, 512, 1024, 2048], "out_channels": 256, "num_outs": 5},
    "rpn_head": {
        "type": "OlnRPNHead",
        "in_channels": 256,
        "feat_channels": 256,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [8],
            "ratios": [1.0],
            "strides": [4, 8, 16, 32, 64],
        },
        "bbox_coder": {"type": "TBLRBBoxCoder", "normalizer": 1.0},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.0},
        "reg_decoded_bbox": True,
        "skip_border_boxes": True,
        "loss_bbox": {"type": "IoULoss", "linear": True, "loss_weight": 10.0},
        "objectness_type": "Centerness",
        "loss_objectness": {"type": "L1Loss", "loss_weight": 1.0},
    },
    "roi_head": {
        "type": "OlnRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            "out_channels": 256,
            "featmap_strides": [4, 8, 16, 32],
            "finest_scale": 56,
        },
        "bbox_head": {
            "type": "Shared2FCBBoxScoreHead",
            "in_channels": 256,
            "fc_out_channels": 1024,
            "roi_feat_size": 7,
            "num_classes": 1,
            "bbox_coder": {
                "type": "DeltaXYWHBBoxCoder",
                "target_means": [0.0] * 4,
                "target_stds": [0.1, 0.1, 0.2, 0.2],
            },
            "reg_class_agnostic": False,
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
            "bbox_score_type": "BoxIoU",
            "loss_bbox_score": {"type": "L1Loss", "loss_weight": 1.0},
            "alpha": 0.3,
        },
    },
    "train_cfg": {
        "rpn": {
            "assigner": {"type": "MaxIoUAssigner", "pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3},
            "sampler": {"type": "RandomSampler", "num": 256, "pos_fraction": 0.5},
            "objectness_assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.3,
                "neg_iou_thr": 0.1,
                "min_pos_iou": 0.3,
            },
            "objectness_sampler": {"type": "RandomSampler", "num": 256, "pos_fraction": 1.0},
            "allowed_border": 0,
        },
        "rpn_proposal": {"nms_pre": 2000, "min_bbox_size": 0},
        "rcnn": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.5,
                "min_pos_iou": 0.5,
                "match_low_quality": False,
            },
            "sampler": {"type": "RandomSampler", "num": 512, "pos_fraction": 0.25, "add_gt_as_proposals": True},
        },
    },
    "test_cfg": {
        "rpn": {"nms_pre": 2000, "min_bbox_size": 0},
        "rcnn": {"score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.9}, "max_per_img": 1500},
    },
}


def stage_1(**changes: object) -> dict:
    """A copy of the stage-1 model config with values replaced by dotted path, ``**{'rpn_head.feat_channels': 8}``."""
    return changed(STAGE_1, **changes)


def changed(config: dict, **changes: object) -> dict:
    """A copy of `config` with values replaced or added by dotted path."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        place = config
        for parent in parents:
            place = place[parent]
        place[leaf] = copy.deepcopy(value)  # later paths may lead into it
    return config


def fill(module: nn.Module, prefix: str, seed: int) -> None:
    """Give every parameter and buffer its golden value; `prefix` is the module's name in the detector, with a dot.

    Vocabularies stay: they come from the config's files.
    """
    for name, value in module.named_parameters():
        if "zs_weights" in name:
            continue
        value.assign(var(golden.parameter(prefix + name, value.shape, seed)))


def first_k_keys(_draw: Draw, shape: tuple[int, int]) -> jt.Var:
    """Sampling keys that pick the lowest indices."""
    return var(np.broadcast_to(1 - (np.arange(shape[1]) + 0.5) / shape[1], shape), "float32")


def gradients(loss: jt.Var, module: nn.Module, prefix: str) -> dict[str, np.ndarray]:
    """Gradients of all trainable parameters by full name."""
    named = [(prefix + name, value) for name, value in module.named_parameters() if not value.is_stop_grad()]
    values = jt.grad(loss, [value for _, value in named])
    return {name: value.numpy() for (name, _), value in zip(named, values, strict=True)}


def batch_of(case: golden.Case) -> Batch:
    """The case's ground truths and image sizes as a batch (without images), padded to a multiple of 8 boxes."""
    images = len(case["in.img_shape"])
    counts = [len(case[f"in.gt_bboxes.{i}"]) for i in range(images)]
    arrays = blank_arrays(images, 32, 32, padded(max(counts), BOX_MULTIPLE))
    arrays["image_shapes"][:] = case["in.img_shape"][:, :2]
    arrays["scale_factors"][:] = case["in.scale_factor"]
    arrays["dataset_ids"][:] = case.values.get("in.dataset_id", 0)
    arrays["box_counts"][:] = counts
    for i, count in enumerate(counts):
        arrays["boxes"][i, :count] = case[f"in.gt_bboxes.{i}"]
        arrays["labels"][i, :count] = case[f"in.gt_labels.{i}"]
    return Batch.from_arrays(arrays)


def features_of(case: golden.Case, number: str, levels: int = 5) -> list[jt.Var]:
    """The generated feature maps of a case, fine to coarse."""
    maps = []
    for i in range(levels):
        name = f"{number}.feat{i}"
        maps.append(var(case.generated(name, golden.feature(case.seed, number, i, case[f"in.shape.{name}"]))))
    return maps


def scatter(index: jt.Var, values: jt.Var, weights: jt.Var, size: int, rest: float = 0.0) -> np.ndarray:
    """Sampled values (B,K,...) back at their places (B,size,...), `rest` where nothing was sampled."""
    index, values, used = index.numpy(), values.numpy(), weights.numpy() > 0
    out = np.full((len(index), size, *values.shape[2:]), rest, values.dtype)
    for b in range(len(index)):
        out[b, index[b][used[b]]] = values[b][used[b]]
    return out

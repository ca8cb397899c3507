"""Small detectors of every kind as a user has them: config files, checkpoints, vocabularies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.embeddings import write_names
from tests.parity.models import changed
from tests.trainer.models.clip_examples import LENGTH, small_clip_model
from tests.trainer.models.examples import fill_with_sequences, small_model
from trainer.device import nn, seed, var
from trainer.models import build_detector
from trainer.weights import checkpoint

NAMES = [f"thing {number}" for number in range(11)] + ["Red star"]
HARD_NMS = {"score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 5000}


def write_table(folder: Path, stem: str, names: list[str], seed: int) -> Path:
    """Random text embeddings with their names beside them."""
    path = folder / f"{stem}.npy"
    np.save(path, np.random.default_rng(seed).standard_normal((len(names), LENGTH)).astype(np.float16))
    write_names(path, names)
    return path


def write_config(path: Path, model: dict, **pipeline: object) -> Path:
    """A config file for detecting: the model, and a test pipeline that fits images into 128x96."""
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (128, 96), "keep_ratio": True},
        {"type": "PackDetInputs"},
    ]
    if pipeline:
        steps.insert(1, {"type": "LoadProposals", **pipeline})
    loader = {"batch_size": 1, "dataset": {"type": "CocoDataset", "pipeline": steps}}
    path.write_text(f"model = {model!r}\ntest_dataloader = {loader!r}\n")
    return path


def write_weights(path: Path, detector: nn.Module) -> Path:
    checkpoint.save(path, detector, None, {"epoch": 1, "step": 0}, {}, None)
    return path


def write_stage_1(folder: Path) -> tuple[Path, Path]:
    """Config and checkpoint of a stage 1 that finds 60 boxes, of a third of their anchor's size to each side."""
    model = small_model(**{"test_cfg.rpn.nms_pre": 100, "test_cfg.rcnn.max_per_img": 60})
    seed(3)
    detector = build_detector(model)
    detector.rpn_head.rpn_reg.bias.assign(var(np.full(4, 0.3, np.float32)))
    return write_config(folder / "stage_1.py", model), write_weights(folder / "stage_1.safetensors", detector)


def write_clip(folder: Path, kind: str, head: str = "BBoxHeadCLIP", **changes: object) -> tuple[Path, Path]:
    """Config and checkpoint of 'FasterRCNN' or 'FastRCNN' with the 12 classes NAMES and NMS that cuts nothing off."""
    table = write_table(folder, f"vocabulary_{kind}", NAMES, seed=1)
    model = small_clip_model(
        folder, kind, **{"roi_head.bbox_head.zeroshot_path": str(table), "test_cfg.rcnn": HARD_NMS, **changes}
    )
    if head != "BBoxHeadCLIP":
        model = changed(model, **{"roi_head.bbox_head.type": head, "roi_head.bbox_head.beta": 0.3})
    pipeline = {"num_max_proposals": 8} if kind == "FastRCNN" else {}
    config = write_config(folder / f"{kind}.py", model, **pipeline)
    detector = build_detector(model)
    fill_with_sequences(detector)
    return config, write_weights(folder / f"{kind}.safetensors", detector)

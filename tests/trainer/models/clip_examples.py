"""Small CLIP detectors and the RoIs that tests of their heads hand-make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.parity.clip_models import BBOX_HEAD, END_TO_END, STAGE_2
from tests.parity.models import changed
from tests.trainer.models.examples import random_batch
from trainer.batch import Batch
from trainer.device import jt, var
from trainer.models.boxes.sample import Samples
from trainer.models.ops.random_keys import Draw, Use
from trainer.models.registry import build
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead
from trainer.models.roi_heads.standard_roi_head import SampledRoIs

WIDTH = 8  # of the backbone; C4 has 16 times as many channels, RoI features behind the shared head 32 times
LENGTH = 32  # of text embeddings
BLOCKS = [1, 1, 1, 1]

# By dotted path into a config's model.
SMALL_STAGE_2 = {
    "backbone": {"type": "CLIPResNet", "layers": BLOCKS, "width": WIDTH},
    "roi_head.shared_head": {"type": "CLIPResLayer", "layers": BLOCKS, "width": WIDTH},
    "roi_head.bbox_roi_extractor.out_channels": 16 * WIDTH,
    "roi_head.bbox_head.in_channels": 32 * WIDTH,
    "train_cfg.rcnn.sampler.num": 32,
}
SMALL_END_TO_END = {
    **SMALL_STAGE_2,
    "rpn_head.in_channels": 16 * WIDTH,
    "rpn_head.feat_channels": 16 * WIDTH,
    "train_cfg.rpn.sampler.num": 64,
    "train_cfg.rpn_proposal.max_per_img": 64,
    "test_cfg.rpn.max_per_img": 64,
}


def write_vocabulary(folder: Path, classes: int, seed: int = 0) -> str:
    """Random text embeddings as a .npy file of float16, as they are published; its path."""
    path = folder / f"vocabulary_{classes}_{seed}.npy"
    np.save(path, np.random.default_rng(seed).standard_normal((classes, LENGTH)).astype(np.float16))
    return str(path)


def small_clip_model(folder: Path, kind: str = "FastRCNN", **changes: object) -> dict:
    """Stage 2 ('FastRCNN') or the end-to-end variant ('FasterRCNN') with one block per stage and 12 classes."""
    vocabulary = {
        "roi_head.bbox_head.num_classes": 12,
        "roi_head.bbox_head.zeroshot_path": write_vocabulary(folder, 12),
    }
    if kind == "FasterRCNN":
        return changed(END_TO_END, **{**SMALL_END_TO_END, **vocabulary, **changes})
    return changed(STAGE_2, **{**SMALL_STAGE_2, **vocabulary, **changes})


def batch_with_proposals(*size: int, counts: tuple[int, int] = (20, 11), seed: int = 0, **more: object) -> Batch:
    """Two random images, a label for every box, and 24 rows of proposals of which `counts` count.

    The others are large and have high scores.
    """
    batch = random_batch(*size, seed=seed, **more)
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 60, (2, 24, 2))
    table = np.concatenate([corners, corners + generator.uniform(8, 40, (2, 24, 2)), generator.random((2, 24, 1))], 2)
    for rows, count in zip(table, counts, strict=True):
        rows[count:] = [0, 0, 90, 70, 1]
    batch.host["labels"] = generator.integers(0, 12, batch.labels.shape).astype(np.int32)
    batch.labels = var(batch.host["labels"])
    batch.proposals, batch.proposal_counts = var(table, "float32"), var(counts, "int32")
    return batch


def make_head(folder: Path, **changes: object) -> CLIPHead:
    """A small box head of one vocabulary of 12 classes."""
    small = {"in_channels": 64, "roi_feat_size": 2, "num_classes": 12, "zeroshot_path": write_vocabulary(folder, 12)}
    return build({**BBOX_HEAD, **small, **changes}, "model.roi_head.bbox_head")


def sampled_rois(
    head: CLIPHead, labels: list[list[int]], positive: list[list[int]], targets: np.ndarray, ids: list[int] = (0, 0)
) -> SampledRoIs:
    """RoIs with given labels (B,K), -1 for empty slots, and delta targets f32 (B·K,4)."""
    labels = np.array(labels)
    shape = labels.shape
    boxes = var(np.broadcast_to(np.array([8, 8, 40, 40], np.float32), (*shape, 4)))
    positives = np.array(positive, np.float32)
    samples = Samples(
        index=jt.zeros(shape, "int32"),
        positive=var(positives),
        weight=var(labels >= 0, "float32"),
        truth=jt.zeros(shape, "int32"),
        positives=var(positives.sum(1)),
        negatives=var(((labels >= 0) - positives).sum(1), "float32"),
    )
    truths = head.coder.decode(boxes, var(targets.reshape(*shape, 4)))
    labels, ids = var(np.maximum(labels, 0), "int32"), np.array(ids, np.int32)
    return SampledRoIs(boxes, truths, labels, samples, ids, Draw(0, 0, Use.CLASSES))

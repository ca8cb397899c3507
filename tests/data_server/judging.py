"""The data server's metrics over made-up detections, in this process, and MMDetection's own over the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.config import ConfigDict

from shared.data_part import from_plain
from shared.layout import Layout
from shared.predictions import arrays_of

if TYPE_CHECKING:
    from data_server.datasets.part import Part
    from data_server.datasets.parts import Datasets


def built(config: dict[str, Any]) -> Datasets:
    """The data sets of a data part."""
    from data_server.datasets.parts import Datasets

    with contextlib.redirect_stdout(None):  # pycocotools chats
        return Datasets(from_plain(config))


def detections(part: Part, index: int, perfect: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and labels in image `index` of a data set: what is there, or (a function of `index`) not quite."""
    own = [one for one in part.dataset.get_data_info(index)["instances"] if not one["ignore_flag"]]
    boxes = np.array([one["bbox"] for one in own], np.float32).reshape(-1, 4)
    labels = np.array([0 if part.class_agnostic else one["bbox_label"] for one in own], np.int32)
    if perfect:
        return boxes, np.full(len(own), 0.9, np.float32), labels
    random = np.random.default_rng(index)
    labels = np.where(random.random(len(labels)) < 0.8, labels, random.integers(0, len(part.classes), len(labels)))
    moved = boxes + random.normal(0, 2, boxes.shape).astype(np.float32)
    return moved, random.uniform(0.05, 0.95, len(own)).astype(np.float32), labels.astype(np.int32)


def nothing(_part: Part, _index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `detections`, of a detector that finds nothing."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)


def judge(
    datasets: Datasets,
    metrics: list[dict[str, Any]],
    perfect: bool = False,
    detect: Callable[[Part, int], tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None,
) -> dict[str, float]:
    """Metrics of `detections`, or what else `detect` finds, in all images, which are called as batches call them."""
    from data_server.datasets import samples
    from data_server.workers import evaluator

    detect = detect or partial(detections, perfect=perfect)
    made = [samples.load(datasets, index, 0) for index in range(len(datasets))]
    found = [detect(*datasets.locate(index)) for index in range(len(datasets))]
    arrays = arrays_of([one.image_id for one in made], [one.original_shape for one in made], found)
    layout = Layout.of(arrays)
    with contextlib.redirect_stdout(None):
        return evaluator.evaluate(datasets, metrics, [(layout.wire, layout.filled(arrays).tobytes())])


def mmdetections(part: Part, metric: dict[str, Any], perfect: bool) -> dict[str, float]:
    """What MMDetection's own metric says of `detections` in one data set."""
    import torch
    from mmdet.registry import METRICS

    with contextlib.redirect_stdout(None):
        own = METRICS.build(ConfigDict(metric))
        own.dataset_meta = part.dataset.metainfo
        for index in range(len(part.dataset)):
            info = part.dataset.get_data_info(index)
            boxes, scores, labels = map(torch.tensor, detections(part, index, perfect))
            instances = {"bboxes": boxes, "scores": scores, "labels": labels.long()}
            shape = info["height"], info["width"]
            truth = {
                kind: {
                    "bboxes": torch.tensor([one["bbox"] for one in ones], dtype=torch.float32).reshape(-1, 4),
                    "labels": torch.tensor([one["bbox_label"] for one in ones], dtype=torch.int64),
                }
                for kind, ones in (
                    ("gt_instances", [one for one in info["instances"] if not one["ignore_flag"]]),
                    ("ignored_instances", [one for one in info["instances"] if one["ignore_flag"]]),
                )
            }
            own.process({}, [{"img_id": info["img_id"], "ori_shape": shape, "pred_instances": instances, **truth}])
        return {name: float(value) for name, value in own.evaluate(len(part.dataset)).items()}

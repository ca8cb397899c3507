"""MMDetection's own metrics, built from ``val_evaluator`` by its registry.

A metric that takes an annotation file and names none gets the data set's own; those that judge by boxes in the samples
(VOC, OpenImages) get them from the data set's annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmdet.evaluation.metrics import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import ConfigDict

from data_server.datasets.parts import Datasets
from data_server.handover.predictions import Record
from data_server.workers.metrics import arrays_of
from shared.keys import unknown

TYPES = ()  # all that no other adaptor has
_RECALLS = ("100", "300", "1000")


def evaluate(datasets: Datasets, config: dict[str, Any], predictions: list[Record]) -> dict[str, Any]:
    """Metric name -> value.

    Raises:
        UserError: MMDetection has no metric of this type.
    """
    metric = _build(config, datasets)
    truth = {} if isinstance(metric, CocoMetric) else _truth(datasets)
    for sample in _samples(predictions):
        metric.process({}, [sample | truth.get(sample["img_id"], {})])
    return _honest_names(metric, metric.evaluate(len(metric.results)))


def _honest_names(metric: Any, values: dict[str, float]) -> dict[str, float]:
    """MMDetection calls the recalls of its metric ``proposal`` AR@100, AR@300 and AR@1000 whatever ``proposal_nums``
    says; this says what they are."""
    if not isinstance(metric, CocoMetric) or metric.metrics != ["proposal"]:
        return values
    names = dict(zip(_RECALLS, metric.proposal_nums, strict=False))
    renamed = {}
    for name, value in values.items():
        head, at, number = name.partition("@")
        renamed[f"{head}@{names[number]}" if at and number in names else name] = value
    return renamed


def _build(config: dict[str, Any], datasets: Datasets) -> Any:
    config = dict(config)
    part = datasets.parts[0]
    metric_class = METRICS.get(config["type"])
    if metric_class is None:
        raise unknown("evaluator", "type", config["type"], METRICS.module_dict)
    if part.annotation_file and "ann_file" in inspect.signature(metric_class).parameters:
        config.setdefault("ann_file", part.annotation_file)
    if config["type"] == "LVISMetric":
        vars(np).setdefault("float", float)  # lvis 0.5.3, its last release, says np.float; numpy no longer does
    metric = METRICS.build(ConfigDict(config))
    metric.dataset_meta = part.dataset.metainfo
    if getattr(metric, "img_ids", ()) is None:  # a data set of a part of the file's images is judged by those alone
        metric.img_ids = sorted(part.dataset.get_data_info(index)["img_id"] for index in range(len(part.dataset)))
    return metric


def _truth(datasets: Datasets) -> dict[int, dict[str, Any]]:
    """What MMDetection's test pipelines add to a sample for metrics that read no annotation file, by image id."""
    part, found = datasets.parts[0], {}
    for index in range(len(part.dataset)):
        info = part.dataset.get_data_info(index)
        instances = [{**one, "bbox_label": 0} if part.class_agnostic else one for one in info["instances"]]
        ignored = np.array([one["ignore_flag"] for one in instances], bool)
        boxes = torch.tensor([one["bbox"] for one in instances], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([one["bbox_label"] for one in instances], dtype=torch.int64)
        carried = {key: info[key] for key in ("image_level_labels",) if key in info}
        found[part.stream_id(index, index)] = {
            "gt_instances": {"bboxes": boxes[~ignored], "labels": labels[~ignored]},
            "ignored_instances": {"bboxes": boxes[ignored], "labels": labels[ignored]},
            "instances": instances,
            **carried,
        }
    return found


def _samples(predictions: list[Record]) -> Iterator[dict[str, Any]]:
    """MMDetection's data samples, as dicts."""
    for arrays in map(arrays_of, predictions):
        ends = np.cumsum(arrays["counts"])
        for row, end in enumerate(ends):
            part = slice(int(end - arrays["counts"][row]), int(end))
            yield {
                "img_id": int(arrays["image_ids"][row]),
                "ori_shape": tuple(int(n) for n in arrays["original_shapes"][row]),
                "pred_instances": {
                    "bboxes": torch.tensor(arrays["boxes"][part]),
                    "scores": torch.tensor(arrays["scores"][part]),
                    "labels": torch.tensor(arrays["labels"][part], dtype=torch.int64),
                },
            }

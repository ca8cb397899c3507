"""MMDetection's own metrics, built from ``val_evaluator`` by its registry.

A metric that takes an annotation file and names none gets the data set's own; those that judge by boxes in the samples
(VOC, OpenImages) get them from the data set's annotations.

Several data sets are judged one by one, each by its own annotations, as if it were alone::

    CocoMetric                                      every data set, by a metric of its own: a/coco/bbox_mAP where its
                                                    annotation file is a.json
    CocoMetric(ann_file='a.json')                   the data set of that annotation file
    MultiDatasetsEvaluator(metrics=[CocoMetric, CocoMetric], dataset_prefixes=['x', 'y'])
                                                    MMDetection's own: metric i for data set i, x/coco/bbox_mAP

Where a detector finds nothing at all, COCO's and LVIS's metrics give nothing, not even names; here they give zeros.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import CocoMetric, LVISMetric
from mmdet.registry import METRICS
from mmengine.config import ConfigDict

from data_server.datasets.ground_truth import Unusual, fits_numpy
from data_server.datasets.indexed import Indexed
from data_server.datasets.part import Part
from data_server.datasets.parts import Datasets
from data_server.files.local_copies import local
from data_server.handover.predictions import Record
from data_server.workers import ragged
from data_server.workers.array_metrics import over_arrays
from data_server.workers.metrics import arrays_of
from shared import source
from shared.datasets import told_apart
from shared.errors import UserError
from shared.keys import check_keys, unknown

ragged.allow()

TYPES = ()  # all that no other adaptor has
_OF_SEVERAL = "MultiDatasetsEvaluator"
_RECALLS = ("100", "300", "1000")

# A detection that matches nothing, for the metrics that cannot count without one.
_NOWHERE = {"bboxes": torch.zeros(1, 4), "scores": torch.zeros(1), "labels": torch.zeros(1, dtype=torch.int64)}

Predicted = dict[int, dict[str, Any]]  # what MMDetection calls a data sample, by the image's index in its data set


def check(config: dict[str, Any]) -> None:
    """Looks at a metric's type, keys and annotation file.

    Raises:
        UserError: one of them cannot be.
    """
    if config["type"].removeprefix("mmdet.") == _OF_SEVERAL:
        metrics = config.get("metrics") or []
        for metric in [metrics] if isinstance(metrics, dict) else metrics:
            check(_checked(metric))
        return
    parameters = inspect.signature(_class_of(config)).parameters.values()
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        check_keys(f"metric {config['type']!r}", config, ("type", "_scope_", *(one.name for one in parameters)))
    named = config.get("ann_file")
    remote = isinstance(named, str) and source.is_remote(named, config.get("backend_args"))
    if isinstance(named, str) and not remote and not source.is_there(named):
        where = f"metric {config['type']!r}: ann_file={named!r}"
        raise UserError(f"{where}: there is no such file; data_root is not put before it")


def evaluate(datasets: Datasets, config: dict[str, Any], predictions: list[Record]) -> dict[str, Any]:
    """Metric name -> value.

    Raises:
        UserError: MMDetection has no metric of this type, or it fits none of the data sets.
    """
    predicted = _by_data_set(datasets, predictions)
    metrics: list[dict[str, Any] | None]
    if config["type"].removeprefix("mmdet.") == _OF_SEVERAL:
        metrics, names = _metric_for_each(config, len(predicted))
    elif len(predicted) == 1:
        return _judge(config, *next(iter(predicted.items())))
    else:
        metrics = [config if _is_for(config, part) else None for part in predicted]
        names = _names(list(predicted))
        if not any(metrics):
            files = ", ".join(repr(part.annotation_file) for part in predicted)
            raise UserError(
                f"metric {config['type']!r}: ann_file={config['ann_file']!r} is of none of the data sets, whose "
                f"annotation files are {files}; leave ann_file out, and each is judged by its own"
            )
    values: dict[str, Any] = {}
    for name, metric, (part, samples) in zip(names, metrics, predicted.items(), strict=True):
        if metric is not None:
            values |= {f"{name}/{key}": value for key, value in _judge(metric, part, samples).items()}
    return values


def _metric_for_each(config: dict[str, Any], data_sets: int) -> tuple[list[dict[str, Any] | None], list[str]]:
    """The metrics of a ``MultiDatasetsEvaluator`` and what their data sets are called."""
    check_keys(_OF_SEVERAL, config, ("type", "metrics", "dataset_prefixes", "_scope_"))
    metrics, names = config.get("metrics") or [], list(config.get("dataset_prefixes") or ())
    metrics = [metrics] if isinstance(metrics, dict) else list(metrics)
    if not len(metrics) == len(names) == data_sets:
        raise UserError(
            f"{_OF_SEVERAL}: {len(metrics)} metrics and {len(names)} dataset_prefixes for {data_sets} data sets; give "
            "one of each for every data set, in their order"
        )
    if len(set(names)) < len(names):
        raise UserError(f"{_OF_SEVERAL}.dataset_prefixes {names}: two are alike; give each data set its own")
    return [_checked(metric) for metric in metrics], names


def _checked(metric: Any) -> dict[str, Any]:
    """A metric of a ``MultiDatasetsEvaluator``."""
    if not isinstance(metric, dict) or not isinstance(metric.get("type"), str):
        raise UserError(f"{_OF_SEVERAL}.metrics holds {metric!r:.80}; expected a dict with 'type'")
    return metric


def _class_of(config: dict[str, Any]) -> type:
    metric_class: type | None = METRICS.get(config["type"])
    if metric_class is None:
        raise unknown("evaluator", "type", config["type"], METRICS.module_dict)
    return metric_class


def _is_for(config: dict[str, Any], part: Part) -> bool:
    """Whether a metric judges a data set, one of several: unless it names another's annotation file."""
    named, own = config.get("ann_file"), part.annotation_file
    if named is None:
        return True
    return own is not None and Path(local(named, config.get("backend_args"))).resolve() == Path(own).resolve()


def _names(parts: list[Part]) -> list[str]:
    """What the data sets are called in metrics: as their annotation files, with a number where that is not enough."""
    return told_apart(
        [
            type(part.dataset).__name__ if part.annotation_file is None else Path(part.annotation_file).stem
            for part in parts
        ]
    )


def _judge(config: dict[str, Any], part: Part, predicted: Predicted) -> dict[str, Any]:
    metric_class = _class_of(config)
    if faster := over_arrays(metric_class, config):
        with suppress(Unusual):
            metric = _build(faster, config, part)
            _process(metric, part, predicted, _identities(part))
            return _honest_names(metric, metric.evaluate(len(metric.results)))
    return _judge_by_mmdetection(_build(metric_class, config, part), part, predicted)


def _judge_by_mmdetection(metric: Any, part: Part, predicted: Predicted) -> dict[str, Any]:
    identities = _identities(part)
    if isinstance(metric, CocoMetric) and not hasattr(metric, "_lvis_api"):
        identities = _fit_for_numpy(metric, {index: identities[index] for index in predicted})
    _process(metric, part, predicted, identities)
    values = metric.evaluate(len(metric.results))
    if (
        isinstance(metric, CocoMetric)
        and not metric.format_only
        and not any(_count(sample) for sample in predicted.values())
    ):
        metric.outfile_prefix = None  # what has been written is right: no detection
        nowhere = {index: {**sample, "pred_instances": _NOWHERE} for index, sample in predicted.items()}
        _process(metric, part, nowhere, identities)
        values = metric.evaluate(len(metric.results))
    return _honest_names(metric, values)


def _process(metric: Any, part: Part, predicted: Predicted, identities: Mapping[int, Any]) -> None:
    """Gives a metric all samples, with what is annotated where it reads no file."""
    from_samples = not isinstance(metric, CocoMetric) or getattr(metric, "_lvis_api", metric._coco_api) is None
    for index, sample in predicted.items():
        truth = _truth(part, part.dataset.get_data_info(index)) if from_samples else {}
        metric.process({}, [{"img_id": identities[index], **sample, **truth}])


@lru_cache(maxsize=8)
def _identities(part: Part) -> Mapping[int, Any]:
    """The ids of a data set's images by index; an image without one has its index."""
    if isinstance(part.dataset, Indexed):
        return dict(enumerate(np.asarray(part.dataset.identities(0, len(part))).tolist()))
    return {index: part.dataset.get_data_info(index).get("img_id", index) for index in range(len(part.dataset))}


def _count(sample: dict[str, Any]) -> int:
    return len(sample["pred_instances"]["scores"])


def _fit_for_numpy(metric: CocoMetric, identities: dict[int, Any]) -> Mapping[int, Any]:
    """pycocotools keeps image ids in an array. Images whose ids do not survive that are given numbers instead, in
    `metric` as well as in what is returned."""
    api = metric._coco_api
    known = list(identities.values()) if api is None else api.get_img_ids()
    if fits_numpy(known):
        return identities
    if metric.outfile_prefix is not None:
        raise UserError(
            f"metric {type(metric).__name__!r}: image ids that are all text or all numbers below 2^63 are needed for "
            "its files; leave outfile_prefix out"
        )
    number_of = {identity: number for number, identity in enumerate(known)}
    if api is not None:
        for image in api.dataset["images"]:
            image["id"] = number_of[image["id"]]
        for annotation in api.dataset.get("annotations", ()):
            annotation["image_id"] = number_of.get(annotation["image_id"], -1)
        api.createIndex()
        if metric.img_ids is not None:
            metric.img_ids = [number_of[identity] for identity in metric.img_ids]
    return {index: number_of[identity] for index, identity in identities.items()}


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


def _build(metric_class: type, config: dict[str, Any], part: Part) -> Any:
    config = {**config, "type": metric_class}
    if isinstance(named := config.get("ann_file"), str) and (copy := local(named, config.get("backend_args"))) != named:
        config |= {"ann_file": copy, "backend_args": None}
    if part.annotation_file and "ann_file" in inspect.signature(metric_class).parameters:
        reads_it = isinstance(part.dataset, CocoDataset) or not issubclass(metric_class, CocoMetric)
        config.setdefault("ann_file", part.annotation_file if reads_it else None)
    if issubclass(metric_class, LVISMetric):
        vars(np).setdefault("float", float)  # lvis 0.5.3, its last release, says np.float; numpy no longer does
    metric = METRICS.build(ConfigDict(config))
    metric.dataset_meta = part.dataset.metainfo
    if getattr(metric, "img_ids", ()) is None:  # a data set of a part of the file's images is judged by those alone
        metric.img_ids = list(_identities(part).values())
    return metric


def _truth(part: Part, info: dict[str, Any]) -> dict[str, Any]:
    """What MMDetection's test pipelines add to a sample for metrics that read no annotation file."""
    instances = [{**one, "bbox_label": 0} if part.class_agnostic else one for one in info["instances"]]
    ignored = np.array([one["ignore_flag"] for one in instances], bool)
    boxes = torch.tensor([one["bbox"] for one in instances], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([one["bbox_label"] for one in instances], dtype=torch.int64)
    return {
        "gt_instances": {"bboxes": boxes[~ignored], "labels": labels[~ignored]},
        "ignored_instances": {"bboxes": boxes[ignored], "labels": labels[ignored]},
        "instances": instances,
        **{key: info[key] for key in ("img_path", "image_level_labels") if key in info},
    }


def _by_data_set(datasets: Datasets, predictions: list[Record]) -> dict[Part, Predicted]:
    """MMDetection's data samples, as dicts, without the images' ids.

    An image that stands in for an unusable one (``feed.on_bad_sample``) is judged once.
    """
    predicted: dict[Part, Predicted] = {part: {} for part in datasets.parts}
    for arrays in map(arrays_of, predictions):
        ends = np.cumsum(arrays["counts"])
        for row, (part, index) in enumerate(datasets.located(arrays["image_ids"])):
            own = slice(int(ends[row] - arrays["counts"][row]), int(ends[row]))
            sample = {
                "ori_shape": tuple(int(n) for n in arrays["original_shapes"][row]),
                "pred_instances": {
                    "bboxes": torch.tensor(arrays["boxes"][own]),
                    "scores": torch.tensor(arrays["scores"][own]),
                    "labels": torch.tensor(arrays["labels"][own], dtype=torch.int64),
                },
            }
            predicted[part].setdefault(index, sample)
    return predicted

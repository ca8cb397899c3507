"""What an evaluation found in which image, from what it left and from the annotation files of its data sets.

dataset ── parts ──► annotations of each ──┐
val_evaluator ──► what its metric counts ──┼─► Judged
predictions_<split>.npz ── by image id ────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.config_keys import class_name
from shared.datasets import parts_of, told_apart
from shared.errors import UserError
from shared.image_ids import stream_ids
from trainer.evaluation import predictions
from trainer.feed.loader import BadImage, Loader
from trainer.recipe.annotated import LVIS, read
from trainer.recipe.steps import Step
from trainer.reporting.judged import Judged

_SEVERAL = "MultiDatasetsEvaluator"
_COCO = "CocoMetric"
_RULE = "AP50 is the mean of precision at 101 recalls, at IoU 0.5, by COCO's rule; of several classes it is their mean."


def judged_by(step: Step, folder: Path) -> Judged | None:
    """The images of an evaluation; None where annotations are not in COCO's format, MMEngine alone can read them or the
    images, or no predictions were kept.

    Args:
        step: an evaluation.
        folder: its work dir.
    """
    split = "val" if step.config.get("val_evaluator") else "test"
    found = predictions.file_of(folder, split)
    if not found.is_file():
        return None
    parts = parts_of(step.config[f"{split}_dataloader"].dataset)
    metrics, names = _metrics(step.config[f"{split}_evaluator"], parts)
    sets = []
    for part, metric in zip(parts, metrics, strict=True):
        one = read(part, step.config.get("data_root") or "", metric)
        if one is None:
            return None
        sets.append(one)
    places = [(number, identity) for number, one in enumerate(sets) for identity in one.files]
    place_of = dict(zip(stream_ids([identity for _, identity in places]).tolist(), places, strict=True))
    counts = [len(one.names) for one in sets]
    firsts = np.cumsum([0, *counts]).tolist()
    results, paths = [], []
    with np.load(found) as arrays:
        image_ids, ends, each = arrays["image_ids"].tolist(), np.cumsum(arrays["counts"]), arrays["counts"]
        detected = arrays["boxes"], arrays["scores"], arrays["labels"]
    for image_id, end, count in zip(image_ids, ends, each, strict=True):
        number, identity = place_of[image_id]
        own = (array[end - count : end] for array in detected)
        results.append(sets[number].result(identity, *own, firsts[number]))
        paths.append((sets[number].files[identity], sets[number].load))
    return Judged(
        results,
        [name for one in sets for name in one.names],
        lambda index: _image(*paths[index]),
        names,
        np.repeat(np.arange(len(sets)), counts),
        _rule({class_name(metric["type"]) for metric in metrics}),
    )


def _metrics(evaluator: Any, parts: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The metric that decides what counts in each data set, and what metrics call the data sets."""
    names = told_apart([Path(part.get("ann_file") or str(part.get("type"))).stem for part in parts])
    entries = evaluator if isinstance(evaluator, list | tuple) else [evaluator]
    for one in entries:
        if class_name(one["type"]) == _SEVERAL:
            metrics = one["metrics"]
            return [metrics] if isinstance(metrics, Mapping) else list(metrics), list(one["dataset_prefixes"])
    # Of several metrics of one data set the first that draws such curves.
    own = next((one for one in entries if class_name(one["type"]) in (_COCO, LVIS)), entries[0])
    return [own] * len(parts), names


def _rule(metrics: set[str]) -> str:
    """How the curves count, and whether the evaluation's `metrics` do, too."""
    if metrics == {LVIS}:
        return f"{_RULE} As LVISMetric does, it leaves out detections of classes that an image was not searched for."
    others = ", ".join(sorted(metrics - {_COCO, LVIS}))
    return f"{_RULE} The evaluation's own {others} counts in another way." if others else _RULE


def _image(path: str, load: Loader) -> np.ndarray:
    """u8 (H,W,3), RGB."""
    try:
        return load(path)[:, :, ::-1]
    except BadImage as error:
        raise UserError(f"{error}; the report shows it") from None

"""``--task evaluate``: detections for every image of a split, metrics from the data server, a contact sheet to look at.

batches ──► detector ──► scores ─┬─ as they are ────────────► detections ──PREDICTIONS──► data server: MMDetection's
                                 ├─ calibrated ─────────────► detections ──PREDICTIONS──► own metric classes ──► METRICS
                                 └─ of shuffled embeddings ─► detections ──PREDICTIONS──►

Calibration and shuffling act on the scores of whole classes, so one pass through the network serves all. What the task
leaves in the work dir::

    results.json              {"checkpoint": F, "results": {"val_base": {"mAP": 0.4, ...}, "val_base, calibrated": ...}}
    predictions_<split>.npz   what was judged last, the arrays of `shared.messages.Predictions`
    contact_sheet.png         the first images with ground truth and the best detections
    drawn/<split>/<id>.jpg    with --draw, every image
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from shared.client import StreamFailed
from shared.config import section
from shared.errors import UserError
from shared.files import replace
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.evaluation.readings import CALIBRATED, PLAIN, readings, uncalibrated
from trainer.feed.feed import Feed
from trainer.feed.server import DataServer, DataServerLost
from trainer.models import Detections, build_detector
from trainer.reporting import contact_sheet
from trainer.reporting.picture_folder import FOLDER, Pictures
from trainer.reporting.table import table
from trainer.tasks import RESULTS_FILE, Request
from trainer.vocabulary.calibration import check_names
from trainer.weights import checkpoint, pretrained

SHEET_IMAGES = 8
SPLITS = ("val", "test")


@dataclass(frozen=True)
class Extras:
    """What an evaluation gives beside the metrics.

    Attributes:
        chance: metrics with shuffled embeddings, see `readings`.
        keeps: the predictions themselves.
        pictures: every image, drawn, in a folder for each split below this one; None: none is.
        threshold: see `Pictures`.
    """

    chance: bool = False
    keeps: bool = False
    pictures: Path | None = None
    threshold: float | None = None


METRICS_ONLY = Extras()


def run(request: Request) -> int:
    """Evaluates a checkpoint, by default the work dir's latest, on every split that has an evaluator."""
    model, path = load_model(request)
    request.say(f"evaluating {path}")
    options = request.options
    extras = Extras(options.chance, True, request.work_dir / FOLDER if options.draw else None, options.score_threshold)
    results = evaluate_all(model, request.config, request.server, request.work_dir, request.say, extras)
    content = {"checkpoint": str(path), "results": {name: finite(metrics) for name, metrics in results.items()}}
    try:
        replace(request.work_dir / RESULTS_FILE, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write the results into {request.work_dir}: {error.strerror}") from None
    print(results_table(results))
    return 0


def load_model(request: Request) -> tuple[nn.Module, Path]:
    """The config's model with the weights that were asked for, and the file they are from.

    Raises:
        UserError: there is no checkpoint, or it does not fit the model.
    """
    path = request.checkpoint or checkpoint.latest(request.work_dir)
    if path is None:
        raise UserError(
            f"nothing to {request.options.task}: no checkpoint in {request.work_dir}; give one with --checkpoint FILE"
        )
    model = build_detector(section(request.config, "model"))
    pretrained.load(path, model, request.say, complete=True)
    return model, Path(path)


def evaluate_all(
    model: nn.Module,
    config: Config,
    server: DataServer,
    work_dir: Path,
    say: Callable[[str], None],
    extras: Extras = METRICS_ONLY,
) -> dict[str, dict[str, float]]:
    """Metrics of every split that has an evaluator, by its display name; draws the first one's contact sheet."""
    splits = [split for split in SPLITS if config.get(f"{split}_evaluator") and config.get(f"{split}_dataloader")]
    if not splits:
        raise UserError(f"config {config.filename!r} has nothing to evaluate: no val_evaluator with a val_dataloader")
    results = {}
    for split in splits:
        sheet = work_dir / "contact_sheet.png" if split == splits[0] else None
        results |= evaluate(model, config, split, server, work_dir, say, sheet, extras)
    return results


def evaluate(
    model: nn.Module,
    config: Config,
    split: str,
    server: DataServer,
    work_dir: Path,
    say: Callable[[str], None],
    sheet: Path | None = None,
    extras: Extras = METRICS_ONLY,
) -> dict[str, dict[str, float]]:
    """The metrics of one split, by its display name and the reading of the scores; with `sheet`, draws its first images
    there."""
    head = model.roi_head.bbox_head
    ways = readings(head, extras.chance)
    title = display_name(config, split)
    pictures = Pictures(extras.pictures / title, extras.threshold) if extras.pictures is not None else None
    feed = Feed(server, config, split, work_dir, say, epochs=1)
    predictions: dict[str, list[dict[str, np.ndarray]]] = {f"{title}{way}": [] for way in ways}
    shown: list[tuple[np.ndarray, np.ndarray, Detections, str]] = []
    own = list(ways).index(CALIBRATED if CALIBRATED in ways else PLAIN)
    model.eval()
    try:
        head.check_classes(feed.classes, training=False)
        if getattr(head, "prior", None) is not None:
            check_names(head.prior, list(feed.classes[0]), "model.roi_head.bbox_head.calibration")
        with jt.no_grad(), uncalibrated(head):
            for batch in feed:
                found = [one[: batch.valid] for one in model.predict_readings(batch, list(ways.values()))]
                for kept, detections in zip(predictions.values(), found, strict=True):
                    kept.append(as_arrays(batch, detections))
                if sheet is not None and len(shown) < SHEET_IMAGES:
                    shown += tiles(batch, found[own])
                if pictures is not None:
                    pictures.add_batch(batch.images.numpy(), batch.host, found[own], label_names(model, feed))
                jt.sync_all()
        results = {name: feed.evaluate(kept) for name, kept in predictions.items()}
    except (UserError, StreamFailed, DataServerLost) as error:
        so_far = list(predictions.values())[own]
        if not so_far:
            raise
        raise type(error)(f"{error}; the predictions so far are in {keep(so_far, work_dir, split)}") from None
    finally:
        model.train()
        feed.close()
        jt.gc()
    if extras.keeps:
        keep(list(predictions.values())[own], work_dir, split)
    if sheet is not None:
        draw(sheet, shown[:SHEET_IMAGES])
    return {
        name: {key.removeprefix("coco/"): value for key, value in metrics.items()} for name, metrics in results.items()
    }


def label_names(model: nn.Module, feed: Feed) -> list[str]:
    """What the labels of a split are called; empty for a detector that tells no classes apart."""
    return [] if model.roi_head.bbox_head.num_classes == 1 else list(feed.classes[0])


def keep(predictions: list[dict[str, np.ndarray]], work_dir: Path, split: str) -> Path:
    """Writes predictions to ``predictions_<split>.npz``: the arrays of `shared.messages.Predictions`, all batches end
    to end."""
    path = work_dir / f"predictions_{split}.npz"
    work_dir.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: np.concatenate([one[name] for one in predictions]) for name in predictions[0]})
    return path


def as_arrays(batch: Batch, detections: list[Detections]) -> dict[str, np.ndarray]:
    """One batch's detections as the arrays of a PREDICTIONS message."""
    count = len(detections)
    return {
        "image_ids": batch.host["image_ids"][:count],
        "counts": np.array([len(one.scores) for one in detections], np.int32),
        "original_shapes": batch.host["original_shapes"][:count],
        "boxes": np.concatenate([one.boxes for one in detections] or [np.zeros((0, 4))]).astype(np.float32),
        "scores": np.concatenate([one.scores for one in detections] or [np.zeros(0)]).astype(np.float32),
        "labels": np.concatenate([one.labels for one in detections] or [np.zeros(0)]).astype(np.int32),
    }


def tiles(batch: Batch, detections: list[Detections]) -> list[tuple[np.ndarray, np.ndarray, Detections, str]]:
    """(RGB image, its true boxes, its detections in the image's pixels, title) for each valid image of a batch."""
    images = batch.images.numpy()
    result = []
    for row, found in enumerate(detections):
        height, width = batch.host["image_shapes"][row]
        scaled = Detections(found.boxes * batch.host["scale_factors"][row], found.scores, found.labels)
        truth = batch.host["boxes"][row, : batch.host["box_counts"][row]]
        result.append((images[row, :height, :width, ::-1], truth, scaled, f"image {batch.host['image_ids'][row]}"))
    return result


def draw(path: Path, shown: list[tuple[np.ndarray, np.ndarray, Detections, str]]) -> None:
    """Writes the contact sheet."""
    images, truths, found, titles = zip(*shown, strict=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet.draw(path, images, truths, [(one.boxes, one.scores) for one in found], titles)


def display_name(config: Config, split: str) -> str:
    """How a split is called in tables: by its annotation file."""
    annotations = config[f"{split}_dataloader"].dataset.get("ann_file")
    return Path(annotations).stem if annotations else split


def finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """What JSON can hold: a metric of nothing (no object of that size), which is NaN, becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def results_table(results: dict[str, dict[str, float]]) -> str:
    """One row for each split, one column for each metric."""
    names = list(dict.fromkeys(name for metrics in results.values() for name in metrics))
    rows = [["split", *names]]
    rows += [[split, *(metrics.get(name, float("nan")) for name in names)] for split, metrics in results.items()]
    return table(rows)

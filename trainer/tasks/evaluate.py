"""``--task evaluate``: detections for every image of a split, metrics from the data server, a contact sheet to look at.

batches ──► detector.predict ──► detections ──PREDICTIONS──► data server: MMDetection's own metric classes ──► METRICS
                                    ├──► the first images with ground truth and best proposals ──► contact_sheet.png
                                    └──► with --draw, every image with ground truth ──► drawn/<split>/<image id>.jpg
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.config import Config

from shared.client import StreamFailed
from shared.errors import UserError
from trainer import checkpoint, contact_sheet, pretrained
from trainer.batch import Batch
from trainer.data_server import DataServer, DataServerLost
from trainer.device import jt, nn
from trainer.feed import Feed
from trainer.models import Detections, build_detector
from trainer.pictures import FOLDER, Pictures
from trainer.progress import table
from trainer.tasks import Request

SHEET_IMAGES = 8
SPLITS = ("val", "test")


def run(request: Request) -> int:
    """Evaluates a checkpoint, by default the work dir's latest, on every split that has an evaluator."""
    path = request.checkpoint or checkpoint.latest(request.work_dir)
    if path is None:
        raise UserError(f"nothing to evaluate: no checkpoint in {request.work_dir}; give one with --checkpoint FILE")
    model = build_detector(request.config.model)
    pretrained.load(path, model, request.say, complete=True)
    request.say(f"evaluating {path}")
    pictures = request.work_dir / FOLDER if request.options.draw else None
    threshold = request.options.score_threshold
    results = evaluate_all(
        model, request.config, request.server, request.work_dir, request.say, pictures=pictures, threshold=threshold
    )
    print(results_table(results))
    return 0


def evaluate_all(
    model: nn.Module,
    config: Config,
    server: DataServer,
    work_dir: Path,
    say: Callable[[str], None],
    pictures: Path | None = None,
    threshold: float | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of every split that has an evaluator, by its display name; draws the first one's contact sheet.

    Args:
        pictures: every image is drawn there, in a folder for each split; None: none is.
        threshold: see `Pictures`.
    """
    splits = [split for split in SPLITS if config.get(f"{split}_evaluator") and config.get(f"{split}_dataloader")]
    if not splits:
        raise UserError(f"config {config.filename!r} has nothing to evaluate: no val_evaluator with a val_dataloader")
    results = {}
    for split in splits:
        sheet = work_dir / "contact_sheet.png" if split == splits[0] else None
        name = display_name(config, split)
        drawn = Pictures(pictures / name, threshold) if pictures is not None else None
        results[name] = evaluate(model, config, split, server, work_dir, say, sheet, drawn)
    return results


def evaluate(
    model: nn.Module,
    config: Config,
    split: str,
    server: DataServer,
    work_dir: Path,
    say: Callable[[str], None],
    sheet: Path | None = None,
    pictures: Pictures | None = None,
) -> dict[str, float]:
    """The metrics of one split; with `sheet`, draws its first images there, with `pictures` all of them."""
    feed = Feed(server, config, split, work_dir, say, epochs=1)
    predictions: list[dict[str, np.ndarray]] = []
    shown: list[tuple[np.ndarray, np.ndarray, Detections, str]] = []
    model.eval()
    try:
        with jt.no_grad():
            for batch in feed:
                detections = model.predict(batch)[: batch.valid]
                predictions.append(as_arrays(batch, detections))
                if sheet is not None and len(shown) < SHEET_IMAGES:
                    shown += tiles(batch, detections)
                if pictures is not None:
                    pictures.add_batch(batch, detections, label_names(model, feed))
                jt.sync_all()
        metrics = feed.evaluate(predictions)
    except (UserError, StreamFailed, DataServerLost) as error:
        if not predictions:
            raise
        raise type(error)(f"{error}; the predictions so far are in {keep(predictions, work_dir, split)}") from None
    finally:
        model.train()
        feed.close()
        jt.gc()
    if sheet is not None:
        draw(sheet, shown[:SHEET_IMAGES])
    return {name.removeprefix("coco/"): value for name, value in metrics.items()}


def label_names(model: nn.Module, feed: Feed) -> list[str]:
    """What the labels of a split are called; empty for a detector that tells no classes apart."""
    return [] if model.roi_head.bbox_head.num_classes == 1 else feed.classes


def keep(predictions: list[dict[str, np.ndarray]], work_dir: Path, split: str) -> Path:
    """Writes predictions that could not be judged to ``predictions_<split>.npz``: the arrays of
    `shared.messages.Predictions`, all batches end to end."""
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


def results_table(results: dict[str, dict[str, float]]) -> str:
    """One row for each split, one column for each metric."""
    names = list(dict.fromkeys(name for metrics in results.values() for name in metrics))
    rows = [["split", *names]]
    rows += [[split, *(metrics.get(name, float("nan")) for name in names)] for split, metrics in results.items()]
    return table(rows)

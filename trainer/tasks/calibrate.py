"""``--task calibrate``: the first pass of probability calibration. Counts the detections of each class and keeps them.

batches ──► detector, uncalibrated ──► detections ──► n_c ──► <work dir>/calibration.json

What it counts are final detections: after NMS and max_per_img, with every score that the config's score_thr lets
through. The file goes into the config as ``model.roi_head.bbox_head.calibration``; ``--task evaluate`` then shows the
metrics without and with it.
"""

from __future__ import annotations

import numpy as np

from shared.errors import UserError
from trainer.device import jt
from trainer.evaluation.readings import uncalibrated
from trainer.feed.feed import Feed
from trainer.models.roi_heads.bbox_heads.bbox_head_clip_inference import BBoxHeadCLIPInference
from trainer.reporting.table import table
from trainer.tasks import CALIBRATION_FILE, Request
from trainer.tasks.evaluate import SPLITS, display_name, load_model
from trainer.vocabulary import calibration
from trainer.vocabulary.calibration import Calibration

_SHOWN = 5


def run(request: Request) -> int:
    """Calibrates a checkpoint, by default the work dir's latest, on the config's ``val`` split (else ``test``).

    Raises:
        UserError: the head cannot be calibrated, or its vocabulary is not the data set's.
    """
    config = request.config
    split = next((split for split in SPLITS if config.get(f"{split}_dataloader")), SPLITS[0])
    model, path = load_model(request)
    head = model.roi_head.bbox_head
    if not isinstance(head, BBoxHeadCLIPInference):
        raise UserError(
            "model.roi_head.bbox_head.type: calibration is for a BBoxHeadCLIPInference, "
            f"found {config.model.roi_head.bbox_head.type!r}"
        )
    request.say(f"calibrating {path} on {display_name(config, split)}")
    feed = Feed(request.server, config, split, request.work_dir, request.say, epochs=1)
    head.check_classes(feed.classes, training=False)
    names = feed.classes[0]
    counts = np.zeros(head.num_classes, np.int64)
    model.eval()
    with jt.no_grad(), uncalibrated(head):
        for batch in feed:
            for found in model.predict(batch)[: batch.valid]:
                counts += np.bincount(found.labels, minlength=len(counts))
            jt.sync_all()
    gamma = calibration.GAMMA if head.gamma is None else head.gamma
    made = Calibration(list(names), calibration.digest(head.embeddings()), gamma, counts.tolist(), feed.images)
    feed.close()
    out = request.work_dir / CALIBRATION_FILE
    calibration.save(out, made)
    print(summary(made, made.weights(None, head.least_count)))
    request.say(f"{out}: {counts.sum()} detections in {made.images} images")
    if not counts.all():
        request.say(
            f"{(counts == 0).sum()} classes were never detected; they count as detected {head.least_count:g} times "
            "(model.roi_head.bbox_head.least_count; 0 is the original's formula)"
        )
    return 0


def summary(made: Calibration, weights: np.ndarray) -> str:
    """The most and the least detected names, as a table."""
    order = np.argsort(-np.array(made.counts), kind="stable")
    shown = order if len(order) <= 2 * _SHOWN else np.concatenate([order[:_SHOWN], order[-_SHOWN:]])
    rows = [["name", "detections", "weight"]]
    rows += [[made.names[index], made.counts[index], float(weights[index])] for index in shown]
    return table(rows)

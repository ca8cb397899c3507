"""Evaluating a detector: detections for every image of a split, metrics from the data server, pictures to look at.

batches ──► detector ──► scores ─┬─ as they are ────────────► detections ──PREDICTIONS──► data server: MMDetection's
                                 ├─ calibrated ─────────────► detections ──PREDICTIONS──► own metric classes ──► METRICS
                                 └─ of shuffled embeddings ─► detections ──PREDICTIONS──►

Calibration and shuffling act on the scores of whole classes, so one pass through the network serves all. Several ranks
take turns at the batches, and rank 0 has all predictions judged (`trainer.evaluation.gathering`). What is drawn and
kept in the work dir::

    contact_sheet.png         the first images with ground truth and the best detections
    predictions_<split>.npz   with `keeps`, see `trainer.evaluation.predictions`
    drawn/<split>/<id>.jpg    with `draws`, every image
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmengine.config import Config

from shared.client import StreamFailed
from shared.config import section
from shared.errors import UserError
from shared.train_loop import TrainLoop
from trainer.device import jt, nn
from trainer.evaluation import contact_tiles
from trainer.evaluation.contact_tiles import Tile
from trainer.evaluation.gathering import Batches, gathered
from trainer.evaluation.predictions import as_arrays, keep
from trainer.evaluation.readings import CALIBRATED, PLAIN, readings, uncalibrated
from trainer.feed.feed import Feed
from trainer.feed.server import DataServerLost, ServerHandle
from trainer.models import build_detector
from trainer.models.precision import of_evaluation
from trainer.process.background import in_background
from trainer.process.ranks import ALONE, Ranks
from trainer.reporting.picture_folder import FOLDER, Pictures
from trainer.training.together import agree, checksum, hear, taking_part
from trainer.training.verdicts import Evaluated
from trainer.vocabulary.calibration import check_names
from trainer.weights import pretrained

SHEET_FILE = "contact_sheet.png"
SHEET_IMAGES = 8
SPLITS = ("val", "test")


def load_model(config: Config, path: Path, say: Callable[[str], None]) -> nn.Module:
    """The config's model with the weights of a file.

    Raises:
        UserError: the model cannot be built, or the weights do not fit it.
    """
    model = build_detector(section(config, "model"))
    pretrained.load(path, model, say, complete=True)
    return model


@dataclass(frozen=True)
class Evaluation:
    """How detectors are evaluated.

    Attributes:
        config: has the splits, ``val`` and ``test``, each with its evaluator.
        server: where batches come from, and who computes metrics.
        work_dir: where pictures and predictions go.
        say: a line for the user.
        chance: whether there are metrics with shuffled embeddings, too, see `readings`.
        keeps: whether the predictions are kept.
        draws: whether every image is drawn.
        threshold: of what is drawn, see `Pictures`.
        ranks: who predicts together, in a training. The contact sheet is of images that rank 0 has predicted.
    """

    config: Config
    server: ServerHandle
    work_dir: Path
    say: Callable[[str], None]
    chance: bool = False
    keeps: bool = False
    draws: bool = False
    threshold: float | None = None
    ranks: Ranks = ALONE

    def run(self, model: nn.Module) -> Evaluated:
        """Metrics of every split that has an evaluator, by its display name and the reading of the scores; draws the
        first split's contact sheet. The model is in training mode afterwards.

        Raises:
            UserError: no split has an evaluator, the model's names are not the data set's, a metric fails.
            StreamFailed, DataServerLost: see `Feed`; where there are predictions by then, they are kept.
        """
        return _together([judge() for judge in self._predicted(model)])

    def begin(self, model: nn.Module) -> Callable[[], Evaluated] | None:
        """As `run`, of a training: what is returned gives the metrics; None on other ranks than the first. With
        ``train_cfg.val_async`` the data server computes them meanwhile, and the errors of that, and of sending it the
        predictions, come with them.

        Raises:
            RankFailed: another rank has not predicted what it should.
        """
        if not self.ranks.first:
            for _ in self._predicted(model):
                pass
            return None
        if not TrainLoop.of(section(self.config, "train_cfg")).val_async:
            found = self.run(model)
            return lambda: found
        judged = [in_background(judge) for judge in self._predicted(model)]
        return lambda: _together([one.result() for one in judged])

    def _predicted(self, model: nn.Module) -> Iterator[Callable[[], Evaluated]]:
        """For each split, once all its images are predicted, what has them judged; that uses no Jittor, and is rank
        0's alone."""
        config = self.config
        splits = [split for split in SPLITS if config.get(f"{split}_evaluator") and config.get(f"{split}_dataloader")]
        if not splits:
            raise UserError(
                f"config {config.filename!r} has nothing to evaluate: no val_evaluator with a val_dataloader"
            )
        for split in splits:
            yield self._predict_split(model, split, draws_sheet=split == splits[0])

    def _predict_split(self, model: nn.Module, split: str, draws_sheet: bool) -> Callable[[], Evaluated]:
        head = model.roi_head.bbox_head
        ways = readings(head, self.chance)
        title = display_name(self.config, split)
        pictures = Pictures(self.work_dir / FOLDER / title, self.threshold) if self.draws else None
        most = model.roi_head.test_cfg["max_per_img"]
        feed = self._feed(split, most)
        predictions: dict[str, Batches] = {f"{title}{way}": [] for way in ways}
        own = list(ways).index(CALIBRATED if CALIBRATED in ways else PLAIN)
        tiles: list[Tile] = []
        sheets: dict[str, bytes] = {}
        model.eval()
        model.predicts_in = of_evaluation(self.config, split)
        try:
            head.check_classes(feed.classes, training=False)
            if getattr(head, "prior", None) is not None:
                check_names(head.prior, list(feed.classes[0]), "model.roi_head.bbox_head.calibration")
            with (
                taking_part(self.ranks),
                self._keeping(split, list(predictions.values())[own]),
                jt.no_grad(),
                uncalibrated(head),
            ):
                for batch in feed:
                    found = [one[: batch.valid] for one in model.predict_readings(batch, list(ways.values()))]
                    for kept, detections in zip(predictions.values(), found, strict=True):
                        kept.append(as_arrays(batch, detections))
                    if draws_sheet and len(tiles) < SHEET_IMAGES:
                        tiles += contact_tiles.of_batch(batch, found[own])
                    if pictures is not None:
                        pictures.add_batch(batch.pictures(), batch.host, found[own], label_names(model, feed))
                    jt.sync_all()
                if draws_sheet and self.ranks.first:
                    sheets[title] = contact_tiles.draw(self.work_dir / SHEET_FILE, tiles[:SHEET_IMAGES])
            hear(self.ranks, lambda: checksum(model))
            predictions = gathered(self.ranks, predictions)
            for name, kept in predictions.items():
                if self.ranks.first and not any(len(one["scores"]) for one in kept):
                    self.say(
                        f"warning: {name}: no detection in any image, so there is nothing but zeros; are these the "
                        "weights of a trained model, and is score_thr in model.test_cfg below its scores?"
                    )
        except BaseException:
            feed.close()
            raise
        finally:
            model.train()
            jt.gc()
        if not self.ranks.first:
            feed.close()
        return partial(self._judge_split, split, feed, predictions, own, sheets)

    def _feed(self, split: str, most: int) -> Feed:
        """Of this rank's batches; `most` is how many boxes an image may have when it is predicted.

        Raises:
            TrainingFault: rank 0 has another data set.
        """
        with taking_part(self.ranks):
            feed = Feed(
                self.server,
                self.config,
                split,
                self.work_dir,
                self.say,
                epochs=1,
                predicted=most if self.ranks.first else 0,
                ranks=self.ranks,
            )
        hear(self.ranks)
        agree(self.ranks, {f"the annotations of {split}": feed.facts})
        return feed

    def _judge_split(
        self,
        split: str,
        feed: Feed,
        predictions: dict[str, Batches],
        own: int,
        sheets: dict[str, bytes],
    ) -> Evaluated:
        """Has a split's `predictions`, by the name of their reading, judged, and closes `feed`; number `own` is the
        detector's own reading."""
        kept = list(predictions.values())[own]
        with contextlib.closing(feed), self._keeping(split, kept):
            results = {name: feed.evaluate(one) for name, one in predictions.items()}
        if self.keeps:
            keep(kept, self.work_dir, split)
        family = "coco/" if len(feed.classes) == 1 else ""  # several data sets come first: "cars/coco/bbox_mAP"
        shown = {
            name: {key.removeprefix(family): value for key, value in metrics.items()}
            for name, metrics in results.items()
        }
        return Evaluated(shown, list(results.values())[own], sheets)

    @contextlib.contextmanager
    def _keeping(self, split: str, so_far: Batches) -> Iterator[None]:
        """What fails inside leaves the predictions in the work dir, where there are any by then."""
        try:
            yield
        except (UserError, StreamFailed, DataServerLost) as error:
            if not so_far or not self.ranks.first:
                raise
            kept_in = keep(so_far, self.work_dir, split)
            raise type(error)(f"{error}; the predictions so far are in {kept_in}") from None


def _together(splits: list[Evaluated]) -> Evaluated:
    """What is shown of all splits; the first is judged and drawn."""
    shown = {name: metrics for one in splits for name, metrics in one.metrics.items()}
    return Evaluated(shown, splits[0].judged, splits[0].pictures)


def label_names(model: nn.Module, feed: Feed) -> list[str]:
    """What the labels of a split are called; empty for a detector that tells no classes apart."""
    return [] if model.roi_head.bbox_head.num_classes == 1 else list(feed.classes[0])


def display_name(config: Config, split: str) -> str:
    """A split's name in tables: that of its annotation file."""
    annotations = config[f"{split}_dataloader"].dataset.get("ann_file")
    return Path(annotations).stem if annotations else split

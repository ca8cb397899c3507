"""What all detectors with RoIs share: images become feature maps, maps and proposals become losses or detections.

    Batch ─ preprocessor ─ backbone ─ (neck) ─► maps ─┬───────────► roi_head ─► losses, detections
                 └ in training: its batch_augments    └ (proposals) ───┘

mmdet's TwoStageDetector.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models.detections import Detections
from trainer.models.precision import FLOAT32, in_type
from trainer.models.registry import build
from trainer.models.roi_heads.standard_roi_head import Reading, as_they_are


class TwoStageDetector(nn.Module):
    """Base of FasterRCNN, which makes proposals itself, and of FastRCNN, which gets them with the batch.

    Args:
        rcnn: the roi head's train_cfg and test_cfg.

    Attributes:
        trains_in, predicts_in: the type of maps (`trainer.models.precision`).
    """

    trains_in = predicts_in = FLOAT32

    def __init__(
        self,
        data_preprocessor: dict,
        backbone: dict,
        neck: dict | None,
        roi_head: dict,
        rcnn: tuple[dict, dict],
        where: str,
    ) -> None:
        self.preprocessor = build(data_preprocessor, f"{where}.data_preprocessor")
        self.batch_augments = self.preprocessor.batch_augments
        self.backbone = build(backbone, f"{where}.backbone")
        self.neck = build(neck, f"{where}.neck") if neck else nn.Identity()
        self.roi_head = build(roi_head, f"{where}.roi_head", train_cfg=rcnn[0], test_cfg=rcnn[1])

    def extract(self, batch: Batch) -> list[jt.Var]:
        """The feature maps (B,C,H/stride,W/stride) for predictions, fine to coarse."""
        return self._maps(self.preprocessor(batch.images, batch.image_shapes), self.predicts_in)

    def extract_in_training(self, batch: Batch) -> tuple[list[jt.Var], Batch]:
        """The feature maps (B,C,H,W) of a training step, and the batch whose boxes are in pixels of what they
        show."""
        images = self.preprocessor(batch.images, batch.image_shapes)
        for augment in self.batch_augments:
            images, batch = augment(images, batch)
        return self._maps(images, self.trains_in), batch

    def _maps(self, images: jt.Var, dtype: str) -> list[jt.Var]:
        maps = self.backbone(in_type(images, dtype) if self.backbone.computes_in_half else images)
        return maps if isinstance(self.neck, nn.Identity) else self.neck([in_type(one, dtype) for one in maps])

    def loss(self, batch: Batch) -> dict[str, jt.Var]:
        """Terms f32 (1,) of one training step.

        Those whose names contain "loss" are to be added up and minimised; the others are monitors.
        """
        raise NotImplementedError

    def proposals(self, maps: list[jt.Var], batch: Batch) -> jt.Var:
        """What is to be classified when detecting: f32 (B,P,5) boxes with a score, negative where there is none."""
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Detections]:
        """Detections of each image of the batch, boxes in pixels of the original images."""
        return self.predict_readings(batch, (as_they_are,))[0]

    def predict_readings(self, batch: Batch, readings: Sequence[Reading]) -> list[list[Detections]]:
        """The same for each reading of the box head's scores, with one pass through the network for all of them."""
        with jt.no_grad():
            maps = self.extract(batch)
            return self.roi_head.predict_readings(
                maps,
                self.proposals(maps, batch),
                batch.image_shapes,
                var(batch.host["scale_factors"], "float32"),
                readings,
            )

"""Fast R-CNN: a box head on proposals that come with the batch. Stage 2 of UniDetector is one.

    Batch ─┬─ images ─ preprocessor ─ backbone ─ (neck) ─► roi_head
           └─ proposals (of stage 1) ───────────────────────┘

Girshick, "Fast R-CNN"; mmdet's FastRCNN.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import jt
from trainer.models.detectors.two_stage import TwoStageDetector
from trainer.models.heads.rpn_head import ABSENT
from trainer.models.registry import read, register


@register
class FastRCNN(TwoStageDetector):
    """Built from a config's `model` dict, see trainer.models.build_detector."""

    def __init__(
        self,
        data_preprocessor: dict,
        backbone: dict,
        roi_head: dict,
        train_cfg: dict,
        test_cfg: dict,
        neck: dict | None = None,
        where: str = "model",
    ) -> None:
        train_cfg = read(train_cfg, f"{where}.train_cfg", ("rcnn",))
        test_cfg = read(test_cfg, f"{where}.test_cfg", ("rcnn",))
        super().__init__(data_preprocessor, backbone, neck, roi_head, (train_cfg["rcnn"], test_cfg["rcnn"]), where)

    def loss(self, batch: Batch) -> dict[str, jt.Var]:
        maps, batch = self.extract_in_training(batch)
        return self.roi_head.loss(maps, self.proposals(maps, batch), batch)

    def proposals(self, maps: list[jt.Var], batch: Batch) -> jt.Var:  # noqa: ARG002 - FasterRCNN needs the maps
        """The batch's proposals f32 (B,P,5); the score of rows behind an image's last one is ABSENT.

        Raises:
            UserError: the batch has none.
        """
        if batch.proposals is None or batch.proposal_counts is None:
            raise UserError(
                "model: a FastRCNN needs proposals with every image, and the batches have none; the data set's "
                "proposal_file and LoadProposals in its pipeline bring them"
            )
        images, rows, _ = batch.proposals.shape
        present = jt.index((images, rows), 1) < batch.proposal_counts.unsqueeze(1)
        scores = jt.ternary(present, batch.proposals[:, :, 4], ABSENT)
        return jt.concat([batch.proposals[:, :, :4], scores.unsqueeze(-1)], -1)

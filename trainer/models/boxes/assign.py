"""Max-IoU assignment: which ground truth, if any, each anchor or proposal is responsible for.

One operator for a whole batch of padded ground truths, so that no (boxes x ground truths) table is kept and no image
needs a round trip to the host. The rules, for one image (mmdet's MaxIoUAssigner):

    1  every box starts as -1 (ignored)
    2  best IoU < neg_iou_thr                 ->  0 (negative)
    3  best IoU >= pos_iou_thr                ->  1 + index of the first ground truth with that IoU
    4  with match_low_quality, for each ground truth in order whose best IoU over all boxes is >= min_pos_iou:
       every box with exactly that IoU        ->  1 + its index, whatever it had before

Rule 4 compares floats for equality, and an IoU may lie exactly on a threshold, so every IoU is the one that torch
computes, to the last bit: each operation is rounded by itself, in torch's order. The CPU keeps the values of one
image, the GPU recomputes them.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.registry import register, require
from trainer.models.values import Share

BY_IOU = """
    const assign::Rules rules(data["positive"], data["negative"], data["least"], data["low_quality"] != 0);
    assign::by_iou(in0_p, in0_shape0 == 1, in1_p, in2_p, in3_p, in1_shape0, in1_shape1, in2_shape1, rules, out0_p,
                   out1_p);
"""


@register
class MaxIoUAssigner:
    """mmdet's MaxIoUAssigner; ground truths to be ignored are not supported (the feed removes crowd boxes)."""

    def __init__(
        self,
        pos_iou_thr: Share,
        neg_iou_thr: Share,
        min_pos_iou: Share = 0.0,
        match_low_quality: bool = True,
        ignore_iof_thr: float = -1,
        where: str = "MaxIoUAssigner",
    ) -> None:
        require(ignore_iof_thr, -1, f"{where}.ignore_iof_thr")
        self.rules = {
            "positive": float(pos_iou_thr),
            "negative": float(neg_iou_thr),
            "least": float(min_pos_iou),
            "low_quality": float(match_low_quality),
        }

    def __call__(self, boxes: jt.Var, valid: jt.Var, truths: jt.Var, counts: jt.Var) -> jt.Var:
        """Assign every box.

        Args:
            boxes: f32 (B,N,4), or (1,N,4) when all images share them.
            valid: bool (B,N); the others take no part and stay -1.
            truths: f32 (B,G,4), of which the first `counts` i32 (B,) rows count.

        Returns:
            i32 (B,N): -1 ignored, 0 negative, 1 + ground-truth index; no gradient.
        """
        assigned, _ = jt.code(
            [tuple(valid.shape), tuple(truths.shape[:2])],
            ["int32", "float32"],
            [boxes.detach(), valid, truths, counts],
            data=self.rules,
            **kernel(__file__, BY_IOU),
        )
        return assigned

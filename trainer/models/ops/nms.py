"""Non-maximum suppression: greedy, by descending score (equal scores: lower index first), without a +1.

A box is suppressed when its IoU with a better box that was kept exceeds the threshold; the undefined IoU of two boxes
without area does not suppress. The CPU compares each candidate with the boxes kept so far and stops when enough are
kept, in the arithmetic of mmcv's CPU operator to the last bit. The GPU (arithmetic of mmcv's CUDA operator) first
fills a table of bits, candidate by candidate, and then one block of threads per image walks through it.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.top_k import top_k

SUPPRESS = """
    nms::suppress(in0_p, in1_p, in2_p, in0_shape0, in0_shape1, data["iou"], data["score"], out0_shape1, out0_p, out1_p,
                  out2_p);
"""


def nms(
    boxes: jt.Var, scores: jt.Var, iou_threshold: float, score_threshold: float, most: int
) -> tuple[jt.Var, jt.Var]:
    """Hard NMS of one set of boxes per image; no gradient.

    Args:
        boxes: f32 (B,N,4), N > 0.
        scores: f32 (B,N); only boxes above `score_threshold` take part.
        most: at most this many are kept per image.

    Returns:
        kept: i32 (B,min(most, N)), indices by descending score, -1 behind the last.
        count: i32 (B,), how many were kept.
    """
    images, number = scores.shape
    boxes, scores = boxes.detach(), scores.detach()
    bits = (images, number, (number + 31) // 32) if jt.flags.use_cuda else (1, 1, 1)
    kept, count, _ = jt.code(
        [(images, min(most, number)), (images,), bits],
        ["int32", "int32", "int32"],
        [boxes, scores, top_k(scores, number)],
        data={"iou": float(iou_threshold), "score": float(score_threshold)},
        **kernel(__file__, SUPPRESS),
    )
    return kept, count


def batched_nms(
    boxes: jt.Var, scores: jt.Var, labels: jt.Var, iou_threshold: float, score_threshold: float, most: int
) -> tuple[jt.Var, jt.Var]:
    """NMS within each class of an image: classes are moved apart by label · (the image's largest coordinate + 1), as
    mmcv does, rounding included.

    Args:
        labels: i32 (B,N); everything else and the returns are those of `nms`.
    """
    reach = boxes.reshape(boxes.shape[0], -1).max(1, keepdims=True) + 1.0
    return nms(boxes + (labels.float32() * reach).unsqueeze(2), scores, iou_threshold, score_threshold, most)

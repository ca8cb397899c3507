"""Random sampling of assigned boxes into a fixed number of slots.

    assigned  (B,N)    -1 ignored, 0 negative, 1 + ground truth
        │  random keys, positives above negatives above ignored; sort
        ▼
    slots     (B,K)    │ positives, at most num·pos_fraction │ negatives fill up to num │ unused: weight 0 │

Taking the highest of random keys is a random choice without replacement. The shapes depend on nothing but N, so a
step costs no host round trip and never another compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.models.ops.random_keys import Draw, random_keys
from trainer.models.ops.top_k import top_k
from trainer.models.registry import register, require
from trainer.models.values import Count, Share

FILL_SLOTS = """
    sample::fill_slots(in0_p, in1_p, in0_shape0, in0_shape1, out0_shape1, data["num"], data["most_positives"], out0_p,
                       out1_p, out2_p, out3_p, out4_p, out5_p);
"""


@dataclass
class Samples:
    """What was sampled; all (B,K), K = min(num, N).

    Attributes:
        index: i32, the box in each slot.
        positive: f32, 1 where the slot holds a positive.
        weight: f32, 1 where the slot holds anything.
        truth: i32, the ground truth of a positive, 0 elsewhere.
        positives, negatives: f32 (B,), how many were sampled.
    """

    index: jt.Var
    positive: jt.Var
    weight: jt.Var
    truth: jt.Var
    positives: jt.Var
    negatives: jt.Var


@register
class RandomSampler:
    """mmdet's RandomSampler: at most num·pos_fraction positives, negatives up to num.

    Attributes:
        keys: where the keys come from; descending keys are picked first.
    """

    def __init__(
        self,
        num: Count,
        pos_fraction: Share,
        neg_pos_ub: float = -1,
        add_gt_as_proposals: bool = True,
        where: str = "RandomSampler",
    ) -> None:
        require(neg_pos_ub, -1, f"{where}.neg_pos_ub")
        self.num = num
        self.most_positives = int(num * pos_fraction)
        self.add_gt_as_proposals = add_gt_as_proposals
        self.keys: Callable[[Draw, tuple[int, int]], jt.Var] = random_keys

    def __call__(self, assigned: jt.Var, draw: Draw) -> Samples:
        """Sample from `assigned` i32 (B,N)."""
        images, boxes = assigned.shape
        # The classes are 2 apart: 2 + (1 - 2^-24) would round up to 3.
        keys = (assigned > 0).float32() * 4.0 + (assigned == 0).float32() * 2.0 + self.keys(draw, (images, boxes))
        slots, counts = (images, min(self.num, boxes)), (images,)
        return Samples(
            *jt.code(
                [slots, slots, slots, slots, counts, counts],
                ["int32", "float32", "float32", "int32", "float32", "float32"],
                [assigned, top_k(keys, boxes)],
                data={"num": self.num, "most_positives": self.most_positives},
                **kernel(__file__, FILL_SLOTS),
            )
        )

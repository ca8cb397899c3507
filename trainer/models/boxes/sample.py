"""Random sampling of assigned boxes into a fixed number of slots.

    assigned  (B,N)    -1 ignored, 0 negative, 1 + ground truth
        │  random keys, positives above negatives above ignored; sort
        ▼
    slots     (B,K)    │ positives, at most num·pos_fraction │ negatives fill up to num │ unused: weight 0 │

Taking the highest of random keys is a random choice without replacement. The shapes depend on nothing but N, so a step costs no
host round trip and never another compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.device import jt
from trainer.models.boxes.columns import gather_rows
from trainer.models.ops.top_k import top_k
from trainer.models.registry import register, require


def uniform_keys(shape: tuple[int, int]) -> jt.Var:
    """Random keys f32 (B,N) in [0, 1)."""
    return jt.rand(*shape)


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
        num: int,
        pos_fraction: float,
        neg_pos_ub: float = -1,
        add_gt_as_proposals: bool = True,
        where: str = "RandomSampler",
    ) -> None:
        require(neg_pos_ub, -1, f"{where}.neg_pos_ub")
        self.num = int(num)
        self.most_positives = int(num * pos_fraction)
        self.add_gt_as_proposals = add_gt_as_proposals
        self.keys: Callable[[tuple[int, int]], jt.Var] = uniform_keys

    def __call__(self, assigned: jt.Var) -> Samples:
        """Sample from `assigned` i32 (B,N)."""
        images, boxes = assigned.shape
        is_positive = (assigned > 0).float32()
        is_negative = (assigned == 0).float32()
        # The classes are 2 apart: 1 - 2^-24 + 2 would round up to 3.
        order = top_k(is_positive * 4.0 + is_negative * 2.0 + self.keys((images, boxes)), boxes)
        available = is_positive.sum(1).int32()
        positives = jt.minimum(available, self.most_positives)
        negatives = jt.minimum(is_negative.sum(1).int32(), self.num - positives)

        slot = jt.index((images, min(self.num, boxes)), 1)
        used = positives.unsqueeze(1)
        positive = slot < used
        filled = slot < used + negatives.unsqueeze(1)
        rank = jt.minimum(jt.ternary(positive, slot, slot - used + available.unsqueeze(1)), boxes - 1)
        index = gather_rows(order, rank)
        return Samples(
            index=index,
            positive=positive.float32(),
            weight=filled.float32(),
            truth=jt.ternary(positive, gather_rows(assigned, index) - 1, 0),
            positives=positives.float32(),
            negatives=negatives.float32(),
        )

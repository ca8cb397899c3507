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
from trainer.models.ops.top_k import top_k
from trainer.models.registry import register, require

# in0 assigned (B,N)  in1 order (B,N), by descending key   out0.. the fields of Samples
CPU_SOURCE = r"""
    const int64 images = in0_shape0, boxes = in0_shape1, slots = out0_shape1;
    const int64 num = data["num"], most = data["most_positives"];
    for (int64 image = 0; image < images; image++) {
        const int32* assigned = in0_p + image * boxes;
        const int32* order = in1_p + image * boxes;
        int64 available = 0, others = 0;
        for (int64 n = 0; n < boxes; n++) {
            available += assigned[n] > 0;
            others += assigned[n] == 0;
        }
        const int64 positives = available < most ? available : most;
        const int64 negatives = others < num - positives ? others : num - positives;
        for (int64 slot = 0; slot < slots; slot++) {
            const int64 at = image * slots + slot;
            const int64 rank = slot < positives ? slot : slot - positives + available;
            out0_p[at] = order[rank < boxes ? rank : boxes - 1];
            out1_p[at] = slot < positives;
            out2_p[at] = slot < positives + negatives;
            out3_p[at] = slot < positives ? assigned[out0_p[at]] - 1 : 0;
        }
        out4_p[image] = positives;
        out5_p[image] = negatives;
    }
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void fill_slots(const int32* assigned, const int32* order, int boxes, int slots, int num, int most,
                           int32* index, float* positive, float* weight, int32* truth, float* positives_, float*
                           negatives_) {
    __shared__ int available, others;
    const int64 image = blockIdx.x;
    assigned += image * boxes, order += image * boxes;
    if (threadIdx.x == 0) available = others = 0;
    __syncthreads();
    for (int n = threadIdx.x; n < boxes; n += blockDim.x) {
        if (assigned[n] > 0) atomicAdd(&available, 1);
        if (assigned[n] == 0) atomicAdd(&others, 1);
    }
    __syncthreads();
    const int positives = min(available, most), negatives = min(others, num - positives);
    for (int slot = threadIdx.x; slot < slots; slot += blockDim.x) {
        const int64 at = image * slots + slot;
        index[at] = order[min(slot < positives ? slot : slot - positives + available, boxes - 1)];
        positive[at] = slot < positives;
        weight[at] = slot < positives + negatives;
        truth[at] = slot < positives ? assigned[index[at]] - 1 : 0;
    }
    if (threadIdx.x == 0) positives_[image] = positives, negatives_[image] = negatives;
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    fill_slots<<<in0_shape0, 512>>>(in0_p, in1_p, in0_shape1, out0_shape1, data["num"], data["most_positives"], out0_p,
                                    out1_p, out2_p, out3_p, out4_p, out5_p);
"""


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
        # The classes are 2 apart: 2 + (1 - 2^-24) would round up to 3.
        keys = (assigned > 0).float32() * 4.0 + (assigned == 0).float32() * 2.0 + self.keys((images, boxes))
        slots, counts = (images, min(self.num, boxes)), (images,)
        return Samples(
            *jt.code(
                [slots, slots, slots, slots, counts, counts],
                ["int32", "float32", "float32", "int32", "float32", "float32"],
                [assigned, top_k(keys, boxes)],
                cpu_src=CPU_SOURCE,
                cuda_header=CUDA_HEADER,
                cuda_src=CUDA_SOURCE,
                data={"num": self.num, "most_positives": self.most_positives},
            )
        )

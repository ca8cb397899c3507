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
from trainer.models.registry import register, require

# in0 boxes (1 or B,N,4)  in1 valid (B,N)  in2 ground truths (B,G,4)  in3 counts (B)   out0 assigned (B,N)  out1 best
# IoU (B,G)
CPU_HEADER = r"""
#include <algorithm>
#include <vector>
namespace jittor {
// Jittor builds with -Ofast, which divides approximately and fuses products with sums.
#define ASSIGN_EXACT __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))
ASSIGN_EXACT static void assign_areas(const float* boxes, int64 number, float* areas) {
    for (int64 n = 0; n < number; n++)
        areas[n] = (boxes[n * 4 + 2] - boxes[n * 4]) * (boxes[n * 4 + 3] - boxes[n * 4 + 1]);
}
ASSIGN_EXACT static void assign_overlaps(const float* boxes, const float* areas, int64 number, const float* truth,
                                         float* iou) {
    const float left = truth[0], top = truth[1], right = truth[2], bottom = truth[3];
    const float area = (right - left) * (bottom - top);
    for (int64 n = 0; n < number; n++) {
        const float* b = boxes + n * 4;
        const float width = (b[2] < right ? b[2] : right) - (b[0] > left ? b[0] : left);
        const float height = (b[3] < bottom ? b[3] : bottom) - (b[1] > top ? b[1] : top);
        const float common = (width > 0 ? width : 0) * (height > 0 ? height : 0);
        const float all = area + areas[n] - common;
        iou[n] = common / (all > 1e-6f ? all : 1e-6f);
    }
}
} // namespace jittor
"""
CPU_SOURCE = r"""
    const float positive = data["positive"], negative = data["negative"], least = data["least"];
    const bool low_quality = data["low_quality"] != 0;
    const int64 images = in1_shape0, boxes = in1_shape1, slots = in2_shape1;
    #pragma omp parallel for schedule(dynamic, 1)
    for (int64 image = 0; image < images; image++) {
        const float* box = in0_p + (in0_shape0 == 1 ? 0 : image * boxes * 4);
        const auto* valid = in1_p + image * boxes;
        int32* assigned = out0_p + image * boxes;
        float* best_of_truth = out1_p + image * slots;
        const int64 truths = in3_p[image];
        std::vector<float> iou(truths * boxes), best(boxes, 0.0f), areas(boxes);
        std::vector<int32> owner(boxes, 0);
        assign_areas(box, boxes, areas.data());
        for (int64 g = 0; g < slots; g++) best_of_truth[g] = 0;
        for (int64 g = 0; g < truths; g++) {
            float* row = iou.data() + g * boxes;
            assign_overlaps(box, areas.data(), boxes, in2_p + (image * slots + g) * 4, row);
            float highest = 0;
            for (int64 n = 0; n < boxes; n++) {
                if (!valid[n]) row[n] = -1.0f;
                highest = std::max(highest, row[n]);
            }
            best_of_truth[g] = highest;
            for (int64 n = 0; n < boxes; n++)
                if (row[n] > best[n]) { best[n] = row[n]; owner[n] = g; }
        }
        for (int64 n = 0; n < boxes; n++)
            assigned[n] = !valid[n] ? -1 : truths && best[n] >= positive ? owner[n] + 1 : best[n] < negative ? 0 : -1;
        if (!low_quality) continue;
        for (int64 g = 0; g < truths; g++) {
            if (best_of_truth[g] < least) continue;
            const float* row = iou.data() + g * boxes;
            for (int64 n = 0; n < boxes; n++)
                if (row[n] == best_of_truth[g]) assigned[n] = g + 1;
        }
    }
"""
CUDA_HEADER = r"""
namespace jittor {
__device__ inline float assign_iou(const float* a, const float* b) {
    const float width = fmaxf(__fsub_rn(fminf(a[2], b[2]), fmaxf(a[0], b[0])), 0.0f);
    const float height = fmaxf(__fsub_rn(fminf(a[3], b[3]), fmaxf(a[1], b[1])), 0.0f);
    const float common = __fmul_rn(width, height);
    const float area_a = __fmul_rn(__fsub_rn(a[2], a[0]), __fsub_rn(a[3], a[1]));
    const float area_b = __fmul_rn(__fsub_rn(b[2], b[0]), __fsub_rn(b[3], b[1]));
    return __fdiv_rn(common, fmaxf(__fsub_rn(__fadd_rn(area_a, area_b), common), 1e-6f));
}
template <typename Flag>
__global__ void assign_by_box(const float* boxes, int64 box_stride, const Flag* valid, const float* truths,
                              const int32* counts, int32* assigned, float* best_of_truth, int64 number, int64 slots,
                              float positive, float negative) {
    const int64 image = blockIdx.y, n = blockIdx.x * (int64)blockDim.x + threadIdx.x;
    if (n >= number) return;
    if (!valid[image * number + n]) { assigned[image * number + n] = -1; return; }
    const float* box = boxes + image * box_stride + n * 4;
    float best = 0;
    int32 owner = 0;
    for (int64 g = 0; g < counts[image]; g++) {
        const float iou = assign_iou(box, truths + (image * slots + g) * 4);
        if (iou > best) { best = iou; owner = g; }
        // IoUs are not negative, and the bits of such floats are ordered like integers.
        float* shared_best = best_of_truth + image * slots + g;
        if (iou > *shared_best) atomicMax((int*)shared_best, __float_as_int(iou));
    }
    assigned[image * number + n] = counts[image] && best >= positive ? owner + 1 : best < negative ? 0 : -1;
}
template <typename Flag>
__global__ void assign_by_truth(const float* boxes, int64 box_stride, const Flag* valid, const float* truths,
                                const int32* counts, int32* assigned, const float* best_of_truth, int64 number,
                                int64 slots, float least) {
    const int64 image = blockIdx.y, n = blockIdx.x * (int64)blockDim.x + threadIdx.x;
    if (n >= number || !valid[image * number + n]) return;
    for (int64 g = 0; g < counts[image]; g++) {
        const float best = best_of_truth[image * slots + g];
        if (best >= least && assign_iou(boxes + image * box_stride + n * 4, truths + (image * slots + g) * 4) == best)
            assigned[image * number + n] = g + 1;
    }
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    const int64 images = in1_shape0, number = in1_shape1, slots = in2_shape1;
    const int64 box_stride = in0_shape0 == 1 ? 0 : number * 4;
    const dim3 blocks((number + 255) / 256, images);
    cudaMemsetAsync(out1_p, 0, out1->size, 0);
    assign_by_box<<<blocks, 256>>>(in0_p, box_stride, in1_p, in2_p, in3_p, out0_p, out1_p, number, slots,
                                   (float)data["positive"], (float)data["negative"]);
    if (data["low_quality"] != 0)
        assign_by_truth<<<blocks, 256>>>(in0_p, box_stride, in1_p, in2_p, in3_p, out0_p, out1_p, number, slots,
                                         (float)data["least"]);
"""


@register
class MaxIoUAssigner:
    """mmdet's MaxIoUAssigner; ground truths to be ignored are not supported (the feed removes crowd boxes)."""

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float,
        min_pos_iou: float = 0.0,
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
            cpu_header=CPU_HEADER,
            cpu_src=CPU_SOURCE,
            cuda_header=CUDA_HEADER,
            cuda_src=CUDA_SOURCE,
            data=self.rules,
        )
        return assigned

"""Non-maximum suppression: greedy, by descending score (equal scores: lower index first), without a +1.

A box is suppressed when its IoU with a better box that was kept exceeds the threshold; the undefined IoU of two boxes
without area does not suppress. The CPU compares each candidate with the boxes kept so far and stops when enough are
kept. The GPU first fills a table of bits, candidate by candidate, and then one block of threads walks through it.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.models.ops.top_k import top_k

# in0 boxes (N,4)  in1 scores (N)  in2 order (N)   out0 kept (K), -1 behind the last  out1 number kept (1)  out2 bits
# (GPU only)
CPU_HEADER = r"""
#include <algorithm>
#include <vector>
"""
CPU_SOURCE = r"""
    const float iou = data["iou"], least = data["score"];
    const int64 number = in0_shape0, most = out0_shape0;
    std::vector<float> x1(most), y1(most), x2(most), y2(most), area(most);
    int64 kept = 0;
    for (int64 i = 0; i < number && kept < most; i++) {
        const int32 at = in2_p[i];
        if (!(in1_p[at] > least)) continue;
        const float* b = in0_p + (int64)at * 4;
        const float b_area = (b[2] - b[0]) * (b[3] - b[1]);
        bool suppressed = false;
        for (int64 block = 0; block < kept && !suppressed; block += 64) {
            int hits = 0;
            for (int64 k = block; k < std::min(block + 64, kept); k++) {
                const float width = std::max(std::min(b[2], x2[k]) - std::max(b[0], x1[k]), 0.0f);
                const float height = std::max(std::min(b[3], y2[k]) - std::max(b[1], y1[k]), 0.0f);
                const float common = width * height;
                hits += common > iou * (b_area + area[k] - common);
            }
            suppressed = hits;
        }
        if (suppressed) continue;
        x1[kept] = b[0], y1[kept] = b[1], x2[kept] = b[2], y2[kept] = b[3], area[kept] = b_area;
        out0_p[kept++] = at;
    }
    std::fill(out0_p + kept, out0_p + most, -1);
    out1_p[0] = kept;
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void nms_bits(const float* boxes, const int32* order, int number, int words, float iou, unsigned* bits) {
    const int i = blockIdx.y, word = blockIdx.x * blockDim.x + threadIdx.x;
    if (word >= words) return;
    const float* a = boxes + (int64)order[i] * 4;
    const float area = (a[2] - a[0]) * (a[3] - a[1]);
    unsigned found = 0;
    for (int j = 0; j < 32 && word * 32 + j < number; j++) {
        if (word * 32 + j <= i) continue;
        const float* b = boxes + (int64)order[word * 32 + j] * 4;
        const float width = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0.0f);
        const float height = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0.0f);
        const float common = width * height;
        if (common > iou * (area + (b[2] - b[0]) * (b[3] - b[1]) - common)) found |= 1u << j;
    }
    bits[(int64)i * words + word] = found;
}
__global__ void nms_walk(const float* scores, const int32* order, int number, int words, float least,
                         const unsigned* bits, int most, int32* kept, int32* count) {
    extern __shared__ unsigned suppressed[];
    __shared__ int found;
    for (int word = threadIdx.x; word < words; word += blockDim.x) suppressed[word] = 0;
    if (threadIdx.x == 0) found = 0;
    for (int k = threadIdx.x; k < most; k += blockDim.x) kept[k] = -1;
    __syncthreads();
    for (int i = 0; i < number; i++) {
        if (found >= most) break;
        const bool keep = !(suppressed[i / 32] >> (i % 32) & 1) && scores[order[i]] > least;
        __syncthreads();
        if (keep) {
            if (threadIdx.x == 0) kept[found++] = order[i];
            const unsigned* by_this = bits + (int64)i * words;
            for (int word = threadIdx.x; word < words; word += blockDim.x) suppressed[word] |= by_this[word];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) *count = found;
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    const int number = in0_shape0, words = out2_shape1;
    const dim3 blocks((words + 63) / 64, number);
    nms_bits<<<blocks, 64>>>(in0_p, in2_p, number, words, (float)data["iou"], (unsigned*)out2_p);
    nms_walk<<<1, 1024, words * 4>>>(in1_p, in2_p, number, words, (float)data["score"], (unsigned*)out2_p, out0_shape0,
                                     out0_p, out1_p);
"""


def nms(
    boxes: jt.Var, scores: jt.Var, iou_threshold: float, score_threshold: float, most: int
) -> tuple[jt.Var, jt.Var]:
    """Hard NMS of one set of boxes.

    Args:
        boxes: f32 (N,4), N > 0.
        scores: f32 (N,); only boxes above `score_threshold` take part.
        most: at most this many are kept.

    Returns:
        kept: i32 (min(most, N),), indices by descending score, -1 behind the last.
        count: i32 (1,), how many were kept.
    """
    number = boxes.shape[0]
    order = top_k(scores.unsqueeze(0), number).squeeze(0)
    bits = (number, (number + 31) // 32) if jt.flags.use_cuda else (1, 1)
    kept, count, _ = jt.code(
        [(min(most, number),), (1,), bits],
        ["int32", "int32", "int32"],
        [boxes, scores, order],
        cpu_header=CPU_HEADER,
        cpu_src=CPU_SOURCE,
        cuda_header=CUDA_HEADER,
        cuda_src=CUDA_SOURCE,
        data={"iou": float(iou_threshold), "score": float(score_threshold)},
    )
    return kept, count


def batched_nms(
    boxes: jt.Var, scores: jt.Var, labels: jt.Var, iou_threshold: float, score_threshold: float, most: int
) -> tuple[jt.Var, jt.Var]:
    """NMS within each class: classes are moved apart by label · (largest coordinate + 1), as mmcv does, rounding
    included.

    Args:
        labels: i32 (N,); everything else and the returns are those of `nms`.
    """
    shift = labels.float32() * (boxes.max() + 1.0)
    return nms(boxes + shift.unsqueeze(1), scores, iou_threshold, score_threshold, most)

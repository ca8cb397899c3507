"""Non-maximum suppression: greedy, by descending score (equal scores: lower index first), without a +1.

A box is suppressed when its IoU with a better box that was kept exceeds the threshold; the undefined IoU of two boxes
without area does not suppress. The CPU compares each candidate with the boxes kept so far and stops when enough are
kept, in the arithmetic of mmcv's CPU operator to the last bit. The GPU (arithmetic of mmcv's CUDA operator) first
fills a table of bits, candidate by candidate, and then one block of threads per image walks through it.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.models.ops.top_k import top_k

# in0 boxes (B,N,4)  in1 scores (B,N)  in2 order (B,N)   out0 kept (B,K), -1 behind the last  out1 number kept (B)
# out2 bits (GPU only)
CPU_HEADER = r"""
#include <algorithm>
#include <vector>
namespace jittor {
struct NmsBoxes { std::vector<float> x1, y1, x2, y2, area; };
// Does any of the boxes [from, to) suppress this one? Jittor builds with -Ofast; here every operation is rounded.
__attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))
static bool nms_suppressed(const float* box, float box_area, const NmsBoxes& kept, int64 from, int64 to, float iou) {
    int hits = 0;
    for (int64 k = from; k < to; k++) {
        const float width = (box[2] < kept.x2[k] ? box[2] : kept.x2[k]) - (box[0] > kept.x1[k] ? box[0] : kept.x1[k]);
        const float height = (box[3] < kept.y2[k] ? box[3] : kept.y2[k]) - (box[1] > kept.y1[k] ? box[1] : kept.y1[k]);
        const float common = (width > 0 ? width : 0) * (height > 0 ? height : 0);
        hits += common / (kept.area[k] + box_area - common) > iou;
    }
    return hits;
}
} // namespace jittor
"""
CPU_SOURCE = r"""
    const float iou = data["iou"], least = data["score"];
    const int64 images = in0_shape0, number = in0_shape1, most = out0_shape1;
    #pragma omp parallel for schedule(dynamic, 1)
    for (int64 image = 0; image < images; image++) {
        const float* boxes = in0_p + image * number * 4, *scores = in1_p + image * number;
        const int32* order = in2_p + image * number;
        int32* out = out0_p + image * most;
        NmsBoxes boxes_kept;
        for (auto* column : {&boxes_kept.x1, &boxes_kept.y1, &boxes_kept.x2, &boxes_kept.y2, &boxes_kept.area})
            column->resize(most);
        int64 kept = 0;
        for (int64 i = 0; i < number && kept < most; i++) {
            const int32 at = order[i];
            if (!(scores[at] > least)) continue;
            const float* b = boxes + (int64)at * 4;
            const float b_area = (b[2] - b[0]) * (b[3] - b[1]);
            bool suppressed = false;
            for (int64 from = 0; from < kept && !suppressed; from += 64)
                suppressed = nms_suppressed(b, b_area, boxes_kept, from, std::min(from + 64, kept), iou);
            if (suppressed) continue;
            boxes_kept.x1[kept] = b[0], boxes_kept.y1[kept] = b[1], boxes_kept.x2[kept] = b[2];
            boxes_kept.y2[kept] = b[3], boxes_kept.area[kept] = b_area;
            out[kept++] = at;
        }
        std::fill(out + kept, out + most, -1);
        out1_p[image] = kept;
    }
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void nms_bits(const float* boxes, const int32* order, int number, int words, float iou, unsigned* bits) {
    const int64 first = (int64)blockIdx.z * number;
    const int i = blockIdx.x, word = blockIdx.y * blockDim.x + threadIdx.x;
    if (word >= words) return;
    const float* a = boxes + (first + order[first + i]) * 4;
    const float area = (a[2] - a[0]) * (a[3] - a[1]);
    unsigned found = 0;
    for (int j = max(word * 32, i + 1); j < min(word * 32 + 32, number); j++) {
        const float* b = boxes + (first + order[first + j]) * 4;
        const float width = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0.0f);
        const float height = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0.0f);
        const float common = width * height;
        if (common > iou * (area + (b[2] - b[0]) * (b[3] - b[1]) - common)) found |= 1u << (j % 32);
    }
    bits[(first + i) * words + word] = found;
}
// One block per image. All threads take the same way, so that they meet only where a box is kept.
__global__ void nms_walk(const float* scores, const int32* order, int number, int words, float least,
                         const unsigned* bits, int most, int32* kept, int32* count) {
    extern __shared__ unsigned suppressed[];
    const int64 first = (int64)blockIdx.x * number;
    kept += (int64)blockIdx.x * most;
    for (int word = threadIdx.x; word < words; word += blockDim.x) suppressed[word] = 0;
    __syncthreads();
    int found = 0;
    for (int i = 0; i < number && found < most; i++) {
        const int32 at = order[first + i];
        if ((suppressed[i / 32] >> (i % 32) & 1) || !(scores[first + at] > least)) continue;
        __syncthreads();
        if (threadIdx.x == 0) kept[found] = at;
        const unsigned* by_this = bits + (first + i) * words;
        for (int word = threadIdx.x; word < words; word += blockDim.x) suppressed[word] |= by_this[word];
        found++;
        __syncthreads();
    }
    for (int k = found + threadIdx.x; k < most; k += blockDim.x) kept[k] = -1;
    if (threadIdx.x == 0) count[blockIdx.x] = found;
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    const int images = in0_shape0, number = in0_shape1, words = out2_shape2;
    const dim3 blocks(number, (words + 63) / 64, images);
    nms_bits<<<blocks, 64>>>(in0_p, in2_p, number, words, (float)data["iou"], (unsigned*)out2_p);
    nms_walk<<<images, 1024, words * 4>>>(in1_p, in2_p, number, words, (float)data["score"], (unsigned*)out2_p,
                                          out0_shape1, out0_p, out1_p);
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
    """NMS within each class of an image: classes are moved apart by label · (the image's largest coordinate + 1), as
    mmcv does, rounding included.

    Args:
        labels: i32 (B,N); everything else and the returns are those of `nms`.
    """
    reach = boxes.reshape(boxes.shape[0], -1).max(1, keepdims=True) + 1.0
    return nms(boxes + (labels.float32() * reach).unsqueeze(2), scores, iou_threshold, score_threshold, most)

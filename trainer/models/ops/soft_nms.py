"""Suppression within every class of one image at once: Gaussian soft-NMS, and hard NMS as its limit.

A candidate is a pair (box, class) whose score exceeds a threshold. Within a class, greedily: the best candidate is
picked, and every other one with overlap IoU is

    soft    weakened, score · exp(-IoU² / sigma), and dropped when the result is below `min_score`
    hard    dropped when IoU > `iou_threshold`

Bodla et al., "Soft-NMS"; mmcv's soft_nms inside batched_nms, numbers included:

    * IoUs are those of boxes shifted by class · (largest coordinate + 1) in float32: far classes lose digits.
    * From `split_threshold` candidates on, mmcv runs each class for itself, and a class's best candidate is never
      compared with `min_score`. With fewer, all classes run together, and only the image's best one is exempt.

Scores only ever fall, so a class's picks come by descending score, and the best `most` of all classes are found by
always picking in the class with the best candidate: a class that contributes nothing costs one look. mmcv finishes
each class first, quadratic in its candidates, and then cuts.

    scores (N,C) ─► candidates of each class (parallel over classes) ─► best of each class ─► pick the best of these,
                                                                             ▲                    weaken its class
                                                                             └──────── `most` times ───┘

Equal scores: the lower box, then the lower class, first. Boxes without area have no overlap. Boxes are expected to be
clipped to the image: with negative coordinates mmcv's shifted classes can touch.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.device import jt

SPLIT_THRESHOLD = 10_000  # candidates from which mmcv treats classes one by one

# in0 boxes (N,4)  in1 scores (N,C)
# out0 boxes picked (K)  out1 classes (K)  out2 scores (K)  out3 number picked (1)   GPU only: out4 scores by class
# (C,N), out5 best candidate of each class (C,2), out6 number of candidates, largest coordinate (2)
CPU_HEADER = r"""
#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>
namespace jittor {
struct Candidates {
    std::vector<int> rows;
    std::vector<float> scores, x1, y1, x2, y2, kept;
    float shift;
    int best;
    void find_best() {
        best = 0;
        for (int i = 1; i < (int)rows.size(); i++) if (scores[i] > scores[best]) best = i;
    }
    // The shifted corners are stored before anything is computed from them: the compiler would cancel the shift.
    void measure(const float* boxes) {
        const int number = rows.size();
        for (auto* corner : {&x1, &y1, &x2, &y2}) corner->resize(number);
        for (int i = 0; i < number; i++) {
            const float* box = boxes + (int64)rows[i] * 4;
            x1[i] = box[0] + shift, y1[i] = box[1] + shift, x2[i] = box[2] + shift, y2[i] = box[3] + shift;
        }
    }
    // Take the best one out and weaken or drop the others.
    void suppress(bool soft, float iou, float sigma, float least) {
        const int number = rows.size();
        const float left = x1[best], top = y1[best], right = x2[best], bottom = y2[best];
        const float area = (right - left) * (bottom - top);
        kept.resize(number);
        for (int i = 0; i < number; i++) {
            const float width = std::max(std::min(right, x2[i]) - std::max(left, x1[i]), 0.0f);
            const float height = std::max(std::min(bottom, y2[i]) - std::max(top, y1[i]), 0.0f);
            const float common = width * height;
            const float all = area + (x2[i] - x1[i]) * (y2[i] - y1[i]) - common;
            const float overlap = common > 0 ? common / all : 0.0f;
            kept[i] = soft ? scores[i] * std::exp(-(overlap * overlap) / sigma) : common > iou * all ? -1.0f : 1.0f;
        }
        int to = 0;
        for (int i = 0; i < number; i++) {
            if (i == best || kept[i] < (soft ? least : 0.0f)) continue;
            rows[to] = rows[i], x1[to] = x1[i], y1[to] = y1[i], x2[to] = x2[i], y2[to] = y2[i];
            scores[to] = soft ? kept[i] : scores[i];
            to++;
        }
        rows.resize(to), scores.resize(to);
        find_best();
    }
};
struct ClassBest { float score; int64 pair; int label; };
inline bool operator<(const ClassBest& a, const ClassBest& b) {
    return a.score != b.score ? a.score < b.score : a.pair > b.pair;
}
} // namespace jittor
"""
CPU_SOURCE = r"""
    const float threshold = data["score"], iou = data["iou"], sigma = data["sigma"], least = data["least"];
    const bool soft = data["soft"] != 0;
    const int64 number = in0_shape0, classes = in1_shape1, most = out0_shape0, block = 16;
    std::vector<Candidates> of_class(classes);
    std::vector<char> used(number, 0);
    #pragma omp parallel for schedule(static)
    for (int64 first = 0; first < classes; first += block)
        for (int64 n = 0; n < number; n++)
            for (int64 c = first; c < std::min(first + block, classes); c++) {
                const float score = in1_p[n * classes + c];
                if (!(score > threshold)) continue;
                of_class[c].rows.push_back(n);
                of_class[c].scores.push_back(score);
                used[n] = 1;
            }
    float reach = 0;
    for (int64 n = 0; n < number; n++)
        if (used[n]) reach = std::max(reach, *std::max_element(in0_p + n * 4, in0_p + n * 4 + 4));
    int64 total = 0;
    std::priority_queue<ClassBest> queue;
    for (int64 c = 0; c < classes; c++) {
        Candidates& own = of_class[c];
        own.shift = c * (reach + 1.0f);
        total += own.rows.size();
        if (own.rows.empty()) continue;
        own.find_best();
        queue.push({own.scores[own.best], own.rows[own.best] * classes + c, (int)c});
    }
    const bool together = soft && total < data["split"];
    int64 picked = 0;
    while (picked < most && !queue.empty()) {
        const ClassBest next = queue.top();
        queue.pop();
        if (together && picked && next.score < least) break;
        Candidates& own = of_class[next.label];
        out0_p[picked] = own.rows[own.best], out1_p[picked] = next.label, out2_p[picked] = next.score;
        picked++;
        if (own.x1.empty()) own.measure(in0_p);
        own.suppress(soft, iou, sigma, least);
        if (!own.rows.empty())
            queue.push({own.scores[own.best], own.rows[own.best] * classes + next.label, next.label});
    }
    for (int64 k = picked; k < most; k++) out0_p[k] = out1_p[k] = -1, out2_p[k] = 0;
    out3_p[0] = picked;
"""
CUDA_HEADER = r"""
namespace jittor {
typedef unsigned long long PickKey;  // a score's bits in the order of floats, then the inverted pair; 0 for nothing
__device__ inline PickKey pick_key(float score, unsigned pair) {
    const unsigned bits = __float_as_uint(score);
    return (PickKey)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | ~pair;
}
__device__ inline float pick_score(PickKey key) {
    const unsigned bits = key >> 32;
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}
__device__ inline PickKey largest_of_block(PickKey own) {
    __shared__ PickKey of_warp[32];
    for (int step = 16; step; step /= 2) own = max(own, __shfl_down_sync(~0u, own, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = own;
    __syncthreads();
    own = of_warp[0];
    for (int warp = 1; warp < blockDim.x / 32; warp++) own = max(own, of_warp[warp]);
    return own;
}
// One block per class: its candidates' scores side by side, NaN for what is none, and the best of them.
__global__ void pick_candidates(const float* boxes, const float* scores, int number, int classes, float threshold,
                                float* live, PickKey* best, int32* total, float* reach) {
    const int c = blockIdx.x;
    PickKey own = 0;
    int found = 0;
    float farthest = 0;
    for (int n = threadIdx.x; n < number; n += blockDim.x) {
        const float score = scores[(int64)n * classes + c];
        const bool candidate = score > threshold;
        live[(int64)c * number + n] = candidate ? score : __int_as_float(0x7fffffff);
        if (!candidate) continue;
        own = max(own, pick_key(score, n * classes + c));
        found++;
        const float* box = boxes + (int64)n * 4;
        farthest = fmaxf(farthest, fmaxf(fmaxf(box[0], box[1]), fmaxf(box[2], box[3])));
    }
    if (found) atomicAdd(total, found);
    // Coordinates are not negative, and the bits of such floats are ordered like integers.
    if (found) atomicMax((int*)reach, __float_as_int(farthest));
    own = largest_of_block(own);
    if (threadIdx.x == 0) best[c] = own;
}
// One block: the best class's best candidate is picked, and its class is weakened, again and again.
__global__ void pick_best(const float* boxes, int number, int classes, bool soft, float iou, float sigma, float least,
                          float split, float* live, PickKey* best, const int32* total, const float* reach, int most,
                          int32* rows, int32* labels, float* scores, int32* count) {
    const bool together = soft && *total < split;
    int picked = 0;
    for (; picked < most; picked++) {
        PickKey own = 0;
        for (int c = threadIdx.x; c < classes; c += blockDim.x) own = max(own, best[c]);
        const PickKey next = largest_of_block(own);
        const float score = pick_score(next);
        if (!next || (together && picked && score < least)) break;
        const unsigned pair = ~(unsigned)next;
        const int row = pair / classes, c = pair % classes;
        if (threadIdx.x == 0) rows[picked] = row, labels[picked] = c, scores[picked] = score;
        // Rounded like mmcv's: one multiplication, one addition per corner.
        const float shift = __fmul_rn(c, __fadd_rn(*reach, 1.0f));
        const float* a = boxes + (int64)row * 4;
        const float left = __fadd_rn(a[0], shift), top = __fadd_rn(a[1], shift);
        const float right = __fadd_rn(a[2], shift), bottom = __fadd_rn(a[3], shift);
        const float area = (right - left) * (bottom - top);
        float* of_class = live + (int64)c * number;
        own = 0;
        for (int n = threadIdx.x; n < number; n += blockDim.x) {
            if ((__float_as_uint(of_class[n]) << 1) > 0xff000000u) continue;  // NaN
            const float* b = boxes + (int64)n * 4;
            const float x1 = __fadd_rn(b[0], shift), y1 = __fadd_rn(b[1], shift);
            const float x2 = __fadd_rn(b[2], shift), y2 = __fadd_rn(b[3], shift);
            const float width = fmaxf(fminf(right, x2) - fmaxf(left, x1), 0.0f);
            const float height = fmaxf(fminf(bottom, y2) - fmaxf(top, y1), 0.0f);
            const float common = width * height, all = area + (x2 - x1) * (y2 - y1) - common;
            const float overlap = common > 0 ? common / all : 0.0f;
            const float weaker = soft ? of_class[n] * expf(-(overlap * overlap) / sigma) : of_class[n];
            const bool dropped = n == row || (soft ? weaker < least : common > iou * all);
            of_class[n] = dropped ? __int_as_float(0x7fffffff) : weaker;
            if (!dropped) own = max(own, pick_key(weaker, n * classes + c));
        }
        own = largest_of_block(own);
        if (threadIdx.x == 0) best[c] = own;
        __syncthreads();
    }
    for (int k = picked + threadIdx.x; k < most; k += blockDim.x) rows[k] = labels[k] = -1, scores[k] = 0;
    if (threadIdx.x == 0) *count = picked;
}
} // namespace jittor
"""
CUDA_SOURCE = r"""
    const int number = in0_shape0, classes = in1_shape1;
    cudaMemsetAsync(out6_p, 0, out6->size, 0);
    int32* total = (int32*)out6_p;
    pick_candidates<<<classes, 256>>>(in0_p, in1_p, number, classes, (float)data["score"], out4_p, (PickKey*)out5_p,
                                      total, (float*)total + 1);
    pick_best<<<1, 1024>>>(in0_p, number, classes, data["soft"] != 0, (float)data["iou"], (float)data["sigma"],
                           (float)data["least"], (float)data["split"], out4_p, (PickKey*)out5_p, total,
                           (float*)total + 1, out0_shape0, out0_p, out1_p, out2_p, out3_p);
"""


@dataclass
class Picks:
    """What is left of an image's candidates, by descending score; K rows of which `count` are used.

    Attributes:
        rows: i32 (K,), indices of boxes, -1 behind the last.
        labels: i32 (K,), classes, -1 behind the last.
        scores: f32 (K,), after weakening.
        count: i32 (1,).
    """

    rows: jt.Var
    labels: jt.Var
    scores: jt.Var
    count: jt.Var


def soft_nms(
    boxes: jt.Var,
    scores: jt.Var,
    score_threshold: float,
    most: int,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    split_threshold: int = SPLIT_THRESHOLD,
) -> Picks:
    """Gaussian soft-NMS within each class of one image, see the module's text; no gradient.

    Args:
        boxes: f32 (N,4), N > 0, clipped to the image.
        scores: f32 (N,C), without a background column; only pairs above `score_threshold` are candidates.
        most: at most this many are picked.
    """
    rules = {"soft": 1.0, "iou": 0.0, "sigma": float(sigma), "least": float(min_score), "split": float(split_threshold)}
    return _pick(boxes, scores, score_threshold, most, rules)


def hard_nms_of_classes(
    boxes: jt.Var, scores: jt.Var, score_threshold: float, most: int, iou_threshold: float
) -> Picks:
    """Hard NMS within each class of one image: boxes f32 (N,4), scores f32 (N,C), the rest as of `soft_nms`."""
    rules = {"soft": 0.0, "iou": float(iou_threshold), "sigma": 1.0, "least": 0.0, "split": 0.0}
    return _pick(boxes, scores, score_threshold, most, rules)


def _pick(boxes: jt.Var, scores: jt.Var, score_threshold: float, most: int, rules: dict[str, float]) -> Picks:
    number, classes = scores.shape
    kept = (min(most, number * classes),)
    working = [(classes, number), (classes, 2), (2,)] if jt.flags.use_cuda else [(1, 1), (1, 1), (1,)]
    rows, labels, decayed, count, *_ = jt.code(
        [kept, kept, kept, (1,), *working],
        ["int32", "int32", "float32", "int32", "float32", "int32", "int32"],
        [boxes.detach(), scores.detach()],
        cpu_header=CPU_HEADER,
        cpu_src=CPU_SOURCE,
        cuda_header=CUDA_HEADER,
        cuda_src=CUDA_SOURCE,
        data={"score": float(score_threshold), **rules},
    )
    return Picks(rows, labels, decayed, count)

"""RoIAlign on all levels of a feature pyramid at once: aligned (half-pixel shift), average, adaptive sampling.

A bin of a RoI averages ceil(bin height) x ceil(bin width) bilinear samples. Bilinear weights are products of a weight
in y and one in x, so a bin is
        out[p, q] = Σ_y Wy[p, y] · Σ_x Wx[q, x] · map[y, x]
with a few consecutive non-zero y and x. The CPU computes Wy and Wx once per RoI and uses them for every channel: the
inner loop runs along contiguous pixels. Its gradient is parallel over channels, which needs no atomics and always
adds in the same order. The GPU takes one thread per output number.

A sample more than one pixel outside the map counts as 0, others are moved onto its border. A RoI of zero or negative
width or height has no samples and yields zeros (mmcv's CUDA operator; its CPU operator raises an error).
"""

from __future__ import annotations

from trainer.device import jt

CPU_HEADER = r"""
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>
namespace jittor {
struct RoiMap { float* data; int height, width; float scale; };
struct RoiBin { int start, count, offset; };  // cells [start, start + count), their weights from `offset`
struct RoiAxis {
    std::vector<RoiBin> bins;
    std::vector<float> weights;
    int low, high;  // cells that any bin touches: [low, high)
    // Whether a sample falls just inside or just outside of the map, and how many there are, hangs on the last bit:
    // mmcv's order, every operation rounded (Jittor builds with -Ofast).
    __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))
    void build(float begin, float size, int number, int cells) {
        bins.assign(number, RoiBin{0, 0, 0});
        weights.clear();
        low = cells, high = 0;
        const float step = size / number;
        const int samples = std::max((int)std::ceil(step), 0);
        for (int bin = 0; bin < number; bin++) {
            RoiBin& b = bins[bin];
            b.offset = weights.size();
            for (int i = 0; i < samples; i++) {
                float at = begin + bin * step + (i + 0.5f) * step / samples;
                if (at < -1.0f || at > cells) continue;
                at = std::max(at, 0.0f);
                int cell = (int)at;
                float share = at - cell;
                if (cell >= cells - 1) { cell = cells - 1; share = 0; }
                if (!b.count) b.start = cell;
                const int last = share > 0 ? cell + 1 : cell;
                if (last >= b.start + b.count) {
                    b.count = last - b.start + 1;
                    weights.resize(b.offset + b.count, 0.0f);
                }
                weights[b.offset + cell - b.start] += (1 - share) / samples;
                if (share > 0) weights[b.offset + last - b.start] += share / samples;
            }
            if (b.count) { low = std::min(low, b.start); high = std::max(high, b.start + b.count); }
        }
    }
};
struct RoiPlan {
    int image, level;
    RoiAxis y, x;
    __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))
    bool build(const float* roi, int level_, const RoiMap* maps, int bins_y, int bins_x) {
        level = level_;
        if (level < 0 || !(roi[3] > roi[1]) || !(roi[4] > roi[2])) return false;
        image = (int)roi[0];
        const RoiMap& map = maps[level];
        const float left = roi[1] * map.scale - 0.5f, top = roi[2] * map.scale - 0.5f;
        x.build(left, roi[3] * map.scale - 0.5f - left, bins_x, map.width);
        y.build(top, roi[4] * map.scale - 0.5f - top, bins_y, map.height);
        return x.low < x.high && y.low < y.high;
    }
};
} // namespace jittor
"""
# in0 rois (K,5)  in1 levels (K)  in2.. maps (B,C,h,w)   out0 (K,C,P,Q)
CPU_FORWARD = r"""
    const RoiMap maps[] = {@MAPS};
    const int channels = in2_shape1, P = out0_shape2, Q = out0_shape3;
    std::memset(out0_p, 0, out0->size);
    #pragma omp parallel
    {
        RoiPlan plan;
        std::vector<float> row;
        #pragma omp for schedule(dynamic, 8)
        for (int64 k = 0; k < in0_shape0; k++) {
            if (!plan.build(in0_p + k * 5, in1_p[k], maps, P, Q)) continue;
            const RoiMap& map = maps[plan.level];
            const int low = plan.x.low, span = plan.x.high - low;
            row.resize(span);
            for (int c = 0; c < channels; c++) {
                const float* plane = map.data + ((int64)plan.image * channels + c) * map.height * map.width + low;
                float* out = out0_p + (k * channels + c) * P * Q;
                for (int p = 0; p < P; p++) {
                    const RoiBin& by = plan.y.bins[p];
                    if (!by.count) continue;
                    float* __restrict__ sum = row.data();
                    for (int i = 0; i < by.count; i++) {
                        const float weight = plan.y.weights[by.offset + i];
                        const float* __restrict__ source = plane + (int64)(by.start + i) * map.width;
                        if (i == 0) for (int j = 0; j < span; j++) sum[j] = weight * source[j];
                        else for (int j = 0; j < span; j++) sum[j] += weight * source[j];
                    }
                    for (int q = 0; q < Q; q++) {
                        const RoiBin& bx = plan.x.bins[q];
                        const float* weights = plan.x.weights.data() + bx.offset;
                        float value = 0;
                        for (int j = 0; j < bx.count; j++) value += weights[j] * sum[bx.start - low + j];
                        out[p * Q + q] = value;
                    }
                }
            }
        }
    }
"""
# in0 rois (K,5)  in1 levels (K)  in2 gradient (K,C,P,Q)   out0.. gradients of the maps
CPU_BACKWARD = r"""
    const RoiMap maps[] = {@MAPS};
    const int channels = in2_shape1, P = in2_shape2, Q = in2_shape3, group = 4;
    const int64 number = in0_shape0;
    @CLEAR
    std::vector<RoiPlan> plans(number);
    std::vector<char> used(number);
    #pragma omp parallel for schedule(dynamic, 32)
    for (int64 k = 0; k < number; k++) used[k] = plans[k].build(in0_p + k * 5, in1_p[k], maps, P, Q);
    #pragma omp parallel for schedule(dynamic, 1)
    for (int first = 0; first < channels; first += group) {
        std::vector<float> row;
        for (int64 k = 0; k < number; k++) {
            if (!used[k]) continue;
            const RoiPlan& plan = plans[k];
            const RoiMap& map = maps[plan.level];
            const int low = plan.x.low, span = plan.x.high - low;
            row.resize(span);
            for (int c = first; c < std::min(first + group, channels); c++) {
                float* plane = map.data + ((int64)plan.image * channels + c) * map.height * map.width + low;
                const float* gradient = in2_p + (k * channels + c) * P * Q;
                for (int p = 0; p < P; p++) {
                    const RoiBin& by = plan.y.bins[p];
                    if (!by.count) continue;
                    float* __restrict__ sum = row.data();
                    for (int j = 0; j < span; j++) sum[j] = 0;
                    for (int q = 0; q < Q; q++) {
                        const RoiBin& bx = plan.x.bins[q];
                        const float* weights = plan.x.weights.data() + bx.offset;
                        const float g = gradient[p * Q + q];
                        for (int j = 0; j < bx.count; j++) sum[bx.start - low + j] += weights[j] * g;
                    }
                    for (int i = 0; i < by.count; i++) {
                        const float weight = plan.y.weights[by.offset + i];
                        float* __restrict__ target = plane + (int64)(by.start + i) * map.width;
                        for (int j = 0; j < span; j++) target[j] += weight * sum[j];
                    }
                }
            }
        }
    }
"""
CUDA_HEADER = r"""
namespace jittor {
struct RoiMap { float* data; int height, width; float scale; };
struct RoiMaps { RoiMap at[8]; };
struct RoiTaps { int low, high; float low_weight, high_weight; };
__device__ inline bool roi_taps(float at, int cells, RoiTaps& taps) {
    if (at < -1.0f || at > cells) return false;
    at = fmaxf(at, 0.0f);
    taps.low = (int)at;
    if (taps.low >= cells - 1) { taps.low = taps.high = cells - 1; at = taps.low; } else taps.high = taps.low + 1;
    taps.high_weight = at - taps.low;
    taps.low_weight = 1 - taps.high_weight;
    return true;
}
// Forward: numbers[i] = the bin's average. Backward: adds numbers[i] to the pixels of its samples.
template <bool forward>
__global__ void roi_align_kernel(int64 total, const float* rois, const int32* levels, RoiMaps maps, float* numbers,
                                 int channels, int P, int Q) {
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < total; i += (int64)blockDim.x * gridDim.x) {
        const int q = i % Q, p = i / Q % P, c = i / Q / P % channels;
        const int64 k = i / Q / P / channels;
        const float* roi = rois + k * 5;
        if (forward) numbers[i] = 0;
        if (levels[k] < 0 || !(roi[3] > roi[1]) || !(roi[4] > roi[2])) continue;
        const RoiMap map = maps.at[levels[k]];
        const float left = roi[1] * map.scale - 0.5f, top = roi[2] * map.scale - 0.5f;
        const float step_x = (roi[3] * map.scale - 0.5f - left) / Q, step_y = (roi[4] * map.scale - 0.5f - top) / P;
        const int samples_x = ceilf(step_x), samples_y = ceilf(step_y);
        float* plane = map.data + ((int64)roi[0] * channels + c) * map.height * map.width;
        const float share = 1.0f / max(samples_x * samples_y, 1);
        float sum = 0;
        for (int iy = 0; iy < samples_y; iy++) {
            RoiTaps y;
            if (!roi_taps(top + p * step_y + (iy + 0.5f) * step_y / samples_y, map.height, y)) continue;
            float* low = plane + (int64)y.low * map.width, *high = plane + (int64)y.high * map.width;
            for (int ix = 0; ix < samples_x; ix++) {
                RoiTaps x;
                if (!roi_taps(left + q * step_x + (ix + 0.5f) * step_x / samples_x, map.width, x)) continue;
                if (forward) {
                    sum += y.low_weight * (x.low_weight * low[x.low] + x.high_weight * low[x.high])
                         + y.high_weight * (x.low_weight * high[x.low] + x.high_weight * high[x.high]);
                } else {
                    const float g = numbers[i] * share;
                    atomicAdd(low + x.low, g * y.low_weight * x.low_weight);
                    atomicAdd(low + x.high, g * y.low_weight * x.high_weight);
                    atomicAdd(high + x.low, g * y.high_weight * x.low_weight);
                    atomicAdd(high + x.high, g * y.high_weight * x.high_weight);
                }
            }
        }
        if (forward) numbers[i] = sum * share;
    }
}
} // namespace jittor
"""
CUDA_FORWARD = r"""
    const RoiMaps maps = {{@MAPS}};
    const int64 total = out0->num;
    if (total) roi_align_kernel<true><<<(int)std::min<int64>((total + 255) / 256, 1 << 20), 256>>>(
        total, in0_p, in1_p, maps, out0_p, in2_shape1, out0_shape2, out0_shape3);
"""
CUDA_BACKWARD = r"""
    const RoiMaps maps = {{@MAPS}};
    const int64 total = in2->num;
    @CLEAR
    if (total) roi_align_kernel<false><<<(int)std::min<int64>((total + 255) / 256, 1 << 20), 256>>>(
        total, in0_p, in1_p, maps, in2_p, in2_shape1, in2_shape2, in2_shape3);
"""


def _for_levels(source: str, name: str, first: int, count: int, clear: str = "") -> str:
    """Fill in the list of maps: variables `name`{first}.. with their scales, and a statement that clears each."""
    maps = ", ".join(
        f'{{(float*){name}{i}_p, (int){name}{i}_shape2, (int){name}{i}_shape3, (float)data["scale{i - first}"]}}'
        for i in range(first, first + count)
    )
    cleared = "\n".join(clear.format(i=i) for i in range(first, first + count))
    return source.replace("@MAPS", maps).replace("@CLEAR", cleared)


class _RoIAlign(jt.Function):
    def execute(
        self, rois: jt.Var, levels: jt.Var, output_size: int, scales: tuple[float, ...], *maps: jt.Var
    ) -> jt.Var:
        self.rois, self.levels = rois, levels
        self.shapes = [tuple(feature_map.shape) for feature_map in maps]
        self.scales = {f"scale{i}": scale for i, scale in enumerate(scales)}
        return jt.code(
            (rois.shape[0], maps[0].shape[1], output_size, output_size),
            "float32",
            [rois, levels, *maps],
            cpu_header=CPU_HEADER,
            cpu_src=_for_levels(CPU_FORWARD, "in", 2, len(maps)),
            cuda_header=CUDA_HEADER,
            cuda_src=_for_levels(CUDA_FORWARD, "in", 2, len(maps)),
            data=self.scales,
        )

    def grad(self, gradient: jt.Var) -> tuple:
        count = len(self.shapes)
        gradients = jt.code(
            self.shapes,
            ["float32"] * count,
            [self.rois, self.levels, gradient],
            cpu_header=CPU_HEADER,
            cpu_src=_for_levels(CPU_BACKWARD, "out", 0, count, "std::memset(out{i}_p, 0, out{i}->size);"),
            cuda_header=CUDA_HEADER,
            cuda_src=_for_levels(CUDA_BACKWARD, "out", 0, count, "cudaMemsetAsync(out{i}_p, 0, out{i}->size, 0);"),
            data=self.scales,
        )
        return (None, None, None, None, *gradients)


def roi_align(maps: list[jt.Var], strides: list[int], rois: jt.Var, levels: jt.Var, output_size: int) -> jt.Var:
    """Features of each RoI from its level.

    Args:
        maps: f32 (B,C,h,w), one per level (at most 8), with `strides` pixels per cell.
        rois: f32 (K,5): image index, x1, y1, x2, y2 in pixels; no gradient.
        levels: i32 (K,), each RoI's map; -1 for none (zeros).
        output_size: bins per side, P.

    Returns:
        f32 (K,C,P,P).
    """
    scales = tuple(1.0 / stride for stride in strides)
    return _RoIAlign.apply(rois.stop_grad(), levels.stop_grad(), output_size, scales, *maps)

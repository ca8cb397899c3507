// RoIAlign on the CPU: weights in y and x once per RoI, used for every channel.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace roi_align {

// Whether a sample falls just inside or just outside of the map, and how many there are, hangs on the last bit: mmcv's
// order, every operation rounded (Jittor builds with -Ofast).
#define EXACT __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))

// One level: f32 (images,channels,height,width), `scale` cells per pixel of an image.
struct Map {
    float* data;
    int height, width;
    float scale;
    Map(float* data, int64_t height, int64_t width, double scale)
        : data(data), height(height), width(width), scale(scale) {}
};

struct Bin {
    int start, count, offset;  // cells [start, start + count), their weights from `offset`
};

// The bins of a RoI along one axis.
struct Axis {
    std::vector<Bin> bins;
    std::vector<float> weights;
    int low, high;  // cells that any bin touches: [low, high)

    EXACT void build(float begin, float size, int number, int cells) {
        bins.assign(number, Bin{0, 0, 0});
        weights.clear();
        low = cells, high = 0;
        const float step = size / number;
        const int samples = std::max((int)std::ceil(step), 0);
        for (int bin = 0; bin < number; bin++) {
            Bin& b = bins[bin];
            b.offset = weights.size();
            for (int i = 0; i < samples; i++) {
                float at = begin + bin * step + (i + 0.5f) * step / samples;
                if (at < -1.0f || at > cells) continue;
                at = std::max(at, 0.0f);
                int cell = (int)at;
                float share = at - cell;
                if (cell >= cells - 1) {
                    cell = cells - 1;
                    share = 0;
                }
                if (!b.count) b.start = cell;
                const int last = share > 0 ? cell + 1 : cell;
                if (last >= b.start + b.count) {
                    b.count = last - b.start + 1;
                    weights.resize(b.offset + b.count, 0.0f);
                }
                weights[b.offset + cell - b.start] += (1 - share) / samples;
                if (share > 0) weights[b.offset + last - b.start] += share / samples;
            }
            if (b.count) {
                low = std::min(low, b.start);
                high = std::max(high, b.start + b.count);
            }
        }
    }
};

// A RoI on its level.
struct Plan {
    int image, level;
    Axis y, x;

    // Whether the RoI has any sample on its map.
    EXACT bool build(const float* roi, int on_level, const std::vector<Map>& maps, int bins_y, int bins_x) {
        level = on_level;
        if (level < 0 || !(roi[3] > roi[1]) || !(roi[4] > roi[2])) return false;
        image = (int)roi[0];
        const Map& map = maps[level];
        const float left = roi[1] * map.scale - 0.5f, top = roi[2] * map.scale - 0.5f;
        x.build(left, roi[3] * map.scale - 0.5f - left, bins_x, map.width);
        y.build(top, roi[4] * map.scale - 0.5f - top, bins_y, map.height);
        return x.low < x.high && y.low < y.high;
    }
};

// rois (number,5), levels (number), maps -> out (number,channels,P,Q)
inline void forward(const float* rois, const int32_t* levels, const std::vector<Map>& maps, int64_t number,
                    int channels, int P, int Q, float* out) {
    std::memset(out, 0, number * channels * P * Q * sizeof(float));
#pragma omp parallel
    {
        Plan plan;
        std::vector<float> row;
#pragma omp for schedule(dynamic, 8)
        for (int64_t k = 0; k < number; k++) {
            if (!plan.build(rois + k * 5, levels[k], maps, P, Q)) continue;
            const Map& map = maps[plan.level];
            const int low = plan.x.low, span = plan.x.high - low;
            row.resize(span);
            for (int c = 0; c < channels; c++) {
                const float* plane = map.data + ((int64_t)plan.image * channels + c) * map.height * map.width + low;
                float* bins = out + (k * channels + c) * P * Q;
                for (int p = 0; p < P; p++) {
                    const Bin& by = plan.y.bins[p];
                    if (!by.count) continue;
                    float* __restrict__ sum = row.data();
                    for (int i = 0; i < by.count; i++) {
                        const float weight = plan.y.weights[by.offset + i];
                        const float* __restrict__ source = plane + (int64_t)(by.start + i) * map.width;
                        if (i == 0)
                            for (int j = 0; j < span; j++) sum[j] = weight * source[j];
                        else
                            for (int j = 0; j < span; j++) sum[j] += weight * source[j];
                    }
                    for (int q = 0; q < Q; q++) {
                        const Bin& bx = plan.x.bins[q];
                        const float* weights = plan.x.weights.data() + bx.offset;
                        float value = 0;
                        for (int j = 0; j < bx.count; j++) value += weights[j] * sum[bx.start - low + j];
                        bins[p * Q + q] = value;
                    }
                }
            }
        }
    }
}

// rois, levels, gradient (number,channels,P,Q) -> `maps`, gradients of the maps of `images` images
inline void backward(const float* rois, const int32_t* levels, const float* gradient, int64_t number, int64_t images,
                     int channels, int P, int Q, const std::vector<Map>& maps) {
    const int group = 4;
    for (const Map& map : maps) std::memset(map.data, 0, images * channels * map.height * map.width * sizeof(float));
    std::vector<Plan> plans(number);
    std::vector<char> used(number);
#pragma omp parallel for schedule(dynamic, 32)
    for (int64_t k = 0; k < number; k++) used[k] = plans[k].build(rois + k * 5, levels[k], maps, P, Q);
#pragma omp parallel for schedule(dynamic, 1)
    for (int first = 0; first < channels; first += group) {
        std::vector<float> row;
        for (int64_t k = 0; k < number; k++) {
            if (!used[k]) continue;
            const Plan& plan = plans[k];
            const Map& map = maps[plan.level];
            const int low = plan.x.low, span = plan.x.high - low;
            row.resize(span);
            for (int c = first; c < std::min(first + group, channels); c++) {
                float* plane = map.data + ((int64_t)plan.image * channels + c) * map.height * map.width + low;
                const float* bins = gradient + (k * channels + c) * P * Q;
                for (int p = 0; p < P; p++) {
                    const Bin& by = plan.y.bins[p];
                    if (!by.count) continue;
                    float* __restrict__ sum = row.data();
                    for (int j = 0; j < span; j++) sum[j] = 0;
                    for (int q = 0; q < Q; q++) {
                        const Bin& bx = plan.x.bins[q];
                        const float* weights = plan.x.weights.data() + bx.offset;
                        const float g = bins[p * Q + q];
                        for (int j = 0; j < bx.count; j++) sum[bx.start - low + j] += weights[j] * g;
                    }
                    for (int i = 0; i < by.count; i++) {
                        const float weight = plan.y.weights[by.offset + i];
                        float* __restrict__ target = plane + (int64_t)(by.start + i) * map.width;
                        for (int j = 0; j < span; j++) target[j] += weight * sum[j];
                    }
                }
            }
        }
    }
}

}  // namespace roi_align

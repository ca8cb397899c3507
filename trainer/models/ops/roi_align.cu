// RoIAlign on a GPU: a thread for each number of the output.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace roi_align {

// One level: f32 (images,channels,height,width), `scale` cells per pixel of an image.
struct Map {
    float* data;
    int height, width;
    float scale;
    Map() = default;
    Map(float* data, int64_t height, int64_t width, double scale)
        : data(data), height(height), width(width), scale(scale) {}
};

struct Maps {
    Map at[8];
};

struct Taps {
    int low, high;
    float low_weight, high_weight;
};

// Whether a sample falls just inside or just outside of the map, and how many there are, hangs on the last bit: the
// CPU's order, every operation rounded, whatever the compiler's flags say of divisions and of contraction.

// The place of a pixel in a map, in cells.
__device__ inline float in_cells(float pixel, float scale) { return __fsub_rn(__fmul_rn(pixel, scale), 0.5f); }

// The place of sample `i` of `samples` in a bin, of bins that are `step` cells wide.
__device__ inline float place(float begin, int bin, float step, int i, int samples) {
    return __fadd_rn(__fadd_rn(begin, __fmul_rn(bin, step)), __fdiv_rn(__fmul_rn(i + 0.5f, step), samples));
}

// Whether a sample counts, and if so, the two cells that it lies between.
__device__ inline bool find_taps(float at, int cells, Taps& taps) {
    if (at < -1.0f || at > cells) return false;
    at = fmaxf(at, 0.0f);
    taps.low = (int)at;
    if (taps.low >= cells - 1) {
        taps.low = taps.high = cells - 1;
        at = taps.low;
    } else {
        taps.high = taps.low + 1;
    }
    taps.high_weight = at - taps.low;
    taps.low_weight = 1 - taps.high_weight;
    return true;
}

// Forward: numbers[i] = the bin's average. Backward: adds numbers[i] to the pixels of its samples.
template <bool is_forward>
__global__ void align(int64_t total, const float* rois, const int32_t* levels, Maps maps, float* numbers, int channels,
                      int P, int Q) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < total; i += (int64_t)blockDim.x * gridDim.x) {
        const int q = i % Q, p = i / Q % P, c = i / Q / P % channels;
        const int64_t k = i / Q / P / channels;
        const float* roi = rois + k * 5;
        if (is_forward) numbers[i] = 0;
        if (levels[k] < 0 || !(roi[3] > roi[1]) || !(roi[4] > roi[2])) continue;
        const Map map = maps.at[levels[k]];
        const float left = in_cells(roi[1], map.scale), top = in_cells(roi[2], map.scale);
        const float step_x = __fdiv_rn(__fsub_rn(in_cells(roi[3], map.scale), left), Q);
        const float step_y = __fdiv_rn(__fsub_rn(in_cells(roi[4], map.scale), top), P);
        const int samples_x = ceilf(step_x), samples_y = ceilf(step_y);
        float* plane = map.data + ((int64_t)roi[0] * channels + c) * map.height * map.width;
        const float share = 1.0f / max(samples_x * samples_y, 1);
        float sum = 0;
        for (int iy = 0; iy < samples_y; iy++) {
            Taps y;
            if (!find_taps(place(top, p, step_y, iy, samples_y), map.height, y)) continue;
            float *low = plane + (int64_t)y.low * map.width, *high = plane + (int64_t)y.high * map.width;
            for (int ix = 0; ix < samples_x; ix++) {
                Taps x;
                if (!find_taps(place(left, q, step_x, ix, samples_x), map.width, x)) continue;
                if (is_forward) {
                    sum += y.low_weight * (x.low_weight * low[x.low] + x.high_weight * low[x.high]) +
                           y.high_weight * (x.low_weight * high[x.low] + x.high_weight * high[x.high]);
                } else {
                    const float g = numbers[i] * share;
                    atomicAdd(low + x.low, g * y.low_weight * x.low_weight);
                    atomicAdd(low + x.high, g * y.low_weight * x.high_weight);
                    atomicAdd(high + x.low, g * y.high_weight * x.low_weight);
                    atomicAdd(high + x.high, g * y.high_weight * x.high_weight);
                }
            }
        }
        if (is_forward) numbers[i] = sum * share;
    }
}

const int MOST_BINS = 64;  // on a side, of what is differentiated in one order
const int CHANNELS = 4;    // that share the weights of a cell

// What each bin of a RoI takes of a cell along one axis, its samples added up; whether any takes something.
__device__ inline bool weights_at(int cell, float begin, float step, int samples, int bins, int cells, float* weights) {
    bool any = false;
    for (int bin = 0; bin < bins; bin++) {
        weights[bin] = 0;
        // Samples beyond the border are moved onto it.
        const bool inside = cell > 0 && cell < cells - 1;
        if (inside && (cell < begin + bin * step - 2 || cell > begin + (bin + 1) * step + 2)) continue;
        for (int i = 0; i < samples; i++) {
            Taps taps;
            if (!find_taps(place(begin, bin, step, i, samples), cells, taps)) continue;
            if (taps.low == cell) weights[bin] += taps.low_weight;
            if (taps.high == cell) weights[bin] += taps.high_weight;
        }
        any = any || weights[bin] != 0;
    }
    return any;
}

// The first and the last cell that a RoI from `begin` to `end` may touch.
__device__ inline int first_cell(float begin) { return (int)fmaxf(floorf(begin) - 1, 0.0f); }
__device__ inline int last_cell(float end, int cells) { return (int)fminf(floorf(end) + 2, cells - 1.0f); }

// A block for some channels of an image goes through the RoIs one after another; a thread adds what a RoI gives to a
// cell, so that no cell is added to by two at a time.
__global__ void gather(int64_t number, const float* rois, const int32_t* levels, Maps maps, const float* gradient,
                       int channels, int P, int Q) {
    const int image = blockIdx.y, first = blockIdx.x * CHANNELS, last = min(first + CHANNELS, channels);
    float of_y[MOST_BINS], of_x[MOST_BINS];
    for (int64_t k = 0; k < number; k++) {
        const float* roi = rois + k * 5;
        if ((int)roi[0] != image || levels[k] < 0 || !(roi[3] > roi[1]) || !(roi[4] > roi[2])) continue;
        const Map map = maps.at[levels[k]];
        const float left = in_cells(roi[1], map.scale), top = in_cells(roi[2], map.scale);
        const float right = in_cells(roi[3], map.scale), bottom = in_cells(roi[4], map.scale);
        const float step_x = __fdiv_rn(__fsub_rn(right, left), Q), step_y = __fdiv_rn(__fsub_rn(bottom, top), P);
        const int samples_x = ceilf(step_x), samples_y = ceilf(step_y);
        const float share = 1.0f / max(samples_x * samples_y, 1);
        const int low_x = first_cell(left), low_y = first_cell(top);
        const int width = last_cell(right, map.width) - low_x + 1, height = last_cell(bottom, map.height) - low_y + 1;
        for (int i = threadIdx.x; width > 0 && i < width * height; i += blockDim.x) {
            const int x = low_x + i % width, y = low_y + i / width;
            if (!weights_at(y, top, step_y, samples_y, P, map.height, of_y)) continue;
            if (!weights_at(x, left, step_x, samples_x, Q, map.width, of_x)) continue;
            for (int c = first; c < last; c++) {
                const float* bins = gradient + (k * channels + c) * P * Q;
                float sum = 0;
                for (int p = 0; p < P; p++) {
                    if (of_y[p] == 0) continue;
                    float row = 0;
                    for (int q = 0; q < Q; q++) row += of_x[q] * bins[p * Q + q];
                    sum += of_y[p] * row;
                }
                map.data[(((int64_t)image * channels + c) * map.height + y) * map.width + x] += sum * share;
            }
        }
        __syncthreads();  // the next RoI's cells are other threads'
    }
}

inline Maps in_kernel(const std::vector<Map>& maps) {
    Maps all;
    std::copy(maps.begin(), maps.end(), all.at);
    return all;
}

inline int blocks(int64_t total) { return (int)std::min<int64_t>((total + 255) / 256, 1 << 20); }

// rois (number,5), levels (number), maps -> out (number,channels,P,Q)
inline void forward(const float* rois, const int32_t* levels, const std::vector<Map>& maps, int64_t number,
                    int channels, int P, int Q, float* out) {
    const int64_t total = number * channels * P * Q;
    if (total) align<true><<<blocks(total), 256>>>(total, rois, levels, in_kernel(maps), out, channels, P, Q);
}

// rois, levels, gradient (number,channels,P,Q) -> `maps`, gradients of the maps of `images` images
inline void backward(const float* rois, const int32_t* levels, float* gradient, int64_t number, int64_t images,
                     int channels, int P, int Q, const std::vector<Map>& maps) {
    const int64_t total = number * channels * P * Q;
    for (const Map& map : maps)
        cudaMemsetAsync(map.data, 0, images * channels * map.height * map.width * sizeof(float), 0);
    if (total) align<false><<<blocks(total), 256>>>(total, rois, levels, in_kernel(maps), gradient, channels, P, Q);
}

// The same, each number's sum in one order.
inline void backward_in_order(const float* rois, const int32_t* levels, const float* gradient, int64_t number,
                              int64_t images, int channels, int P, int Q, const std::vector<Map>& maps) {
    for (const Map& map : maps)
        cudaMemsetAsync(map.data, 0, images * channels * map.height * map.width * sizeof(float), 0);
    const dim3 blocks((channels + CHANNELS - 1) / CHANNELS, images);
    if (number) gather<<<blocks, 256>>>(number, rois, levels, in_kernel(maps), gradient, channels, P, Q);
}

}  // namespace roi_align

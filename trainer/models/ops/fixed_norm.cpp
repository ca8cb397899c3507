// Batch norm with fixed statistics, with an addition and a ReLU behind it, on the CPU.
#include <cmath>
#include <cstdint>

namespace fixed_norm {

// Compilers may take "no NaN here" for granted under -Ofast; the loops of a function so marked may not.
#define WITH_NAN __attribute__((noinline, optimize("no-finite-math-only")))

// One plane of `number` pixels.
WITH_NAN static void norm_plane(const float* __restrict__ x, const float* __restrict__ more, float scale, float shift,
                                bool relu, int64_t number, float* __restrict__ y) {
    if (more && relu)
        for (int64_t i = 0; i < number; i++) {
            const float value = x[i] * scale + shift + more[i];
            y[i] = value < 0 ? 0 : value;
        }
    else if (more)
        for (int64_t i = 0; i < number; i++) y[i] = x[i] * scale + shift + more[i];
    else if (relu)
        for (int64_t i = 0; i < number; i++) {
            const float value = x[i] * scale + shift;
            y[i] = value < 0 ? 0 : value;
        }
    else
        for (int64_t i = 0; i < number; i++) y[i] = x[i] * scale + shift;
}

// x (images,channels,number); weight, bias, mean, variance (channels); shortcut like x, or null -> y like x
inline void forward(const float* x, const float* weight, const float* bias, const float* mean, const float* variance,
                    const float* shortcut, float eps, bool relu, int64_t images, int64_t channels, int64_t number,
                    float* y) {
#pragma omp parallel for schedule(static)
    for (int64_t plane = 0; plane < images * channels; plane++) {
        const int64_t c = plane % channels;
        const float scale = weight[c] / std::sqrt(variance[c] + eps), shift = bias[c] - mean[c] * scale;
        norm_plane(x + plane * number, shortcut ? shortcut + plane * number : nullptr, scale, shift, relu, number,
                   y + plane * number);
    }
}

// gradient of y, x, y, statistics -> to_x like x, to_weight, to_bias (channels), to_shortcut like x or null
inline void backward(const float* gradient, const float* x, const float* y, const float* weight, const float* mean,
                     const float* variance, float eps, bool relu, int64_t images, int64_t channels, int64_t number,
                     float* to_x, float* to_weight, float* to_bias, float* to_shortcut) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        const float inverse = 1 / std::sqrt(variance[c] + eps), scale = weight[c] * inverse, shift = mean[c];
        double product = 0, total = 0;
        for (int64_t image = 0; image < images; image++) {
            const int64_t first = (image * channels + c) * number;
            const float* __restrict__ slope = gradient + first;
            const float* __restrict__ plane = x + first;
            const float* __restrict__ out = y + first;
            float* __restrict__ to_plane = to_x + first;
            float* __restrict__ to_more = to_shortcut ? to_shortcut + first : nullptr;
            float plane_product = 0, plane_total = 0;
            for (int64_t i = 0; i < number; i++) {
                const float g = !relu || out[i] > 0 ? slope[i] : 0;
                plane_product += g * (plane[i] - shift);
                plane_total += g;
                to_plane[i] = g * scale;
                if (to_more) to_more[i] = g;
            }
            product += plane_product, total += plane_total;
        }
        to_weight[c] = product * inverse, to_bias[c] = total;
    }
}

}  // namespace fixed_norm

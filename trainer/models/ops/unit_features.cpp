// ReLU and unit length over the channels of every cell, on the CPU.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace unit_features {

constexpr int64_t CELLS = 256;   // of a piece: one row of it is in the cache of a core for all channels
constexpr float TINY2 = 1e-24f;  // the square of the smallest length that a feature is divided by

// x (images,channels,number), bias (channels) -> y like x, inverse (images,number): 1 / length
inline void forward(const float* x, const float* bias, int64_t images, int64_t channels, int64_t number, float* y,
                    float* inverse) {
    const int64_t pieces = (number + CELLS - 1) / CELLS;
#pragma omp parallel for schedule(static)
    for (int64_t piece = 0; piece < images * pieces; piece++) {
        const int64_t image = piece / pieces, first = piece % pieces * CELLS, count = std::min(CELLS, number - first);
        const int64_t start = image * channels * number + first;
        float squares[CELLS] = {};
        for (int64_t c = 0; c < channels; c++) {
            const float* __restrict__ in = x + start + c * number;
            float* __restrict__ out = y + start + c * number;
            const float shift = bias[c];
            for (int64_t i = 0; i < count; i++) {
                const float value = in[i] + shift;
                out[i] = value < 0 ? 0 : value;
                squares[i] += out[i] * out[i];
            }
        }
        float* __restrict__ factor = inverse + image * number + first;
        for (int64_t i = 0; i < count; i++) factor[i] = 1 / std::sqrt(std::max(squares[i], TINY2));
        for (int64_t c = 0; c < channels; c++) {
            float* __restrict__ out = y + start + c * number;
            for (int64_t i = 0; i < count; i++) out[i] *= factor[i];
        }
    }
}

// gradient of y, y, inverse -> to_x like y, to_bias (channels)
inline void backward(const float* gradient, const float* y, const float* inverse, int64_t images, int64_t channels,
                     int64_t number, float* to_x, float* to_bias) {
    const int64_t pieces = (number + CELLS - 1) / CELLS;
    const float largest = 0.5f / std::sqrt(TINY2);
#pragma omp parallel for schedule(static)
    for (int64_t piece = 0; piece < images * pieces; piece++) {
        const int64_t image = piece / pieces, first = piece % pieces * CELLS, count = std::min(CELLS, number - first);
        const int64_t start = image * channels * number + first;
        const float* __restrict__ factor = inverse + image * number + first;
        float products[CELLS] = {};
        for (int64_t c = 0; c < channels; c++) {
            const float* __restrict__ slope = gradient + start + c * number;
            const float* __restrict__ out = y + start + c * number;
            for (int64_t i = 0; i < count; i++) products[i] += slope[i] * out[i];
        }
        for (int64_t i = 0; i < count; i++)
            if (factor[i] > largest) products[i] = 0;
        for (int64_t c = 0; c < channels; c++) {
            const float* __restrict__ slope = gradient + start + c * number;
            const float* __restrict__ out = y + start + c * number;
            float* __restrict__ to_in = to_x + start + c * number;
            for (int64_t i = 0; i < count; i++)
                to_in[i] = out[i] > 0 ? (slope[i] - out[i] * products[i]) * factor[i] : 0;
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < channels; c++) {
        double total = 0;
        for (int64_t image = 0; image < images; image++) {
            const float* __restrict__ to_in = to_x + (image * channels + c) * number;
            float sum = 0;
            for (int64_t i = 0; i < number; i++) sum += to_in[i];
            total += sum;
        }
        to_bias[c] = total;
    }
}

}  // namespace unit_features

// ReLU and unit length over the channels of every cell, on a GPU: a thread for each cell.
#include <cstdint>

namespace unit_features {

constexpr int THREADS = 1024;    // of a channel's block
constexpr float TINY2 = 1e-24f;  // the square of the smallest length that a feature is divided by

__global__ void forward_kernel(const float* x, const float* bias, int64_t cells, int64_t channels, int64_t number,
                               float* y, float* inverse) {
    const int64_t cell = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (cell >= cells) return;
    const int64_t start = cell / number * channels * number + cell % number;
    float squares = 0;
    for (int64_t c = 0; c < channels; c++) {
        const float value = x[start + c * number] + bias[c];
        const float kept = value < 0 ? 0 : value;
        y[start + c * number] = kept;
        squares += kept * kept;
    }
    const float factor = 1 / sqrtf(fmaxf(squares, TINY2));
    inverse[cell] = factor;
    for (int64_t c = 0; c < channels; c++) y[start + c * number] *= factor;
}

__global__ void backward_kernel(const float* gradient, const float* y, const float* inverse, int64_t cells,
                                int64_t channels, int64_t number, float* to_x) {
    const int64_t cell = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (cell >= cells) return;
    const int64_t start = cell / number * channels * number + cell % number;
    float product = 0;
    for (int64_t c = 0; c < channels; c++) product += gradient[start + c * number] * y[start + c * number];
    if (inverse[cell] > 0.5f / sqrtf(TINY2)) product = 0;
    for (int64_t c = 0; c < channels; c++) {
        const int64_t i = start + c * number;
        to_x[i] = y[i] > 0 ? (gradient[i] - y[i] * product) * inverse[cell] : 0;
    }
}

// One block per channel. Index: of 32 bits where the numbers can be counted by it; divisions by 64 bits take longer
// than the memory.
template <typename Index>
__global__ void bias_sums(const float* to_x, Index images, Index channels, Index number, float* to_bias) {
    __shared__ float sums[THREADS];
    const Index c = blockIdx.x;
    float sum = 0;
    for (Index k = threadIdx.x; k < images * number; k += THREADS)
        sum += to_x[(k / number * channels + c) * number + k % number];
    sums[threadIdx.x] = sum;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) to_bias[c] = sums[0];
}

// x (images,channels,number), bias (channels) -> y like x, inverse (images,number): 1 / length
inline void forward(const float* x, const float* bias, int64_t images, int64_t channels, int64_t number, float* y,
                    float* inverse) {
    const int64_t cells = images * number;
    forward_kernel<<<(cells + 255) / 256, 256>>>(x, bias, cells, channels, number, y, inverse);
}

// gradient of y, y, inverse -> to_x like y, to_bias (channels)
inline void backward(const float* gradient, const float* y, const float* inverse, int64_t images, int64_t channels,
                     int64_t number, float* to_x, float* to_bias) {
    const int64_t cells = images * number;
    backward_kernel<<<(cells + 255) / 256, 256>>>(gradient, y, inverse, cells, channels, number, to_x);
    if (cells * channels < INT32_MAX)
        bias_sums<uint32_t><<<channels, THREADS>>>(to_x, images, channels, number, to_bias);
    else
        bias_sums<int64_t><<<channels, THREADS>>>(to_x, images, channels, number, to_bias);
}

}  // namespace unit_features

// Batch norm with fixed statistics, with an addition and a ReLU behind it, on a GPU. Maps are of any floating type;
// what is computed of them is float32, and rounded once.
#include <algorithm>
#include <cstdint>

namespace fixed_norm {

constexpr int THREADS = 1024;  // of a channel's block

// Of an argument that says nothing of the type: it may be null.
template <typename T>
struct Same {
    using type = T;
};

// Index: of 32 bits where the numbers can be counted by it. Divisions by 64 bits would take longer than the memory.
template <typename Index, typename T>
__global__ void forward_kernel(const T* x, const float* weight, const float* bias, const float* mean,
                               const float* variance, const T* shortcut, float eps, bool relu, Index all,
                               Index channels, Index number, T* y) {
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < all; i += (Index)blockDim.x * gridDim.x) {
        const Index c = i / number % channels;
        const float scale = weight[c] / sqrtf(variance[c] + eps);
        float value = (float)x[i] * scale + (bias[c] - mean[c] * scale);
        if (shortcut) value += (float)shortcut[i];
        y[i] = (T)(relu && value < 0 ? 0.0f : value);
    }
}

// One block per channel.
template <typename Index, typename T>
__global__ void backward_kernel(const T* gradient, const T* x, const T* y, const float* weight, const float* mean,
                                const float* variance, float eps, bool relu, Index images, Index channels, Index number,
                                T* to_x, float* to_weight, float* to_bias, T* to_shortcut) {
    __shared__ float products[THREADS];
    __shared__ float totals[THREADS];
    const Index c = blockIdx.x;
    const float inverse = 1 / sqrtf(variance[c] + eps);
    float product = 0, total = 0;
    for (Index k = threadIdx.x; k < images * number; k += THREADS) {
        const Index i = (k / number * channels + c) * number + k % number;
        const float g = !relu || (float)y[i] > 0 ? (float)gradient[i] : 0;
        product += g * ((float)x[i] - mean[c]);
        total += g;
        to_x[i] = (T)(g * weight[c] * inverse);
        if (to_shortcut) to_shortcut[i] = (T)g;
    }
    products[threadIdx.x] = product, totals[threadIdx.x] = total;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            products[threadIdx.x] += products[threadIdx.x + half];
            totals[threadIdx.x] += totals[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) to_weight[c] = products[0] * inverse, to_bias[c] = totals[0];
}

// x (images,channels,number); weight, bias, mean, variance (channels); shortcut like x, or null -> y like x
template <typename T>
void forward(const T* x, const float* weight, const float* bias, const float* mean, const float* variance,
             const typename Same<T>::type* shortcut, float eps, bool relu, int64_t images, int64_t channels,
             int64_t number, T* y) {
    const int64_t all = images * channels * number;
    const int blocks = (int)std::min<int64_t>((all + 255) / 256, 1 << 16);
    if (!all) return;
    if (all < INT32_MAX)
        forward_kernel<uint32_t>
            <<<blocks, 256>>>(x, weight, bias, mean, variance, shortcut, eps, relu, all, channels, number, y);
    else
        forward_kernel<int64_t>
            <<<blocks, 256>>>(x, weight, bias, mean, variance, shortcut, eps, relu, all, channels, number, y);
}

// gradient of y, x, y, statistics -> to_x like x, to_weight, to_bias (channels), to_shortcut like x or null
template <typename T>
void backward(const T* gradient, const T* x, const T* y, const float* weight, const float* mean, const float* variance,
              float eps, bool relu, int64_t images, int64_t channels, int64_t number, T* to_x, float* to_weight,
              float* to_bias, typename Same<T>::type* to_shortcut) {
    if (images * channels * number < INT32_MAX)
        backward_kernel<uint32_t><<<channels, THREADS>>>(gradient, x, y, weight, mean, variance, eps, relu, images,
                                                         channels, number, to_x, to_weight, to_bias, to_shortcut);
    else
        backward_kernel<int64_t><<<channels, THREADS>>>(gradient, x, y, weight, mean, variance, eps, relu, images,
                                                        channels, number, to_x, to_weight, to_bias, to_shortcut);
}

}  // namespace fixed_norm

// Means of 2x2 pixels on a GPU: a thread for each number that is written.
#include <algorithm>
#include <cstdint>

namespace average_pool {

__global__ void forward_kernel(const float* x, int64_t all, int64_t columns, int64_t rows, int64_t width,
                               int64_t height, float* y) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < all; i += (int64_t)blockDim.x * gridDim.x) {
        const float* above = x + (i / columns / rows * height + i / columns % rows * 2) * width + i % columns * 2;
        y[i] = (above[0] + above[1] + above[width] + above[width + 1]) * 0.25f;
    }
}

__global__ void backward_kernel(const float* gradient, int64_t all, int64_t columns, int64_t rows, int64_t width,
                                int64_t height, float* to_x) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < all; i += (int64_t)blockDim.x * gridDim.x) {
        const int64_t column = i % width / 2, row = i / width % height / 2;
        const bool inside = column < columns && row < rows;
        to_x[i] = inside ? gradient[(i / width / height * rows + row) * columns + column] * 0.25f : 0;
    }
}

inline int blocks(int64_t all) { return (int)std::min<int64_t>((all + 255) / 256, 1 << 16); }

// x (planes,height,width) -> y (planes,height/2,width/2)
inline void forward(const float* x, int64_t planes, int64_t height, int64_t width, float* y) {
    const int64_t rows = height / 2, columns = width / 2, all = planes * rows * columns;
    if (all) forward_kernel<<<blocks(all), 256>>>(x, all, columns, rows, width, height, y);
}

// gradient of y (planes,height/2,width/2) -> to_x (planes,height,width)
inline void backward(const float* gradient, int64_t planes, int64_t height, int64_t width, float* to_x) {
    const int64_t all = planes * height * width;
    if (all) backward_kernel<<<blocks(all), 256>>>(gradient, all, width / 2, height / 2, width, height, to_x);
}

}  // namespace average_pool

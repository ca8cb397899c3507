// Means of 2x2 pixels on a GPU: a thread for each number that is written. Maps are of any floating type.
#include <algorithm>
#include <cstdint>

namespace average_pool {

// Index: of 32 bits where the numbers can be counted by it. Divisions by 64 bits would take longer than the memory.
template <typename Index, typename T>
__global__ void forward_kernel(const T* x, Index all, Index columns, Index rows, Index width, Index height, T* y) {
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < all; i += (Index)blockDim.x * gridDim.x) {
        const T* above = x + (i / columns / rows * height + i / columns % rows * 2) * width + i % columns * 2;
        y[i] = (T)(((float)above[0] + (float)above[1] + (float)above[width] + (float)above[width + 1]) * 0.25f);
    }
}

template <typename Index, typename T>
__global__ void backward_kernel(const T* gradient, Index all, Index columns, Index rows, Index width, Index height,
                                T* to_x) {
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < all; i += (Index)blockDim.x * gridDim.x) {
        const Index column = i % width / 2, row = i / width % height / 2;
        const bool inside = column < columns && row < rows;
        const Index from = (i / width / height * rows + row) * columns + column;
        to_x[i] = (T)(inside ? (float)gradient[from] * 0.25f : 0.0f);
    }
}

inline int blocks(int64_t all) { return (int)std::min<int64_t>((all + 255) / 256, 1 << 16); }

// x (planes,height,width) -> y (planes,height/2,width/2)
template <typename T>
void forward(const T* x, int64_t planes, int64_t height, int64_t width, T* y) {
    const int64_t rows = height / 2, columns = width / 2, all = planes * rows * columns;
    if (!all) return;
    if (planes * height * width < INT32_MAX)
        forward_kernel<uint32_t><<<blocks(all), 256>>>(x, all, columns, rows, width, height, y);
    else
        forward_kernel<int64_t><<<blocks(all), 256>>>(x, all, columns, rows, width, height, y);
}

// gradient of y (planes,height/2,width/2) -> to_x (planes,height,width)
template <typename T>
void backward(const T* gradient, int64_t planes, int64_t height, int64_t width, T* to_x) {
    const int64_t all = planes * height * width;
    if (!all) return;
    if (all < INT32_MAX)
        backward_kernel<uint32_t><<<blocks(all), 256>>>(gradient, all, width / 2, height / 2, width, height, to_x);
    else
        backward_kernel<int64_t><<<blocks(all), 256>>>(gradient, all, width / 2, height / 2, width, height, to_x);
}

}  // namespace average_pool

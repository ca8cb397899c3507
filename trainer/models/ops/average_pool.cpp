// Means of 2x2 pixels on the CPU.
#include <cstdint>

namespace average_pool {

// x (planes,height,width) -> y (planes,height/2,width/2)
inline void forward(const float* x, int64_t planes, int64_t height, int64_t width, float* y) {
    const int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel for schedule(static)
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t row = 0; row < rows; row++) {
            const float* __restrict__ above = x + (plane * height + 2 * row) * width;
            const float* __restrict__ below = above + width;
            float* __restrict__ means = y + (plane * rows + row) * columns;
            for (int64_t i = 0; i < columns; i++)
                means[i] = (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1]) * 0.25f;
        }
}

// gradient of y (planes,height/2,width/2) -> to_x (planes,height,width)
inline void backward(const float* gradient, int64_t planes, int64_t height, int64_t width, float* to_x) {
    const int64_t rows = height / 2, columns = width / 2;
#pragma omp parallel for schedule(static)
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t row = 0; row < height; row++) {
            float* __restrict__ x = to_x + (plane * height + row) * width;
            const float* __restrict__ mean = gradient + (plane * rows + row / 2) * columns;
            const bool inside = row < 2 * rows;
            for (int64_t i = 0; i < columns; i++) x[2 * i] = x[2 * i + 1] = inside ? mean[i] * 0.25f : 0;
            if (width % 2) x[width - 1] = 0;
        }
}

}  // namespace average_pool

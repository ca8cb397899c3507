// The gradient of rows that were picked by index, added up in the order of the picks.
#include <algorithm>
#include <cstdint>

namespace columns {

// A thread for each column of an image.
__global__ void add(int64_t total, const float* gradient, const int32_t* index, int picks, int columns, int64_t size,
                    float* to_values) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < total; i += (int64_t)blockDim.x * gridDim.x) {
        const int64_t image = i / columns;
        const int column = i % columns;
        for (int64_t pick = image * picks; pick < (image + 1) * picks; pick++)
            to_values[image * size + (int64_t)index[pick] * columns + column] += gradient[pick * columns + column];
    }
}

// gradient f32 (images,picks,columns), index (images,picks) -> to_values (images,rows,columns), `number` numbers
inline void add_rows(const float* gradient, const int32_t* index, int64_t images, int64_t picks, int64_t columns,
                     int64_t number, float* to_values) {
    cudaMemsetAsync(to_values, 0, number * sizeof(float), 0);
    const int64_t total = images * columns;
    const int blocks = std::min<int64_t>((total + 63) / 64, 1 << 16);
    add<<<blocks, 64>>>(total, gradient, index, picks, columns, number / images, to_values);
}

}  // namespace columns

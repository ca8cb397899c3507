// Random keys of a table, on a GPU: a thread for four numbers of a row.
#include <cstdint>

#include "random_keys.h"

namespace random_keys {

__global__ void fill_parts(Draw draw, int64_t columns, float* keys) {
    const int64_t part = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (4 * part < columns) fill_part(draw, blockIdx.y, part, columns, keys);
}

// -> keys (rows,columns)
template <typename Numbers>
void fill(Numbers& numbers, int64_t rows, int64_t columns, float* keys) {
    const dim3 blocks((columns + 1023) / 1024, rows);
    fill_parts<<<blocks, 256>>>(read(numbers), columns, keys);
}

}  // namespace random_keys

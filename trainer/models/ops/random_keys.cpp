// Random keys of a table, on the CPU.
#include "random_keys.h"

#include <cstdint>

namespace random_keys {

// -> keys (rows,columns)
template <typename Numbers>
void fill(Numbers& numbers, int64_t rows, int64_t columns, float* keys) {
    const Draw draw = read(numbers);
    const int64_t parts = (columns + 3) / 4;
#pragma omp parallel for collapse(2)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t part = 0; part < parts; part++) fill_part(draw, row, part, columns, keys);
}

}  // namespace random_keys

// Batched matrix product by oneDNN's sgemm.
#include <cstdint>
#include <dnnl.hpp>

namespace matmul {

// left (number,rows,inner), right (number,inner,columns), each with its last two axes the other way round if it is
// turned -> product (number,rows,columns)
inline void multiply(const float* left, bool turn_left, const float* right, bool turn_right, int64_t number,
                     int64_t rows, int64_t inner, int64_t columns, float* product) {
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < number; n++)
        dnnl_sgemm(turn_left ? 'T' : 'N', turn_right ? 'T' : 'N', rows, columns, inner, 1.0f, left + n * rows * inner,
                   turn_left ? rows : inner, right + n * inner * columns, turn_right ? inner : columns, 0.0f,
                   product + n * rows * columns, columns);
}

}  // namespace matmul

// The norm of all gradients and the update of all parameters on a GPU, with a launch per row.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "update_rules.h"

namespace update {

__global__ void square_sums(int64_t number, const float* gradient, float* sums) {
    __shared__ float shares[256];
    float sum = 0;
    for (int64_t i = blockIdx.x * 256 + threadIdx.x; i < number; i += 256 * gridDim.x) sum += gradient[i] * gradient[i];
    shares[threadIdx.x] = sum;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shares[threadIdx.x] += shares[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = shares[0];
}

__global__ void root_of_sum(int number, const float* sums, float* norm) {
    double total = 0;
    for (int i = 0; i < number; i++) total += sums[i];
    *norm = sqrt(total);
}

template <typename Rule>
__global__ void apply_to_row(Row row, const float* norm, float max_norm, Rule rule) {
    const float factor = min(max_norm / (*norm + 1e-6f), 1.0f);
    for (int64_t i = blockIdx.x * 256 + threadIdx.x; i < row.number; i += 256 * gridDim.x) rule(row, i, factor);
}

// The gradients are the first that the rows read -> norm (1); `sums` (64 rows) is working memory.
inline void measure(const std::vector<Row>& rows, float* norm, float* sums) {
    for (size_t row = 0; row < rows.size(); row++)
        square_sums<<<64, 256>>>(rows[row].number, rows[row].old[0], sums + row * 64);
    root_of_sum<<<1, 1>>>(rows.size() * 64, sums, norm);
}

// Gradients are scaled by max_norm / norm where that is below 1.
template <typename Rule>
void apply(const std::vector<Row>& rows, const float* norm, float max_norm, const Rule rule) {
    for (const Row& row : rows) {
        const int blocks = (int)std::min<int64_t>((row.number + 255) / 256, 4096);
        apply_to_row<Rule><<<blocks, 256>>>(row, norm, max_norm, rule);
    }
}

}  // namespace update

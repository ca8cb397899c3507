// The norm of all gradients and the update of all parameters on a GPU, with a launch for every 48 rows.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "update_rules.h"

namespace update {

constexpr int THREADS = 256;
constexpr int MOST_ROWS = 48;      // of a launch: its parameters are at most 4 KB
constexpr int MOST_BLOCKS = 1024;  // of a row; a block has 4096 numbers where these are enough

// The rows of a launch; row i has the blocks from first[i] to first[i + 1].
struct Table {
    Row rows[MOST_ROWS];
    int first[MOST_ROWS + 1];
};

// The numbers of its row that a thread is for: from `first`, every `step`-th.
struct Part {
    int row;
    int64_t first, step;
};

__device__ inline Part part_of(const int* first) {
    const int block = blockIdx.x;
    int row = 0;
    while (block >= first[row + 1]) row++;
    return {row, (int64_t)(block - first[row]) * THREADS + threadIdx.x,
            (int64_t)(first[row + 1] - first[row]) * THREADS};
}

template <typename Norm>
__global__ void sums_of_rows(const Table table, float* sums, const Norm kind) {
    __shared__ float shares[THREADS];
    const Part part = part_of(table.first);
    const int64_t number = table.rows[part.row].number;
    const float* gradient = table.rows[part.row].old[0];
    float sum = 0;
    for (int64_t i = part.first; i < number; i += part.step) sum = kind.with(sum, gradient[i]);
    shares[threadIdx.x] = sum;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shares[threadIdx.x] = kind.joined(shares[threadIdx.x], shares[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = shares[0];
}

// One block.
template <typename Norm>
__global__ void root_of_sum(int number, const float* sums, float* norm, const Norm kind) {
    __shared__ typename Norm::Total shares[1024];
    typename Norm::Total sum = 0;
    for (int i = threadIdx.x; i < number; i += 1024) sum = kind.joined(sum, sums[i]);
    shares[threadIdx.x] = sum;
    for (int half = 512; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shares[threadIdx.x] = kind.joined(shares[threadIdx.x], shares[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) *norm = kind.root(shares[0]);
}

template <typename Rule>
__global__ void apply_to_rows(const Table table, const float* norm, const float* scaled, float max_norm, float limit,
                              Rule rule) {
    const Part part = part_of(table.first);
    const Row row = table.rows[part.row];
    const Clip clip = clip_by(*norm, scaled, max_norm, limit);
    if (scaled) rule.follow({scaled[0], scaled[1], scaled[2], scaled[3]});
    if (clip.skips)
        for (int64_t i = part.first; i < row.number; i += part.step) leave(row, i);
    else
        for (int64_t i = part.first; i < row.number; i += part.step) rule(row, i, clip);
}

// `launch(table, blocks)` for all rows, up to MOST_ROWS at a time.
template <typename Launch>
void by_tables(const std::vector<Row>& rows, Launch launch) {
    for (size_t done = 0; done < rows.size(); done += MOST_ROWS) {
        const int count = (int)std::min<size_t>(MOST_ROWS, rows.size() - done);
        Table table{};
        for (int i = 0; i < count; i++) {
            table.rows[i] = rows[done + i];
            const int64_t blocks = (table.rows[i].number + 4095) / 4096;
            table.first[i + 1] = table.first[i] + (int)std::min<int64_t>(blocks, MOST_BLOCKS);
        }
        launch(table, table.first[count]);
    }
}

// The gradients are the first that the rows read -> norm (1); `sums` (MOST_BLOCKS rows) is working memory.
template <typename Norm>
void measure(const std::vector<Row>& rows, float* norm, float* sums, const Norm kind) {
    int number = 0;
    by_tables(rows, [&](const Table& table, int blocks) {
        sums_of_rows<Norm><<<blocks, THREADS>>>(table, sums + number, kind);
        number += blocks;
    });
    root_of_sum<Norm><<<1, 1024>>>(number, sums, norm, kind);
}

// Gradients are scaled by max_norm / norm where that is below 1, and cut at `limit`. `scaled`: null where the loss was
// not.
template <typename Rule>
void apply(const std::vector<Row>& rows, const float* norm, const float* scaled, float max_norm, float limit,
           const Rule rule) {
    by_tables(rows, [&](const Table& table, int blocks) {
        apply_to_rows<Rule><<<blocks, THREADS>>>(table, norm, scaled, max_norm, limit, rule);
    });
}

}  // namespace update

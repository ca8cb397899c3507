// The norm of all gradients and the update of all parameters on the CPU, whose threads share out pieces of all rows.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "update_rules.h"

namespace update {

struct Piece {
    int row;
    int64_t first, last;
};

inline std::vector<Piece> pieces_of(const std::vector<Row>& rows) {
    const int64_t size = 16384;
    std::vector<Piece> pieces;
    for (int row = 0; row < (int)rows.size(); row++)
        for (int64_t first = 0; first < rows[row].number; first += size)
            pieces.push_back({row, first, std::min(first + size, rows[row].number)});
    return pieces;
}

// The gradients are the first that the rows read -> norm (1); `sums` is working memory of the GPU.
template <typename Norm>
void measure(const std::vector<Row>& rows, float* norm, float* /*sums*/, const Norm kind) {
    const auto pieces = pieces_of(rows);
    std::vector<float> sums(pieces.size());
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < (int64_t)pieces.size(); k++) {
        const float* __restrict__ gradient = rows[pieces[k].row].old[0];
        float sum = 0;
        for (int64_t i = pieces[k].first; i < pieces[k].last; i++) sum = kind.with(sum, gradient[i]);
        sums[k] = sum;
    }
    typename Norm::Total total = 0;
    for (const float sum : sums) total = kind.joined(total, sum);
    *norm = kind.root(total);
}

// Gradients are scaled by max_norm / norm where that is below 1, and cut at `limit`. `scaled`: null where the loss was
// not.
template <typename Rule>
void apply(const std::vector<Row>& rows, const float* norm, const float* scaled, float max_norm, float limit,
           Rule rule) {
    const auto pieces = pieces_of(rows);
    const Clip clip = clip_by(*norm, scaled, max_norm, limit);
    if (scaled) rule.follow({scaled[0], scaled[1], scaled[2], scaled[3]});
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < (int64_t)pieces.size(); k++) {
        const Row row = rows[pieces[k].row];
        const Rule own = rule;  // no store to a parameter can change this copy
        if (clip.skips)
            for (int64_t i = pieces[k].first; i < pieces[k].last; i++) leave(row, i);
        else
            for (int64_t i = pieces[k].first; i < pieces[k].last; i++) own(row, i, clip);
    }
}

}  // namespace update

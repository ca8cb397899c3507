// Random keys of a table, four numbers of a row at a time; for the CPU and a GPU.
#include <algorithm>
#include <cstdint>

#include "philox.h"

namespace random_keys {

// What is drawn for, all but row and column.
struct Draw {
    uint32_t seed, step, use;
};

// Fills the columns [4 part, 4 part + 4) of a row, as far as there are any. The highest 24 bits are a float32 exactly.
ON_DEVICE inline void fill_part(Draw draw, int64_t row, int64_t part, int64_t columns, float* keys) {
    const philox::Words drawn = philox::draw({{(uint32_t)part, (uint32_t)row, draw.step, 0}}, draw.seed, draw.use);
    for (int i = 0; i < 4 && 4 * part + i < columns; i++)
        keys[row * columns + 4 * part + i] = (drawn.word[i] >> 8) * (1.0f / (1 << 24));
}

// `numbers`: seed, step, use.
template <typename Numbers>
Draw read(Numbers& numbers) {
    return {(uint32_t)numbers["seed"], (uint32_t)numbers["step"], (uint32_t)numbers["use"]};
}

}  // namespace random_keys

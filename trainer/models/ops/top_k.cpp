// Indices of the largest values in a total order: descending value, then ascending index.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace top_k {

// Writes the indices of the `kept` largest of values[0, width), increased by `first`. A float's bits, mapped to an
// unsigned integer with the same order, stand above the inverted index in one 64-bit key: the keys are distinct, their
// order is total (NaN included), and sorting integers needs no comparison function.
inline void keep_largest(const float* values, int64_t width, int64_t kept, int64_t first, int32_t* indices) {
    std::vector<uint64_t> keys(width);
    for (int64_t i = 0; i < width; i++) {
        uint32_t bits;
        std::memcpy(&bits, values + i, 4);
        bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        keys[i] = (uint64_t)~bits << 32 | (uint32_t)i;
    }
    if (kept < width) std::nth_element(keys.begin(), keys.begin() + kept, keys.end());
    std::sort(keys.begin(), keys.begin() + kept);
    for (int64_t i = 0; i < kept; i++) indices[i] = (int32_t)(first + (uint32_t)keys[i]);
}

// values (rows,width) -> indices (rows,kept)
inline void of_rows(const float* values, int64_t rows, int64_t width, int64_t kept, int32_t* indices) {
#pragma omp parallel for
    for (int64_t row = 0; row < rows; row++) keep_largest(values + row * width, width, kept, 0, indices + row * kept);
}

// values (rows,width) -> indices (rows,kept), at most `most` of each level; a level of no more keeps its order.
// `numbers`: levels, count0, count1, ... the values of each level.
template <typename Numbers>
void of_levels(const float* values, int64_t rows, int64_t width, int64_t kept, int64_t most, Numbers& numbers,
               int32_t* indices) {
    const int64_t levels = numbers["levels"];
    std::vector<int64_t> counts, from, to;
    for (int64_t level = 0, first = 0, place = 0; level < levels; level++) {
        counts.push_back(numbers["count" + std::to_string(level)]);
        from.push_back(first), to.push_back(place);
        first += counts.back(), place += std::min(counts.back(), most);
    }
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t level = 0; level < levels; level++) {
            const int64_t first = from[level];
            int32_t* of_level = indices + row * kept + to[level];
            if (counts[level] > most)
                keep_largest(values + row * width + first, counts[level], most, first, of_level);
            else
                for (int64_t i = 0; i < counts[level]; i++) of_level[i] = (int32_t)(first + i);
        }
}

}  // namespace top_k

// Indices of the largest values in the total order of top_k.cpp, on a GPU: a block for each row of each level.
//
//   values ──counts of the keys' next 11 bits, until it is known which are kept──► keys ──sorted──► indices
//
// CUB's sort of rows has a block for each, too, and moves all of a row, pass after pass, to find a hundredth of it.
#include <algorithm>
#include <cstdint>
#include <string>

namespace top_k {

constexpr int THREADS = 1024;
constexpr int MOST_KEPT = 4096;  // 32 KB of keys
constexpr int MOST_LEVELS = 16;  // of a launch
constexpr int BITS = 11, DIGITS = 1 << BITS;

typedef unsigned long long Key;

// Where each level's values begin in a row, and how many there are; the same of its indices.
struct Levels {
    int first[MOST_LEVELS], width[MOST_LEVELS], place[MOST_LEVELS], kept[MOST_LEVELS];
};

// The keys of a row are all different, and those of the largest values are the smallest: a value's bits, mapped to an
// unsigned integer with the opposite order, stand above its index.
__device__ inline Key key_of(const float* values, int index) {
    const unsigned bits = __float_as_uint(values[index]);
    return (Key)(bits & 0x80000000u ? bits : ~bits & 0x7fffffffu) << 32 | (unsigned)index;
}

// The smallest `digit` up to which the counts are `wanted` or more, and what they are `before` it.
__device__ inline void find_digit(const unsigned* counts, unsigned wanted, unsigned* sums, unsigned& digit,
                                  unsigned& before) {
    const int thread = threadIdx.x;
    const unsigned one = counts[2 * thread], two = counts[2 * thread + 1];
    sums[thread] = one + two;
    for (int by = 1; by < THREADS; by *= 2) {
        __syncthreads();
        const unsigned other = thread >= by ? sums[thread - by] : 0;
        __syncthreads();
        sums[thread] += other;
    }
    const unsigned first = sums[thread] - one - two;
    if (first < wanted && first + one >= wanted) digit = 2 * thread, before = first;
    if (first + one < wanted && sums[thread] >= wanted) digit = 2 * thread + 1, before = first + one;
    __syncthreads();
}

// `whole`: a level of which all is kept is sorted, too.
__global__ void keep_largest(const float* values, int64_t width_of_row, int64_t kept_of_row, Levels levels, bool whole,
                             int32_t* indices) {
    __shared__ Key keys[MOST_KEPT];
    __shared__ unsigned counts[DIGITS];
    __shared__ unsigned sums[THREADS];
    __shared__ unsigned digit, before, found;
    const int level = blockIdx.x, thread = threadIdx.x;
    const int first = levels.first[level], width = levels.width[level], kept = levels.kept[level];
    values += blockIdx.y * width_of_row + first;
    indices += blockIdx.y * kept_of_row + levels.place[level];
    if (width == kept && !whole) {
        for (int i = thread; i < kept; i += THREADS) indices[i] = first + i;
        return;
    }
    // The keys that are kept have no more than `last` in the bits of `looked`.
    Key last = 0, looked = 0;
    if (width > MOST_KEPT) {
        unsigned wanted = kept;
        for (int shift = 64 - BITS; looked == 0 || counts[digit] != wanted; shift = max(shift - BITS, 0)) {
            __syncthreads();
            for (int i = thread; i < DIGITS; i += THREADS) counts[i] = 0;
            __syncthreads();
            for (int i = thread; i < width; i += THREADS) {
                const Key key = key_of(values, i);
                if ((key & looked) == last) atomicAdd(&counts[key >> shift & (DIGITS - 1)], 1u);
            }
            __syncthreads();
            find_digit(counts, wanted, sums, digit, before);
            wanted -= before;
            last |= (Key)digit << shift, looked |= (Key)(DIGITS - 1) << shift;
        }
    }
    if (thread == 0) found = 0;
    __syncthreads();
    for (int i = thread; i < width; i += THREADS) {
        const Key key = key_of(values, i);
        if ((key & looked) <= last) keys[atomicAdd(&found, 1u)] = key;
    }
    __syncthreads();
    int size = 1;
    while (size < (int)found) size *= 2;
    for (int i = found + thread; i < size; i += THREADS) keys[i] = ~(Key)0;
    for (int sorted = 2; sorted <= size; sorted *= 2)
        for (int by = sorted / 2; by; by /= 2) {
            __syncthreads();
            for (int i = thread; i < size; i += THREADS) {
                const int other = i ^ by;
                if (other < i || (keys[i] > keys[other]) != ((i & sorted) == 0)) continue;
                const Key key = keys[i];
                keys[i] = keys[other], keys[other] = key;
            }
        }
    __syncthreads();
    for (int i = thread; i < kept; i += THREADS) indices[i] = first + (int)(unsigned)keys[i];
}

// values (rows,width) -> indices (rows,kept), `kept` at most MOST_KEPT
inline void of_rows(const float* values, int64_t rows, int64_t width, int64_t kept, int32_t* indices) {
    const Levels row = {{0}, {(int)width}, {0}, {(int)kept}};
    keep_largest<<<dim3(1, rows), THREADS>>>(values, width, kept, row, true, indices);
}

// values (rows,width) -> indices (rows,kept), at most `most`, which is MOST_KEPT or less, of each level; a level of no
// more keeps its order. `numbers`: levels, count0, count1, ... the values of each level.
template <typename Numbers>
void of_levels(const float* values, int64_t rows, int64_t width, int64_t kept, int64_t most, Numbers& numbers,
               int32_t* indices) {
    const int number = numbers["levels"];
    for (int begin = 0, first = 0, place = 0; begin < number; begin += MOST_LEVELS) {
        const int end = std::min(number, begin + MOST_LEVELS);
        Levels levels;
        for (int level = begin; level < end; level++) {
            const int count = numbers["count" + std::to_string(level)], i = level - begin;
            levels.first[i] = first, levels.width[i] = count, levels.place[i] = place;
            levels.kept[i] = std::min<int>(count, most);
            first += count, place += levels.kept[i];
        }
        keep_largest<<<dim3(end - begin, rows), THREADS>>>(values, width, kept, levels, false, indices);
    }
}

}  // namespace top_k

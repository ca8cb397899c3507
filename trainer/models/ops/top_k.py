"""Top-k by value, with a fixed order among equals: descending value, then ascending index.

Jittor's own ``argsort`` and ``topk`` leave the order of equal values open on the CPU, so two runs could sample
different boxes.
"""

from __future__ import annotations

from trainer.device import jt

# A float's bits, mapped to an unsigned integer with the same order, stand above the inverted index in one 64-bit key:
# the keys are distinct, their order is total (NaN included), and sorting integers needs no comparison function.
CPU_HEADER = r"""
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>
namespace jittor {
// Writes the indices of the `kept` largest of values[0, width), increased by `first`.
inline void keep_largest(const float* values, int64 width, int64 kept, int64 first, int32* indices) {
    std::vector<uint64_t> keys(width);
    for (int64 i = 0; i < width; i++) {
        uint32_t bits;
        std::memcpy(&bits, values + i, 4);
        bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        keys[i] = (uint64_t)~bits << 32 | (uint32_t)i;
    }
    if (kept < width) std::nth_element(keys.begin(), keys.begin() + kept, keys.end());
    std::sort(keys.begin(), keys.begin() + kept);
    for (int64 i = 0; i < kept; i++) indices[i] = (int32)(first + (uint32_t)keys[i]);
}
} // namespace jittor
"""
CPU_SOURCE = r"""
    const int64 rows = in0_shape0, width = in0_shape1, kept = out0_shape1;
    #pragma omp parallel for
    for (int64 row = 0; row < rows; row++)
        keep_largest(in0_p + row * width, width, kept, 0, out0_p + row * kept);
"""
CPU_LEVELS = r"""
    const int64 rows = in0_shape0, width = in0_shape1, kept = out0_shape1, most = data["most"], levels = data["levels"];
    std::vector<int64> counts, from, to;
    for (int64 level = 0, first = 0, place = 0; level < levels; level++) {
        counts.push_back(data["count" + std::to_string(level)]);
        from.push_back(first), to.push_back(place);
        first += counts.back(), place += std::min(counts.back(), most);
    }
    #pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (int64 row = 0; row < rows; row++)
        for (int64 level = 0; level < levels; level++) {
            const int64 first = from[level];
            int32* indices = out0_p + row * kept + to[level];
            if (counts[level] > most) keep_largest(in0_p + row * width + first, counts[level], most, first, indices);
            else for (int64 i = 0; i < counts[level]; i++) indices[i] = (int32)(first + i);
        }
"""


def top_k(values: jt.Var, count: int) -> jt.Var:
    """Indices of the `count` largest values of each row, largest first, equal values by ascending index.

    Args:
        values: f32 (B,N).
        count: at most N.

    Returns:
        i32 (B,count); no gradient.
    """
    if jt.flags.use_cuda:
        # CUB's radix sort, which Jittor uses on a GPU, is stable.
        return jt.argsort(values, dim=1, descending=True)[0][:, :count]
    return jt.code((values.shape[0], count), "int32", [values.detach()], cpu_header=CPU_HEADER, cpu_src=CPU_SOURCE)


def top_k_of_levels(values: jt.Var, counts: list[int], most: int) -> jt.Var:
    """Indices of the `most` largest values of each level, the levels one behind the other.

    A level of more than `most` values is sorted as by `top_k`, all indices of others stand in their order.

    Args:
        values: f32 (B,N).
        counts: values of each level, N in all.

    Returns:
        i32 (B,Σ min(count, most)); no gradient.
    """
    kept = sum(min(count, most) for count in counts)
    if jt.flags.use_cuda:
        parts, first = [], 0
        for count in counts:
            level = values[:, first : first + count]
            order = top_k(level, most) if count > most else jt.index(level.shape, 1)
            parts.append(order + first)
            first += count
        return jt.concat(parts, 1)
    return jt.code(
        (values.shape[0], kept),
        "int32",
        [values.detach()],
        cpu_header=CPU_HEADER,
        cpu_src=CPU_LEVELS,
        data={"most": most, "levels": len(counts), **{f"count{i}": count for i, count in enumerate(counts)}},
    )

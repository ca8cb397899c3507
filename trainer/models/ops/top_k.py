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
#include <vector>
"""
CPU_SOURCE = r"""
    const int64 rows = in0_shape0, width = in0_shape1, kept = out0_shape1;
    #pragma omp parallel for
    for (int64 row = 0; row < rows; row++) {
        std::vector<uint64_t> keys(width);
        for (int64 i = 0; i < width; i++) {
            uint32_t bits;
            std::memcpy(&bits, in0_p + row * width + i, 4);
            bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
            keys[i] = (uint64_t)~bits << 32 | (uint32_t)i;
        }
        if (kept < width) std::nth_element(keys.begin(), keys.begin() + kept, keys.end());
        std::sort(keys.begin(), keys.begin() + kept);
        for (int64 i = 0; i < kept; i++) out0_p[row * kept + i] = (int32)(uint32_t)keys[i];
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

"""Top-k by value, with a fixed order among equals: descending value, then ascending index.

Jittor's own ``argsort`` and ``topk`` leave the order of equal values open on the CPU, so two runs could sample
different boxes. On a GPU they sort all of a row to find a hundredth of it.
"""

from __future__ import annotations

from trainer.device import jt
from trainer.device.kernels import kernel

MOST_KEPT = 4096  # by the kernel for a GPU, as in top_k.cu
OF_ROWS = "top_k::of_rows(in0_p, in0_shape0, in0_shape1, out0_shape1, out0_p);"
OF_LEVELS = 'top_k::of_levels(in0_p, in0_shape0, in0_shape1, out0_shape1, data["most"], data, out0_p);'


def top_k(values: jt.Var, count: int) -> jt.Var:
    """Indices of the `count` largest values of each row, largest first, equal values by ascending index.

    Args:
        values: f32 (B,N).
        count: at most N.

    Returns:
        i32 (B,count); no gradient.
    """
    if jt.flags.use_cuda and count > MOST_KEPT:
        # CUB's radix sort, which Jittor uses on a GPU, is stable.
        return jt.argsort(values, dim=1, descending=True)[0][:, :count]
    return jt.code((values.shape[0], count), "int32", [values.detach()], **kernel(__file__, OF_ROWS))


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
    if jt.flags.use_cuda and most > MOST_KEPT:
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
        data={"most": most, "levels": len(counts), **{f"count{i}": count for i, count in enumerate(counts)}},
        **kernel(__file__, OF_LEVELS),
    )

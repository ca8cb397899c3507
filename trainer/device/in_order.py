"""Sums on a GPU in one order, where two runs have to be equal to the last bit: how Jittor's kernels are compiled then.

Jittor asks the function in ``in_order.cpp`` for every kernel that this process uses for the first time. It has sums
made in one order, and ends the run where it cannot: no kernel that adds in any order is ever used. Operators of our own
have a kernel without atomic additions for it, and cuDNN is asked for the algorithms that it says are deterministic.
"""

from __future__ import annotations

from shared.errors import UserError
from trainer.device import jt
from trainer.device.kernels import kernel
from trainer.device.mode import Mode, choose, chosen

_begun = False


def begin(mode: Mode) -> None:
    """From now on operators of this process compute like this.

    Raises:
        UserError: on a GPU they already do so in any order, or in one, and are asked for the other: kernels stay.
    """
    global _begun
    if jt.flags.use_cuda and _begun and mode.deterministic != chosen().deterministic:
        raise UserError(
            f"config key 'randomness.deterministic' is {mode.deterministic}, and was {chosen().deterministic} for what "
            "this process has built before; on a GPU a process has one of them: set both configs alike"
        )
    if jt.flags.use_cuda and mode.deterministic and not _begun:
        jt.code((1,), "float32", [], **kernel(__file__, "in_order::install(); out0_p[0] = 0;")).sync()
    choose(mode)
    _begun = True


def sums_in_order() -> bool:
    """Whether gradients need kernels that make their sums in one order. Those of the CPU do so anyway."""
    return bool(jt.flags.use_cuda) and chosen().deterministic

"""The device's memory is used up: how Jittor says so, and what that is for the user.

On a GPU the operator that needs memory fails, with the shapes of all of its arrays, in up to hundreds of lines. (On the
CPU Jittor does not look whether it has got any: the process is killed by Linux, or crashes.)
"""

from __future__ import annotations

import re

_SIGNS = re.compile(
    "Unable to alloc cuda[^\n]*|[GC]PU memory is overflow|[^\n]*cudaErrorMemoryAllocation|[^\n]*STATUS_ALLOC_FAILED"
)
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
REMEDY = (
    "lower train_dataloader.batch_size (optim_wrapper.accumulative_counts makes up for it), the Resize scale or "
    "model.train_cfg.rcnn.sampler.num"
)


class OutOfMemory(Exception):
    """One line for the user: what was computed, what to lower."""


def sign(error: RuntimeError) -> str:
    """What in Jittor's text says that memory is used up; empty where nothing does."""
    found = _SIGNS.search(_COLOURS.sub("", str(error)))
    return " ".join(found[0].split()) if found else ""

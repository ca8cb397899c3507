"""What a sample may depend on: its image and its seed.

Every generator that a pipeline may draw from is seeded before each sample: `random`, numpy's and torch's own, and those
that albumentations keeps in its compositions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose


def seed_everything(seed: int, transforms: list[Any]) -> None:
    """Every random generator that a pipeline may use, from one 64-bit seed.

    Args:
        transforms: the pipeline's (`all_transforms`).
    """
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.default_generator.manual_seed(seed)
    for transform in transforms:
        for held in vars(transform).values():
            if callable(reseed := getattr(held, "set_random_seed", None)):
                reseed(seed & 0xFFFFFFFF)


def all_transforms(pipeline: Any) -> list[Any]:
    """The transforms of a pipeline, or of several, with those within others."""
    return list(_within(pipeline))


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _within(one)
    elif isinstance(value, Compose):
        yield from _within(value.transforms)
    elif callable(value) and hasattr(value, "__dict__") and not isinstance(value, type):
        yield value
        for held in vars(value).values():
            if isinstance(held, BaseTransform | Compose | list | tuple):
                yield from _within(held)

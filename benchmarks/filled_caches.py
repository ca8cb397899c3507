"""MMDetection's own CachedMosaic and CachedMixUp with the caches that the data server says a sample has.

Which images are in a cache, and by which seeds they were made, is drawn by `data_server.datasets.cached`. Here each is
made before the sample, by MMDetection's transforms with lists of their own, whether it will be looked at or not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from data_server.datasets.cached import drawn


def fill_caches(dataset: Any) -> None:
    """From now on all caches of a data set's pipelines are filled before each of its samples."""
    for leaf in _leaves(dataset):
        if any(hasattr(step, "results_cache") for step in leaf.pipeline.transforms):
            leaf.prepare_data = _filled_first(leaf, leaf.prepare_data)


def seed_all(seed: int) -> None:
    """Every generator that MMDetection draws from, from a 64-bit seed, as the data server does it."""
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.manual_seed(seed)


def _leaves(dataset: Any) -> Iterator[Any]:
    for inner in getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]:
        if inner is not None:
            yield from _leaves(inner)
        elif hasattr(dataset, "prepare_data"):
            yield dataset


def _filled_first(dataset: Any, prepare: Any) -> Any:
    def prepared(index: int) -> Any:
        _fill(dataset, len(dataset.pipeline.transforms))
        return prepare(index)

    return prepared


def _fill(dataset: Any, depth: int) -> None:
    draws = random.Random(repr(random.getstate()))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    filled = []
    for at, step in enumerate(dataset.pipeline.transforms[:depth]):
        if hasattr(step, "results_cache"):
            held = list(drawn(step.max_cached_images, len(dataset), draws))
            filled.append((step, [_made(dataset, at, *one) for one in held]))
    for step, cache in filled:
        step.results_cache = cache
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def _made(dataset: Any, depth: int, index: int, seed: int) -> Any:
    seed_all(seed)
    results = None
    while results is None:
        _fill(dataset, depth)
        results = dataset.get_data_info(index)
        for step in dataset.pipeline.transforms[:depth]:
            if results is not None:
                results = step(results)
        if results is None:
            index = dataset._rand_another()
    return results

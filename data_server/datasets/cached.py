"""What MMDetection's CachedMosaic and CachedMixUp mix into an image.

There they keep what their worker made last, each up to itself, and mix some of it in. So a sample would depend on its
worker and on what that has made before. Here each sample has caches of its own, as they are in the midst of an epoch::

    pipeline            load ─► boxes ─► CachedMosaic (40) ─► resize ─► crop ─► CachedMixUp (20) ─► pack
    in its cache                         40 images, each through load ─► boxes
                                                                                20, each through load … crop

    which images        drawn without repetition from those of an epoch; where these are too few, again and again
    how they were made  each by a seed of its own, caches on its way included; where a transform rejects it, by another
    when                the transform asks for it: what it does not look at is never made

Images and seeds follow from the state of the generators when the pipeline begins, and leave that state as it is. The
rest is MMDetection's: the transform adds its image to the cache, takes one out and chooses, by its own draws.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmdet.datasets.transforms import Mosaic

from data_server.datasets.randomness import seed_everything

Made = dict[str, Any]


def is_cached(transform: Any) -> bool:
    """Whether a transform keeps what it was given, for later samples."""
    return hasattr(transform, "results_cache")


def most(steps: Sequence[Any]) -> int:
    """Of how many images a sample is made, at most, by the transforms of a pipeline that have a cache."""
    count = 1
    for step in filter(is_cached, steps):
        count *= 4 if isinstance(step, Mosaic) else 2
    return count


def drawn(capacity: int, places: int, draws: random.Random) -> Iterator[tuple[int, int]]:
    """What a cache holds: `capacity` images, each one of `places` and the seed that it was made with."""
    chosen: list[int] = []
    while len(chosen) < capacity:
        chosen += draws.sample(range(places), min(places, capacity - len(chosen)))
    return ((place, draws.getrandbits(64)) for place in chosen)


class Caches:
    """Those of one pipeline of a data set.

    Attributes:
        places: int64 (n,), the images of an epoch, an image as often as it is in one; None: each once.
    """

    def __init__(self, dataset: Any, pipeline: Any, begins: Callable[[int], None]) -> None:
        """`begins` is called with each image of `dataset` that is read for a cache."""
        self.places: np.ndarray | None = None
        self._dataset = dataset
        self._steps = getattr(pipeline, "transforms", pipeline)
        self._begins = begins
        self._depths = [depth for depth, step in enumerate(self._steps) if is_cached(step)]

    def __bool__(self) -> bool:
        return bool(self._depths)

    def fill(self, depth: int | None = None) -> None:
        """Gives the transforms before the one at `depth`, by default all, the caches of another sample."""
        if not self._depths:
            return
        draws = random.Random(repr(random.getstate()))
        for at in self._depths:
            if depth is None or at < depth:
                count = len(self._dataset) if self.places is None else len(self.places)
                held = drawn(self._steps[at].max_cached_images, count, draws)
                self._steps[at].results_cache = _Cache(at, held, self._made)

    def _made(self, depth: int, place: int, seed: int) -> Made:
        """What the transforms before the one at `depth` make of an image."""
        index = place if self.places is None else int(self.places[place])
        with _seeded(seed, self._steps):
            for _ in range(self._dataset.max_refetch + 1):
                results = self._through(depth, index)
                if results is not None:
                    return results
                index = self._dataset._rand_another()
        raise RuntimeError(f"no image gets through the pipeline before {type(self._steps[depth]).__name__}")

    def _through(self, depth: int, index: int) -> Made | None:
        self._begins(index)
        self.fill(depth)
        results: Made | None = self._dataset.get_data_info(index)
        for step in self._steps[:depth]:
            if results is not None:
                results = step(results)
        return results


class _Cache:
    """A list of results as MMDetection's transforms use it, whose items are made when they are looked at."""

    def __init__(self, depth: int, held: Iterator[tuple[int, int]], make: Callable[[int, int, int], Made]) -> None:
        self._items: list[Made | tuple[int, int]] = list(held)
        self._depth, self._make = depth, make

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Made:
        item = self._items[number]
        if isinstance(item, tuple):
            item = self._items[number] = self._make(self._depth, *item)
        return item

    def append(self, results: Made) -> None:
        self._items.append(results)

    def pop(self, number: int) -> None:
        self._items.pop(number)


@contextmanager
def _seeded(seed: int, transforms: list[Any]) -> Iterator[None]:
    """Within, every generator is at `seed`; afterwards `random`'s, numpy's and torch's are where they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_everything(seed, transforms)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])

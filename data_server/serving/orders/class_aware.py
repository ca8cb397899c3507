"""MMDetection's ClassAwareSampler: all classes come equally often, however many images they are in.

    classes, in an order of their own each time      b   c   a     c   a   b     a ...
    ``num_sample_class`` images of each, 2 here      5 7 1 0 3 5   4 1 5 3 7 5   3 ...

The images of a class come in an order of their own, all of them before any comes again. An epoch has as many images as
the data, and begins all orders anew. A class without images is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_server.serving.orders import Indices, Rows
from data_server.serving.orders.batching import Batching
from shared.errors import UserError


class ClassAwareOrder:
    """See `data_server.serving.orders.Order`.

    Args:
        by_class: the images that each class is in, int64 (n,).

    Raises:
        UserError: no class has an image, or an epoch has no batch.
    """

    def __init__(self, batching: Batching, by_class: Sequence[Indices], in_a_row: int, seed: int) -> None:
        self._batching, self._in_a_row, self._seed = batching, in_a_row, seed
        self._by_class = [images for images in by_class if len(images)]
        self.batches_per_epoch = batching.length(len(batching.groups))
        if not self._by_class or not self.batches_per_epoch:
            raise UserError(
                f"ClassAwareSampler has no batch to make of {len(batching.groups)} images with "
                f"{len(self._by_class)} annotated classes"
            )

    def batches(self, epoch: int) -> Rows:
        random = np.random.default_rng([self._seed, epoch])
        return self._batching.cut(self._drawn(random), self.batches_per_epoch, random)

    def _drawn(self, random: np.random.Generator) -> Indices:
        """The images of an epoch, in order."""
        images, classes, in_a_row = len(self._batching.groups), len(self._by_class), self._in_a_row
        times = -(-images // (classes * in_a_row))
        turns = shuffled(random, np.arange(classes), times).reshape(times, classes)
        drawn = np.stack([shuffled(random, one, -(-times * in_a_row // len(one)))[: times * in_a_row]
                          for one in self._by_class])  # fmt: skip
        each = drawn.reshape(classes, times, in_a_row)
        taken: Indices = each[turns, np.arange(times)[:, None]]
        return taken.reshape(-1)[:images]


def shuffled(random: np.random.Generator, things: Indices, times: int) -> Indices:
    """`things` so many times, each time in another order, end to end."""
    return random.permuted(np.tile(things, (times, 1)), axis=1).reshape(-1)

"""MMDetection's CustomSampleSizeSampler: a fixed number of images of each data set in an epoch.

    dataset_size [-1, 3]     epoch 0: all of a, b's 2 0 4      epoch 1: all of a, b's 1 3 | 3 ...      mixed

-1 is all of a data set. Of any other, images come in an order of their own, all of them before any comes again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_server.serving.orders import Rows
from data_server.serving.orders.batching import Batching
from data_server.serving.orders.cycle import Cycle
from shared.errors import UserError


class SampleSizesOrder:
    """See `data_server.serving.orders.Order`.

    Args:
        sizes: images of each data set, in their order under one index.
        wanted: -1, or how many of them are in an epoch.

    Raises:
        UserError: there are fewer than wanted, or an epoch has no batch.
    """

    def __init__(self, batching: Batching, sizes: Sequence[int], wanted: Sequence[int], seed: int) -> None:
        self._batching, self._seed = batching, seed
        if len(wanted) != len(sizes):
            raise UserError(
                f"sampler.dataset_size is {list(wanted)}; expected {len(sizes)} numbers, one for each data set of the "
                "ConcatDataset"
            )
        for number, (size, some) in enumerate(zip(sizes, wanted, strict=True)):
            if some > size:
                raise UserError(f"sampler.dataset_size[{number}] asks for {some} images of a data set that has {size}")
        starts = np.cumsum([0, *sizes])
        self._counts = [size if some == -1 else some for size, some in zip(sizes, wanted, strict=True)]
        self._cycles = [
            Cycle(np.arange(start, start + size), (seed, number))
            for number, (start, size) in enumerate(zip(starts, sizes, strict=False))
        ]
        self.batches_per_epoch = batching.length(sum(self._counts))
        if not self.batches_per_epoch:
            raise UserError(f"sampler.dataset_size leaves {sum(self._counts)} images, of which no batch is made")

    def batches(self, epoch: int) -> Rows:
        random = np.random.default_rng([self._seed, epoch])
        drawn = [cycle.take(epoch * count, count) for cycle, count in zip(self._cycles, self._counts, strict=True)]
        order = random.permutation(np.concatenate(drawn))
        return self._batching.cut(order, self.batches_per_epoch, random)

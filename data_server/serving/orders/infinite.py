"""MMEngine's InfiniteSampler: one time through the data after the other, and batches do not end where the data do.

    time      |  first                |  second                |  third ...
    images    |  2 0 3 1 4            |  4 1 0 2 3             |
    batches   |  2 0   3 1   4 ───────|─ 4   1 0    2 3        |             of 2

With groups, an image goes to its group's open batch, and a batch comes when it is full, as in MMDetection's
AspectRatioBatchSampler. Each time through the data has as many images of a group as any other. So it is known how many
batches are full, and how far each open one is filled, when the n-th time begins.
"""

from __future__ import annotations

import numpy as np

from data_server.serving.orders import Rows
from data_server.serving.orders.batching import Batching
from data_server.serving.orders.cycle import Cycle


class InfiniteOrder:
    """See `data_server.serving.orders.Order`.

    Args:
        images: how many there are; the first ones of the data set.
    """

    def __init__(self, batching: Batching, images: int, seed: int, shuffle: bool) -> None:
        self._size = batching.batch_size
        self._groups = batching.groups[:images]
        self._sizes = {int(group): int(count) for group, count in enumerate(np.bincount(self._groups)) if count}
        self._cycle = Cycle(np.arange(images), (seed,), shuffle)
        self.batches_per_epoch = -(-images // self._size)

    def batches(self, epoch: int) -> Rows:
        first, end = (number * self.batches_per_epoch for number in (epoch, epoch + 1))
        since, until = self._time(first), self._time(end - 1) + 1
        rows, filled_at = [], []
        for group, count in self._sizes.items():
            # from this group's batch on that was open when that time began
            begin, stop = (times * count // self._size for times in (since, until))
            if begin == stop:
                continue
            open_since = begin * self._size // count
            images, places = self._of_group(group, open_since, until)
            used = slice(begin * self._size - open_since * count, stop * self._size - open_since * count)
            rows.append(images[used].reshape(-1, self._size))
            filled_at.append(places[used].reshape(-1, self._size)[:, -1])
        come = np.argsort(np.concatenate(filled_at))[first - self._full(since) :][: end - first]
        return np.concatenate(rows)[come].astype(np.int32), np.full(end - first, self._size)

    def _of_group(self, group: int, since: int, until: int) -> Rows:
        """Its images, from time `since` through the data on and before `until`, and where each comes, counted from the
        very first image on."""
        images, places = [], []
        for time in range(since, until):
            order = self._cycle.once(time)
            found = np.flatnonzero(self._groups[order] == group)
            images.append(order[found].astype(np.int32))
            places.append(found + time * len(order))
        return np.concatenate(images), np.concatenate(places)

    def _full(self, time: int) -> int:
        """How many batches are full before that time through the data begins."""
        return sum(time * count // self._size for count in self._sizes.values())

    def _time(self, batch: int) -> int:
        """The time through the data in which a batch gets full."""
        time = batch * self._size // len(self._groups)
        while self._full(time + 1) <= batch:
            time += 1
        return time

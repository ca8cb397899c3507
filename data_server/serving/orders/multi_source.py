"""MMDetection's MultiSourceSampler and GroupMultiSourceSampler: a fixed number of images of each data set at a time.

    batch_size 5, source_ratio [1, 4]     a | b b b b     a | b b b b     a | b b b b ...

Each data set's images come in an order of their own, all of them before any comes again, and that never ends. With
groups all images of such a draw are wide, or all are high; how often they are, is how many there are of each. The
dataloader's batches are cut from the row of draws, whatever their own size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_server.serving.orders import Indices, Rows
from data_server.serving.orders.cycle import Cycle
from shared.errors import UserError

_BLOCK = 4096  # draws whose groups are drawn together


class MultiSourceOrder:
    """See `data_server.serving.orders.Order`.

    Args:
        groups: the images of each data set (int64), of each group; a group of all of them, or one of wide and one of
            high images.
        shares: images of each data set in a draw.
        batch_size: the dataloader's.

    Raises:
        UserError: a data set has no image of a group.
    """

    def __init__(
        self, groups: Sequence[Sequence[Indices]], shares: Sequence[int], batch_size: int, seed: int, shuffle: bool
    ) -> None:
        self._size, self._shares, self._seed = batch_size, shares, seed
        sizes = [sum(map(len, sources)) for sources in groups]
        if any(size and not all(map(len, sources)) for size, sources in zip(sizes, groups, strict=True)):
            raise UserError(
                "GroupMultiSourceSampler takes wide images (width >= height) of all data sets, or high ones; one of "
                "them has only one kind, and another has both: use MultiSourceSampler"
            )
        self._odds = np.array(sizes) / sum(sizes)
        self._cycles = [
            [Cycle(images, (seed, group, source), shuffle) for source, images in enumerate(sources)]
            for group, sources in enumerate(groups)
        ]
        self.batches_per_epoch = -(-sum(sizes) // batch_size)

    def batches(self, epoch: int) -> Rows:
        first, end = (number * self.batches_per_epoch * self._size for number in (epoch, epoch + 1))
        length = sum(self._shares)
        draws = range(first // length, -(-end // length))
        images = self._drawn(draws).reshape(-1)[first - draws.start * length :][: end - first]
        return images.reshape(-1, self._size).astype(np.int32), np.full(self.batches_per_epoch, self._size)

    def _drawn(self, draws: range) -> Indices:
        """(draws, images of a draw)"""
        found = np.empty((len(draws), sum(self._shares)), np.int64)
        of = self._groups(draws.stop)
        for group, cycles in enumerate(self._cycles):
            mine = np.flatnonzero(of[draws.start :] == group)
            before = np.count_nonzero(of[: draws.start] == group)
            column = 0
            for cycle, share in zip(cycles, self._shares, strict=True):
                taken = cycle.take(before * share, len(mine) * share).reshape(-1, share)
                found[mine, column : column + share] = taken
                column += share
        return found

    def _groups(self, draws: int) -> Indices:
        """The group of each of the first draws."""
        blocks = [
            np.random.default_rng([self._seed, number]).choice(len(self._odds), _BLOCK, p=self._odds)
            for number in range(-(-draws // _BLOCK))
        ]
        found: Indices = np.concatenate(blocks)
        return found[:draws]

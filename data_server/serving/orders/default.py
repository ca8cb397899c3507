"""MMEngine's DefaultSampler: every image once in an epoch.

    images ──seed, epoch──► permutation ──► batches

With ``source_ratio`` an epoch is as long as without, and data set k has its share r_k / Σ r of it: less than all of its
images, drawn anew every epoch, or some of them several times. Each data set keeps its own proportion of wide images, so
that all epochs have the same number of batches.

With ``num_batch_per_epoch`` the first images alone are there, as many as that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_server.serving.orders import Indices, Rows
from data_server.serving.orders.batching import Batching
from shared.errors import UserError


class DefaultOrder:
    """See `data_server.serving.orders.Order`.

    Args:
        images: how many there are; the first ones of the data set.
        cells: with ``source_ratio``.
        batches: in an epoch; by default what the groups need.

    Raises:
        UserError: an epoch has no batch.
    """

    def __init__(
        self,
        batching: Batching,
        images: int,
        seed: int,
        cells: Sequence[Cell] | None = None,
        batches: int | None = None,
    ) -> None:
        self._batching, self._images, self._seed, self._cells = batching, images, seed, cells
        if batches is None:
            batches = sum(map(batching.length, self._group_sizes()))
        self.batches_per_epoch = batches
        if not batches:
            raise UserError(
                f"drop_last=True leaves nothing: no {batching.batch_size} of the {images} images are of one shape and "
                "make a batch; lower batch_size, or remove drop_last"
            )

    def batches(self, epoch: int) -> Rows:
        random = np.random.default_rng([self._seed, epoch])
        order = self._drawn(random)
        if self._batching.shuffled:
            random.shuffle(order)
        return self._batching.cut(order, self.batches_per_epoch, random)

    def _drawn(self, random: np.random.Generator) -> Indices:
        """The images of an epoch, those of each data set together."""
        if self._cells is None:
            return np.arange(self._images)
        drawn = []
        for cell in self._cells:
            orders = [random.permutation(cell.images) for _ in range(-(-cell.count // len(cell.images)))]
            drawn += [np.concatenate(orders)[: cell.count]] if orders else []
        return np.concatenate(drawn)

    def _group_sizes(self) -> list[int]:
        """How many images each group has in any epoch."""
        groups = self._batching.groups
        if self._cells is None:
            return [int(size) for size in np.bincount(groups[: self._images])]
        sizes = np.bincount([groups[cell.images[0]] for cell in self._cells], [cell.count for cell in self._cells])
        return [int(size) for size in sizes]


@dataclass(frozen=True)
class Cell:
    """The wide or the high images of a data set, at least one: `count` of them are in an epoch."""

    images: Indices
    count: int


def cells(wide: npt.NDArray[np.uint8], sizes: Sequence[int], ratio: Sequence[float], shuffle: bool) -> list[Cell]:
    """The cells of all data sets.

    Args:
        wide: 1 where an image is wider than high.
        sizes: images of each data set, in their order under one index.
        ratio: the share of each data set in an epoch.

    Raises:
        UserError: there is no shuffling, or there are too few or negative numbers.
    """
    if not shuffle:
        raise UserError("sampler.source_ratio needs sampler.shuffle=True")
    if len(ratio) != len(sizes) or min(ratio) < 0 or not sum(ratio) > 0:
        raise UserError(
            f"sampler.source_ratio is {list(ratio)}; expected {len(sizes)} numbers of 0 or more, one for each data set"
        )
    found = []
    for end, size, share in zip(np.cumsum(sizes).tolist(), sizes, ratio, strict=True):
        count = round(len(wide) * share / sum(ratio))
        images = np.arange(end - size, end)
        some, others = images[wide[images] == 1], images[wide[images] == 0]
        of_these = round(count * len(some) / size)
        found += [Cell(some, of_these)] * bool(len(some))
        found += [Cell(others, count - of_these)] * bool(len(others))
    return found

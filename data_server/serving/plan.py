"""What is in batch k: a pure function of (data set, seed, rank, world size, k), not of what the workers do.

    epoch ──seed──► permutation ──aspect ratio──► groups ──cut──► batches ──seed──► their order ──rank──► this stream's

With ``sampler.source_ratio`` an epoch is as long as without, and data set k has its share r_k / Σ r of it: less than
all of its images, drawn anew every epoch, or some of them several times. Each data set keeps its own proportion of wide
images, so that all epochs have the same number of steps.

Each group (wide images, high images) is filled up to whole batches by repeating its first images, as MMDetection 2's
GroupSampler does, so an epoch has the same number of steps every time. Without shuffling the order is the data set's
own, and only the last batch is filled up, by repeating its last image; those repetitions are marked as not valid.

Every sample has its own seed, from (seed, epoch, its place in the epoch), whichever worker makes it.

An epoch's order takes a second of a million images, and the server has one thread for all its streams. So another
thread makes it, for all plans of the process, and an epoch's well before its first batch is due::

    (no order) ──ready──► being made ──made──► kept, as long as it is one of the three nearest to what is asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_server.handover.facts import DatasetFacts
from shared.errors import UserError

Indices = npt.NDArray[np.int64]
Order = tuple[npt.NDArray[np.int32], Indices]
_MAKER = ThreadPoolExecutor(1, "plan")
_ORDERS = 3  # of the last epoch a batch may have to be made again, while the next one has begun


@dataclass(frozen=True)
class BatchPlan:
    """The recipe of one batch: `indices` into the data set, one `seeds` entry (64 bits) each; the first `valid`
    count."""

    epoch: int
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    valid: int


class Plan:
    """The batches of one stream.

    Args:
        wide: uint8 (images,), 1 where an image is wider than high.
        batch_size: images in a batch of this rank.
        shuffle: a new order every epoch.
        group_by_aspect_ratio: no batch mixes wide and high images.
        sizes: images of each data set, in their order under one index; by default there is one.
        ratio: the share of each data set in an epoch; None: each image is in it once.
        made: is called by another thread whenever it has made an order.

    Raises:
        UserError: a ratio without shuffling, or with too few or negative numbers.
    """

    def __init__(
        self,
        wide: npt.NDArray[np.uint8],
        *,
        batch_size: int,
        shuffle: bool,
        group_by_aspect_ratio: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        sizes: Sequence[int] | None = None,
        ratio: Sequence[float] | None = None,
        made: Callable[[], object] = lambda: None,
    ) -> None:
        self._wide = wide.astype(bool)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._group = group_by_aspect_ratio
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._orders: dict[int, Future[Order]] = {}
        self._made = made
        self._cells = _cells(self._wide, sizes or [len(wide)], ratio, shuffle) if ratio else None
        global_batches = sum(-(-images // batch_size) for images in self._group_sizes())
        self.steps_per_epoch = -(-global_batches // world_size)

    @classmethod
    def of(
        cls,
        config: dict[str, Any],
        facts: DatasetFacts,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        made: Callable[[], object] = lambda: None,
    ) -> Plan:
        """The plan of a stream with this data part of a trainer's config."""
        return cls(
            facts.wide,
            batch_size=config["batch_size"],
            shuffle=config["shuffle"],
            group_by_aspect_ratio=config["group_by_aspect_ratio"],
            seed=seed,
            rank=rank,
            world_size=world_size,
            sizes=facts.sizes,
            ratio=config.get("source_ratio"),
            made=made,
        )

    def cursor(self, epoch: int, step: int) -> int:
        """The global step, counted from the start of epoch 0, of step `step` of `epoch`."""
        return epoch * self.steps_per_epoch + step

    def ready(self, step: int) -> bool:
        """Whether `batch` answers at once. If not, it does so after `made` has been called."""
        return self._order(step // self.steps_per_epoch).done()

    def batch(self, step: int) -> BatchPlan:
        """The recipe of global step `step`, counted from the start of epoch 0."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        batches, valid = self._order(epoch).result()
        place = step_in_epoch * self._world_size + self._rank
        seeds = tuple(sample_seed(self._seed, epoch, place * self._batch_size + i) for i in range(self._batch_size))
        # The last steps of an epoch may run out of batches for the higher ranks: those repeat the first ones.
        repeated, row = divmod(place, len(batches))
        counts = 0 if repeated and not self._shuffle else int(valid[row])
        return BatchPlan(epoch, tuple(int(i) for i in batches[row]), seeds, counts)

    def _order(self, epoch: int) -> Future[Order]:
        """All batches of an epoch over all ranks, (batches, batch_size), and how many images of each count,
        (batches,)."""
        if epoch not in self._orders:
            self._orders[epoch] = _MAKER.submit(self._make_batches, epoch)
            self._orders[epoch].add_done_callback(lambda _: self._made())
            for other in sorted(self._orders, key=lambda other: abs(other - epoch))[_ORDERS:]:
                del self._orders[other]
        return self._orders[epoch]

    def _make_batches(self, epoch: int) -> Order:
        random = np.random.default_rng([self._seed, epoch])
        order = self._images(random)
        if self._shuffle:
            random.shuffle(order)
        rows, valid = [], []
        for group in self._groups(order):
            missing = -len(group) % self._batch_size
            filler = np.resize(group, missing) if self._shuffle else np.repeat(group[-1:], missing)
            rows.append(np.concatenate([group, filler]).reshape(-1, self._batch_size))
            counts = np.full(len(rows[-1]), self._batch_size)
            if not self._shuffle:
                counts[-1] -= missing
            valid.append(counts)
        batches, counts = np.concatenate(rows), np.concatenate(valid)
        if self._shuffle:
            mixed = random.permutation(len(batches))
            batches, counts = batches[mixed], counts[mixed]
        return batches.astype(np.int32), counts

    def _images(self, random: np.random.Generator) -> Indices:
        """The images of an epoch, those of each data set together."""
        if self._cells is None:
            return np.arange(len(self._wide))
        drawn = []
        for cell in self._cells:
            images = np.arange(cell.start, cell.end)
            images = images[self._wide[cell.start : cell.end] == cell.wide]
            orders = [random.permutation(images) for _ in range(-(-cell.count // len(images)))]
            drawn += [np.concatenate(orders)[: cell.count]] if orders else []
        return np.concatenate(drawn)

    def _group_sizes(self) -> list[int]:
        """How many images `_groups` has in each group, of any epoch."""
        if self._cells is None:
            images, wide = len(self._wide), int(np.count_nonzero(self._wide))
        else:
            images = sum(cell.count for cell in self._cells)
            wide = sum(cell.count for cell in self._cells if cell.wide)
        return [wide, images - wide] if self._group else [images]

    def _groups(self, order: Indices) -> list[Indices]:
        if not self._group:
            return [order]
        wide = self._wide[order]
        return [group for group in (order[wide], order[~wide]) if len(group)]


@dataclass(frozen=True)
class _Cell:
    """The images from `start` to `end` that are wide, or those that are not: `count` of them are in an epoch."""

    start: int
    end: int
    wide: bool
    count: int


def _cells(wide: npt.NDArray[np.bool_], sizes: Sequence[int], ratio: Sequence[float], shuffle: bool) -> list[_Cell]:
    """The wide and the high images of each data set; none that is empty."""
    if not shuffle:
        raise UserError("sampler.source_ratio needs sampler.shuffle=True")
    if len(ratio) != len(sizes) or min(ratio) < 0 or not sum(ratio) > 0:
        raise UserError(
            f"sampler.source_ratio is {list(ratio)}; expected {len(sizes)} numbers of 0 or more, one for each data set"
        )
    cells = []
    for end, size, share in zip(np.cumsum(sizes).tolist(), sizes, ratio, strict=True):
        count = round(len(wide) * share / sum(ratio))
        some = int(np.count_nonzero(wide[end - size : end]))
        of_these = round(count * some / size)
        cells += [_Cell(end - size, end, True, of_these)] * bool(some)
        cells += [_Cell(end - size, end, False, count - of_these)] * bool(size - some)
    return cells


def sample_seed(seed: int, epoch: int, place: int) -> int:
    """64 bits that depend on all three and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")

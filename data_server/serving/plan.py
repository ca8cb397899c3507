"""What is in batch k: a pure function of (data set, seed, rank, world size, k), not of what the workers do.

    epoch ──seed──► permutation ──aspect ratio──► groups ──cut──► batches ──seed──► their order ──rank──► this stream's

With ``sampler.source_ratio`` an epoch is as long as without, and data set k has its share r_k / Σ r of it: less than
all of its images, drawn anew every epoch, or some of them several times. Each data set keeps its own proportion of wide
images, so that all epochs have the same number of steps.

Each group (wide images, high images) is filled up to whole batches by repeating its first images, as MMDetection 2's
GroupSampler does, so an epoch has the same number of steps every time. Without shuffling the order is the data set's
own, and only the last batch is filled up, by repeating its last image; those repetitions are marked as not valid.

Every sample has its own seed, from (seed, epoch, its place in the epoch), whichever worker makes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_server.handover.facts import DatasetFacts
from shared.errors import UserError

Indices = npt.NDArray[np.int64]


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
    ) -> None:
        self._wide = wide.astype(bool)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._group = group_by_aspect_ratio
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch: tuple[int, Indices, Indices] | None = None
        self._cells = _cells(self._wide, sizes or [len(wide)], ratio, shuffle) if ratio else None
        global_batches = sum(-(-len(group) // batch_size) for group in self._groups(self._images(None)))
        self.steps_per_epoch = -(-global_batches // world_size)

    @classmethod
    def of(cls, config: dict[str, Any], facts: DatasetFacts, seed: int, rank: int = 0, world_size: int = 1) -> Plan:
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
        )

    def cursor(self, epoch: int, step: int) -> int:
        """The global step, counted from the start of epoch 0, of step `step` of `epoch`."""
        return epoch * self.steps_per_epoch + step

    def batch(self, step: int) -> BatchPlan:
        """The recipe of global step `step`, counted from the start of epoch 0."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        batches, valid = self._batches(epoch)
        place = step_in_epoch * self._world_size + self._rank
        seeds = tuple(sample_seed(self._seed, epoch, place * self._batch_size + i) for i in range(self._batch_size))
        # The last steps of an epoch may run out of batches for the higher ranks: those repeat the first ones.
        repeated, row = divmod(place, len(batches))
        counts = 0 if repeated and not self._shuffle else int(valid[row])
        return BatchPlan(epoch, tuple(int(i) for i in batches[row]), seeds, counts)

    def _batches(self, epoch: int) -> tuple[Indices, Indices]:
        """All batches of an epoch over all ranks, (batches, batch_size), and how many images of each count,
        (batches,)."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, *self._make_batches(epoch))
        return self._epoch[1:]

    def _make_batches(self, epoch: int) -> tuple[Indices, Indices]:
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
        return batches, counts

    def _images(self, random: np.random.Generator | None) -> Indices:
        """The images of an epoch, those of each data set together; of some epoch, without `random`."""
        if self._cells is None:
            return np.arange(len(self._wide))
        drawn = []
        for images, count in self._cells:
            rounds = -(-count // len(images))
            orders = [random.permutation(images) if random else images for _ in range(rounds)]
            drawn += [np.concatenate(orders)[:count]] if rounds else []
        return np.concatenate(drawn)

    def _groups(self, order: Indices) -> list[Indices]:
        if not self._group:
            return [order]
        wide = self._wide[order]
        return [group for group in (order[wide], order[~wide]) if len(group)]


def _cells(
    wide: npt.NDArray[np.bool_], sizes: Sequence[int], ratio: Sequence[float], shuffle: bool
) -> list[tuple[Indices, int]]:
    """(images, how many of them are in an epoch) for the wide and the high images of each data set."""
    if not shuffle:
        raise UserError("sampler.source_ratio needs sampler.shuffle=True")
    if len(ratio) != len(sizes) or min(ratio) < 0 or not sum(ratio) > 0:
        raise UserError(
            f"sampler.source_ratio is {list(ratio)}; expected {len(sizes)} numbers of 0 or more, one for each data set"
        )
    ends = np.cumsum(sizes)
    cells = []
    for end, size, share in zip(ends, sizes, ratio, strict=True):
        images = np.arange(end - size, end)
        count = round(len(wide) * share / sum(ratio))
        some = images[wide[images]]
        of_these = round(count * len(some) / size)
        others = images[~wide[images]]
        cells += [(cell, n) for cell, n in ((some, of_these), (others, count - of_these)) if len(cell)]
    return cells


def sample_seed(seed: int, epoch: int, place: int) -> int:
    """64 bits that depend on all three and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")

"""What is in batch k: a pure function of (data set, seed, rank, world size, k), not of what the workers do.

    sampler, seed, epoch ──► images ──groups──► batches, `data_server.serving.orders` ──rank──► this stream's

An epoch has the same number of batches every time. Every sample has its own seed, from (seed, epoch, its place in the
epoch), whichever worker makes it. Ranks take turns, and do not begin anew with an epoch. So all ranks together have
what one rank alone would have; with three ranks and epochs of four batches::

    epoch, place   0,0  0,1  0,2  0,3  1,0  1,1  1,2  1,3
    rank            0    1    2    0    1    2    0    1
    its step        0    0    0    1    1    1    2    2

An epoch's order takes a second of a million images, and the server has one thread for all its streams. So another
thread makes it, for all plans of the process, and an epoch's well before its first batch is due::

    (no order) ──ready──► being made ──made──► kept, as long as it is one of the three nearest to what is asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from data_server.handover.facts import DatasetFacts
from data_server.serving.orders import Order, Rows
from data_server.serving.orders.choice import order_of

_MAKER = ThreadPoolExecutor(1, "plan")
_RECIPES = 16  # made at a time: one by one each takes several times as long
_ORDERS = 3  # of the last epoch a batch may have to be made again, while the next one has begun


@dataclass(frozen=True)
class BatchPlan:
    """The recipe of one batch: `indices` into the data set, one `seeds` entry (64 bits) each; the first `valid`
    count. `switched`: by the pipeline of the last epochs (`shared.pipeline_switch`)."""

    epoch: int
    indices: tuple[int, ...]
    seeds: tuple[int, ...]
    valid: int
    switched: bool


class Plan:
    """The batches of one stream.

    Args:
        order: of all ranks' batches.
        made: is called by another thread whenever it has made an epoch's order.
        switch: the epoch, counted from 0, from which on there is another pipeline; None: there is one for all.
    """

    def __init__(
        self,
        order: Order,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        made: Callable[[], object] = lambda: None,
        switch: int | None = None,
    ) -> None:
        self._make_batches = order.batches
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._orders: dict[int, Future[Rows]] = {}
        self._recipes: dict[int, BatchPlan] = {}  # by step: the ones that are asked for next
        self._made = made
        self._switch = switch
        self.steps_per_epoch = order.batches_per_epoch

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
        """The plan of a stream with this data part of a trainer's config.

        Raises:
            UserError: its sampler does not go with the data set.
        """
        switch = config["switch"]["epoch"] if config.get("switch") else None
        return cls(order_of(config, facts, seed), seed, rank, world_size, made, switch)

    def cursor(self, epoch: int, step: int) -> int:
        """The first step of this rank that is not before batch `step` of `epoch`."""
        return -(-(epoch * self.steps_per_epoch + step - self._rank) // self._world_size)

    @property
    def half_epoch(self) -> int:
        """So many steps of a rank are about half an epoch, at least one."""
        return max(1, self.steps_per_epoch // (2 * self._world_size))

    def ready(self, step: int) -> bool:
        """Whether `batch` answers at once. If not, it does so after `made` has been called."""
        return step in self._recipes or self._order(self._place(step)[0]).done()

    def batch(self, step: int) -> BatchPlan:
        """The recipe of this rank's step `step`, counted from the start of epoch 0."""
        if step not in self._recipes:
            self._recipes = dict(enumerate(self._recipes_from(*self._place(step)), step))
        return self._recipes[step]

    def _recipes_from(self, epoch: int, place: int) -> Iterator[BatchPlan]:
        """Those of this rank's next steps in an epoch, from its batch `place` on."""
        batches, valid = self._order(epoch).result()
        switched = self._switch is not None and epoch >= self._switch
        chosen = slice(place, place + _RECIPES * self._world_size, self._world_size)
        size = batches.shape[1]
        for indices, counted in zip(batches[chosen].tolist(), valid[chosen].tolist(), strict=True):
            seeds = tuple(sample_seed(self._seed, epoch, place * size + i) for i in range(size))
            yield BatchPlan(epoch, tuple(indices), seeds, counted, switched)
            place += self._world_size

    def _place(self, step: int) -> tuple[int, int]:
        """The epoch of this rank's step `step`, and its batch's place in there."""
        return divmod(step * self._world_size + self._rank, self.steps_per_epoch)

    def _order(self, epoch: int) -> Future[Rows]:
        """All batches of an epoch over all ranks, (batches, batch_size), and how many images of each count,
        (batches,)."""
        if epoch not in self._orders:
            self._orders[epoch] = _MAKER.submit(self._make_batches, epoch)
            self._orders[epoch].add_done_callback(lambda _: self._made())
            for other in sorted(self._orders, key=lambda other: abs(other - epoch))[_ORDERS:]:
                del self._orders[other]
        return self._orders[epoch]


def sample_seed(seed: int, epoch: int, place: int) -> int:
    """64 bits that depend on all three and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")

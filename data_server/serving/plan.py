"""What is in batch k: a pure function of (data set, seed, rank, world size, k), not of what the workers do.

    sampler, seed, epoch ──► images ──groups──► batches, `data_server.serving.orders` ──rank──► this stream's

An epoch has the same number of steps every time. Every sample has its own seed, from (seed, epoch, its place in the
epoch), whichever worker makes it.

An epoch's order takes a second of a million images, and the server has one thread for all its streams. So another
thread makes it, for all plans of the process, and an epoch's well before its first batch is due::

    (no order) ──ready──► being made ──made──► kept, as long as it is one of the three nearest to what is asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from data_server.handover.facts import DatasetFacts
from data_server.serving.orders import Order, Rows
from data_server.serving.orders.choice import order_of

_MAKER = ThreadPoolExecutor(1, "plan")
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
        self._repeats_count = order.shuffled
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._orders: dict[int, Future[Rows]] = {}
        self._made = made
        self._switch = switch
        self.steps_per_epoch = -(-order.batches_per_epoch // world_size)

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
        return cls(order_of(config, facts, seed, world_size), seed, rank, world_size, made, switch)

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
        place, size = step_in_epoch * self._world_size + self._rank, batches.shape[1]
        seeds = tuple(sample_seed(self._seed, epoch, place * size + i) for i in range(size))
        # The last steps of an epoch may run out of batches for the higher ranks: those repeat the first ones.
        repeated, row = divmod(place, len(batches))
        counts = 0 if repeated and not self._repeats_count else int(valid[row])
        switched = self._switch is not None and epoch >= self._switch
        return BatchPlan(epoch, tuple(int(i) for i in batches[row]), seeds, counts, switched)

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

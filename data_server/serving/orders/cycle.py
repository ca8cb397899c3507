"""Some things again and again, each time in another order: MMDetection's RandomCycleIter, from any place on."""

from __future__ import annotations

import numpy as np

from data_server.serving.orders import Indices


class Cycle:
    """An endless row of `things`.

    Args:
        things: int64 (n,), one at least.
        key: what the orders depend on, beside the number of times that all have come.
        shuffle: else they come in the order given.
    """

    def __init__(self, things: Indices, key: tuple[int, ...], shuffle: bool = True) -> None:
        self._things, self._key, self._shuffle = things, key, shuffle

    def once(self, number: int) -> Indices:
        """All of them, for the `number`-th time, counted from 0."""
        if not self._shuffle:
            return self._things
        return np.random.default_rng([*self._key, number]).permutation(self._things)

    def take(self, start: int, count: int) -> Indices:
        """`count` of them from place `start` of the row on."""
        if not count:
            return self._things[:0]
        length = len(self._things)
        first, last = start // length, (start + count - 1) // length
        orders = np.concatenate([self.once(number) for number in range(first, last + 1)])
        return orders[start - first * length :][:count]

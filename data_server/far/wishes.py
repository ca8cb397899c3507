"""What a cluster that can grow is asked for: reservations that wait for a node, and go as soon as they have one.

    lacking ──► a placement group waits ──► an autoscaler adds a node ──► placed: removed; the node gets its actor
                        └── no longer lacking: removed; by Ray, when the launcher ends, however it ends

Ray's `request_resources` would do it in one line. But what is asked for by it stays asked for when whoever did is
killed, and then nodes are paid for until somebody notices; and the last one who asks overrides all others, where a
cluster has several data servers. What waits here is added up, and dies with the launcher.
"""

from __future__ import annotations

from typing import Any

_WAITING = "PENDING"


class Wishes:
    """Reservations of `processors` each, for workers that have no node yet."""

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._waiting: list[Any] = []

    def keep(self, workers: int, *, more: bool) -> None:
        """So many waiting that `workers` fit, and no more; new ones only where there may be `more`."""
        from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

        count = -(-workers // self._processors)
        waiting = [one for one in self._waiting if placement_group_table(one)["state"] == _WAITING]
        for one in self._waiting:
            if one not in waiting[:count]:
                remove_placement_group(one)
        new = count - len(waiting) if more else 0
        self._waiting = waiting[:count] + [placement_group([{"CPU": self._processors}]) for _ in range(new)]

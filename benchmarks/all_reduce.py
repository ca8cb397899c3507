"""One rank of the all-reduce benchmark, which ``mpirun`` starts; rank 0 prints what all have found, as JSON.

    mpirun -np 2 --bind-to none python -m benchmarks.all_reduce NUMBERS ROUNDS

In a round a rank copies the array once between warm buffers, and takes part in one sum of all ranks' arrays, as in a
turn of a training. Processor time of the rank's own process, in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.process.ranks import join


def main() -> None:
    numbers, rounds = map(int, sys.argv[1:])
    ranks = join()
    mine, copy = np.ones(numbers, np.float32), np.ones(numbers, np.float32)
    order = range(ranks.size)
    copying, adding = [], []
    for _ in range(rounds):
        mine[:] = 1
        ranks.meet()
        copying.append(_spent(lambda: np.copyto(copy, mine)))
        adding.append(_spent(lambda: ranks.add(mine, b"", order)))
        if (mine != ranks.size).any():
            raise SystemExit(f"rank {ranks.rank}: the sum of {ranks.size} ones is not {ranks.size} everywhere")
    found = ranks.add(mine, json.dumps({"copy": copying, "sum": adding}).encode(), order)
    if ranks.first:
        print(json.dumps([json.loads(one) for one in found]))
    ranks.finish()


def _spent(act: Callable[[], Any]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


if __name__ == "__main__":
    main()

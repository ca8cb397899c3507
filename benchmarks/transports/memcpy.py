"""The yardstick of size: one process copies a payload from one warm buffer into another."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.rounds import answer_rounds
from benchmarks.transports.exchange import WARM_UP_BATCHES


class Copy:
    def __init__(self) -> None:
        self._buffers: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request of ``benchmarks.transports``, answered: here a latency is the time of one copy."""
        nbytes = request["bytes"]
        if nbytes not in self._buffers:
            self._buffers[nbytes] = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
        source, target = self._buffers[nbytes]
        latencies: list[float] = []
        start = time.perf_counter()
        for _ in range(request.get("batches", WARM_UP_BATCHES)):
            time.sleep(request["interval"])
            begin = time.perf_counter()
            np.copyto(target, source)
            latencies.append(time.perf_counter() - begin)
            if time.perf_counter() - start > request["seconds"]:
                break
        return {"latencies": latencies, "seconds": time.perf_counter() - start, "preparation": 0.0}


def main(_: dict[str, Any]) -> None:
    answer_rounds(Copy().answer)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""One framework's side of the step benchmark: a table of parts that can be run and timed.

    {"what": "parts"}                               -> names of the parts that this side can run
    {"what": "losses"}                              -> {term: value} of a step that samples the first, not at random
    {"what": "run", "part": name, "times": n}       -> seconds of each run
    {"what": "kernels"}                             -> how many the process has loaded (0 where nothing is compiled)
    {"what": "memory"}                              -> bytes of the GPU that it has held at most (0 on a CPU)

A part is a function that does its work to the end. The parts of a step are run with fixed inputs, forward and, where
something trains, backward from fixed gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Side:
    """What a contender of benchmarks.step offers."""

    parts: dict[str, Callable[[], object]]
    losses: Callable[[], dict[str, float]]
    kernels: Callable[[], int]
    memory: Callable[[], int]

    def answer(self, request: dict[str, Any]) -> Any:
        """The answer to one request."""
        what = request["what"]
        if what == "parts":
            return list(self.parts)
        if what == "losses":
            return self.losses()
        if what == "kernels":
            return self.kernels()
        if what == "memory":
            return self.memory()
        seconds = []
        for _ in range(request["times"]):
            started = time.perf_counter()
            self.parts[request["part"]]()
            seconds.append(time.perf_counter() - started)
        return seconds

"""SPDL's arena: a pool of shared-memory segments that the consumer reads in place, filled by a subprocess of SPDL's."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
from spdl.pipeline import SharedMemorySegmentPool, iterate_in_subprocess

from benchmarks.rounds import answer_rounds
from benchmarks.transports.exchange import UNDER_WAY, Consumer, Permits, produce_each
from benchmarks.transports.stamps import Stamps


def main(settings: dict[str, Any]) -> None:
    logging.getLogger("spdl").setLevel(logging.ERROR)  # it warns of every end
    _quiet_tracker()
    permits, stamps = Permits(), Stamps()
    pool = SharedMemorySegmentPool(segment_size=settings["largest"], count=UNDER_WAY)
    iterable = iterate_in_subprocess(
        functools.partial(produce_each, permits, stamps),
        buffer_size=UNDER_WAY,
        mp_context="fork",
        arena=pool,
        daemon=True,
    )
    receive: Callable[[], np.ndarray] = iter(iterable).__next__
    answer_rounds(Consumer(permits, stamps, receive).answer)


def _quiet_tracker() -> None:
    """Starts Python's resource tracker without its error output.

    SPDL 0.8 unregisters its segments twice, at which the tracker prints a traceback for each, whatever happened.
    """
    error_output = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        resource_tracker.ensure_running()
        os.dup2(error_output, 2)
    os.close(error_output)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""The ceiling of the pipeline benchmark: the same workers making the same batches, and nothing else.

    parent ──step──► pipe ──► worker ──► make_batch into an arena of its own ──► pipe ──► parent

There is no server and no consumer; the slots are private, touched and used in turn. What the data server delivers can
come near this and not above it. The workers are never out of work, as the data server's are not: steps beyond those
that are counted wait in the pipe.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from multiprocessing import get_context
from typing import Any

from benchmarks.rounds import answer_rounds
from benchmarks.standard_data import standard_config
from data_server.datasets.bounds import gather
from data_server.datasets.parts import Datasets
from data_server.serving.plan import Plan
from data_server.workers.worker import make_batch, prepare
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.data_part import data_part, from_plain
from shared.messages import Assign

SLOTS = 5  # as a data server with two workers has
_STEP = struct.Struct("<Q")


class Ceiling:
    """`workers` processes that make the batches of one stream into private memory."""

    def __init__(self, config: dict[str, Any], workers: int) -> None:
        datasets = Datasets(config)
        facts = gather(datasets, config)
        self._batch_size = config["batch_size"]
        self._next_step = 0
        todo, self._todo = os.pipe()
        self._done, done = os.pipe()
        plan = Plan.of(config, facts, seed=0)
        slot_bytes = slot_bytes_for(facts.payload_bytes(config))
        fork = get_context("fork")
        for _ in range(workers):
            fork.Process(target=_work, args=(datasets, config, plan, slot_bytes, todo, done), daemon=True).start()
        for _ in range(2 * workers):
            self._order()

    def handle(self, images: int) -> float:
        """Seconds that `images` images take."""
        start = time.perf_counter()
        for _ in range(images // self._batch_size):
            os.read(self._done, 1)
            self._order()
        return time.perf_counter() - start

    def _order(self) -> None:
        os.write(self._todo, _STEP.pack(self._next_step))
        self._next_step += 1


def _work(datasets: Datasets, config: dict[str, Any], plan: Plan, slot_bytes: int, todo: int, done: int) -> None:
    prepare()
    memory = create_memory(SLOTS, slot_bytes)
    arena = Arena(memory, SLOTS, slot_bytes, writable=True)
    while message := os.read(todo, _STEP.size):
        (step,) = _STEP.unpack(message)
        batch = plan.batch(step)
        samples = [list(pair) for pair in zip(batch.indices, batch.seeds, strict=True)]
        make_batch(arena, datasets, config, Assign(step, step % SLOTS, step, samples, 0, False))
        os.write(done, b"x")


def main(settings: dict[str, Any]) -> None:
    config = from_plain(data_part(standard_config(**settings["data"]), "train"))
    answer_rounds(Ceiling(config, settings["workers"]).handle)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

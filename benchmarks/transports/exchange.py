"""A producer and a consumer with a transport between them: who does what when, for all transports but ours.

    consumer:  grant ... grant │ receive ─► latency ─► grant │ receive ─► ...      one permit out (paced), or four
    producer:                  permit ─► rest ─► prepare ─► complete ─► send

A permit is 8 bytes in a pipe. With one out, a batch is never made before the former one has arrived.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np

from benchmarks.rounds import answer_rounds
from benchmarks.transports.stamps import Stamps

UNDER_WAY = 4
WARM_UP_BATCHES = 3
_PERMIT = struct.Struct("<Q")


class Permits:
    """A pipe of permits to make one batch each. Made before the producer is forked."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def grant(self, nbytes: int) -> None:
        os.write(self._write, _PERMIT.pack(nbytes))

    def end(self) -> None:
        """This process grants no more; once no process does, the producer's loop ends."""
        os.close(self._write)

    def __iter__(self) -> Iterator[int]:
        """The producer's side: the size of each batch wanted, until nobody can grant any more."""
        while permit := os.read(self._read, _PERMIT.size):
            yield _PERMIT.unpack(permit)[0]


def produce_each(
    permits: Permits, stamps: Stamps, prepare: Callable[[np.ndarray], Any] = lambda payload: payload
) -> Iterator[Any]:
    """What `prepare` makes of a warm uint8 array of the size wanted, complete when it is yielded; for each permit."""
    payloads: dict[int, np.ndarray] = {}
    for number, nbytes in enumerate(permits):
        payload = payloads.setdefault(nbytes, np.ones(nbytes, np.uint8))
        time.sleep(stamps.interval)
        before = time.thread_time_ns()
        prepared = prepare(payload)
        stamps.prepared(number, time.thread_time_ns() - before)
        stamps.complete(number)
        yield prepared


class Incoming(Protocol):
    """What a transport's `receive` returns; dropping the last reference to it frees its buffer."""

    nbytes: int


class Consumer:
    """The consumer's side of an exchange. Args: `receive` waits for the next batch."""

    def __init__(self, permits: Permits, stamps: Stamps, receive: Callable[[], Incoming]) -> None:
        self._permits = permits
        self._stamps = stamps
        self._receive = receive
        self._number = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request of ``benchmarks.transports``, answered."""
        batches = request.get("batches", WARM_UP_BATCHES)
        under_way = UNDER_WAY if "batches" in request and not request["interval"] else 1
        self._stamps.interval = request["interval"]
        preparation, start = 0.0, time.perf_counter()
        latencies: list[float] = []
        granted = min(under_way, batches)
        for _ in range(granted):
            self._permits.grant(request["bytes"])
        while len(latencies) < granted:
            incoming = self._receive()
            now, stamp = time.monotonic(), self._stamps.of(self._number)
            latencies.append(now - stamp.handed)
            preparation += stamp.preparation
            self._number += 1
            if incoming.nbytes != request["bytes"]:
                raise SystemExit(f"asked for {request['bytes']} bytes, {incoming.nbytes} came")
            del incoming
            if granted < batches and time.perf_counter() - start < request["seconds"]:
                self._permits.grant(request["bytes"])
                granted += 1
        seconds = time.perf_counter() - start
        return {"latencies": latencies, "seconds": seconds, "preparation": preparation}


def serve(producer: Callable[[Permits, Stamps], None], connect: Callable[[], Callable[[], Incoming]]) -> None:
    """A contender's life: forks `producer`, then answers requests with the `receive` that `connect` makes.

    The fork comes first, so that no library's threads are in it.
    """
    permits, stamps = Permits(), Stamps()

    def run() -> None:
        permits.end()
        producer(permits, stamps)

    child = get_context("fork").Process(target=run, daemon=True)
    child.start()
    answer_rounds(Consumer(permits, stamps, connect()).answer)
    permits.end()
    child.join()

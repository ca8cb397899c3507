"""The yardstick of messages: 150 bytes from a ZeroMQ DEALER to a ROUTER in another process and back, over ipc."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from multiprocessing import get_context
from typing import Any

import zmq

from benchmarks.rounds import answer_rounds

MESSAGE = b"\0" * 150
WARM_UP_TRIPS = 50


def echo(address: str) -> None:
    """The other process: sends back whatever comes."""
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(address)
    while True:
        socket.send_multipart(socket.recv_multipart())


class RoundTrips:
    def __init__(self, address: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.connect(address)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request of ``benchmarks.transports``, answered: here a latency is the time of a round trip."""
        latencies: list[float] = []
        start = time.perf_counter()
        for _ in range(request.get("batches", WARM_UP_TRIPS)):
            time.sleep(request["interval"])
            begin = time.perf_counter()
            self._socket.send(MESSAGE)
            self._socket.recv()
            latencies.append(time.perf_counter() - begin)
            if time.perf_counter() - start > request["seconds"]:
                break
        return {"latencies": latencies, "seconds": time.perf_counter() - start, "preparation": 0.0}


def main(_: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        address = f"ipc://{directory}/echo"
        child = get_context("fork").Process(target=echo, args=(address,), daemon=True)
        child.start()
        answer_rounds(RoundTrips(address).answer)
        child.kill()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

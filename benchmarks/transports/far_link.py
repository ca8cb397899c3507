"""The yardstick of far workers: the same frames over the same encrypted sockets into one buffer, hashed on the way, and
nothing else. No orders, no slots, no worker.

Its answers have ``receiving``, processor seconds of the consumer for each batch, beside what others' have.
"""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import get_context
from typing import Any

import numpy as np
import zmq

from benchmarks.rounds import answer_rounds
from benchmarks.transports.exchange import Consumer, Permits, produce_each
from benchmarks.transports.stamps import Stamps
from data_server.handover.far_link import FRAME_BYTES, Place, to_agent, to_proxies
from shared.checksum import Checksum

_HERE = b"here"


def produce(permits: Permits, stamps: Stamps, port: Any, keys: tuple[bytes, bytes]) -> None:
    """The sender's process; it says its TCP port by `port`."""
    permits.end()
    router = to_proxies(zmq.Context(), *keys)
    port.send(router.bind_to_random_port("tcp://127.0.0.1"))
    consumer, _ = router.recv_multipart()
    for payload in produce_each(permits, stamps):
        for start in range(0, payload.nbytes, FRAME_BYTES):
            router.send_multipart([consumer, payload[start : start + FRAME_BYTES].data])


class Receiver:
    """The consumer's end; `spent` are the processor seconds of each batch."""

    def __init__(self, place: Place) -> None:
        self._socket = to_agent(zmq.Context(), place)
        self._socket.connect(place.address)
        self._socket.send(_HERE)
        self._buffer = np.ones(0, np.uint8)
        self.spent: list[float] = []

    def expect(self, nbytes: int) -> None:
        if nbytes != self._buffer.nbytes:
            self._buffer = np.ones(nbytes, np.uint8)

    def receive(self) -> np.ndarray:
        begun = time.process_time()
        checksum = Checksum(self._buffer, wanted=True)
        end = 0
        while end < self._buffer.nbytes:
            frame = np.frombuffer(self._socket.recv(), np.uint8)
            self._buffer[end : end + len(frame)] = frame
            end += len(frame)
            checksum.passed(end)
        self.spent.append(time.process_time() - begun)
        return self._buffer


def main(_: dict[str, Any]) -> None:
    permits, stamps = Permits(), Stamps()
    keys, mine = zmq.curve_keypair(), zmq.curve_keypair()
    ours, theirs = get_context("fork").Pipe()
    sender = get_context("fork").Process(target=produce, args=(permits, stamps, theirs, keys), daemon=True)
    sender.start()
    place = Place("there", f"tcp://127.0.0.1:{ours.recv()}", keys[0].decode(), mine[0].decode(), mine[1].decode())
    receiver = Receiver(place)
    consumer = Consumer(permits, stamps, receiver.receive)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        receiver.expect(request["bytes"])
        receiver.spent.clear()
        return {**consumer.answer(request), "receiving": receiver.spent}

    answer_rounds(answer)
    permits.end()
    sender.join()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

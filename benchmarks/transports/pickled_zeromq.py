"""A batch pickled into one ZeroMQ message, PUSH to PULL over ipc."""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

import zmq

from benchmarks.transports.exchange import Permits, produce_each, serve
from benchmarks.transports.stamps import Stamps


def producer(address: str, permits: Permits, stamps: Stamps) -> None:
    socket = zmq.Context().socket(zmq.PUSH)
    socket.connect(address)
    for payload in produce_each(permits, stamps):
        socket.send_pyobj(payload)


def main(_: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        address = f"ipc://{directory}/batches"

        def connect() -> Any:
            socket = zmq.Context.instance().socket(zmq.PULL)
            socket.bind(address)
            return socket.recv_pyobj

        serve(lambda permits, stamps: producer(address, permits, stamps), connect)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

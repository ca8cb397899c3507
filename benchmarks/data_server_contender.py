"""The first contender of the pipeline benchmark: our data server, with a consumer that copies each batch once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.rounds import answer_rounds
from benchmarks.standard_data import standard_config
from shared.client import Lease, ServerGone, StreamClient
from shared.config import data_part
from shared.link import Address
from shared.messages import Hello

CREDITS = 2  # the trainer's default


def main(settings: dict[str, Any]) -> None:
    config = data_part(standard_config(**settings["data"]), "train")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        address = Address(f"ipc://{directory}/feed")
        command = [sys.executable, "-m", "data_server", "--workers", str(settings["workers"]), "--listen", address.text]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            stream = open_stream(address, server, Hello("train", config, 0, 0, 1, 0, 0, 0, CREDITS, ""))
            buffer = np.ones(stream.welcome.slot_bytes, np.uint8)
            answer_rounds(lambda images: _consume(stream, buffer, images))
            stream.close()
        finally:
            server.terminate()
            server.wait()


def open_stream(address: Address, server: subprocess.Popen, hello: Hello) -> StreamClient:
    """A stream from `server`, as soon as it listens at `address`."""
    while server.poll() is None:
        with contextlib.suppress(ServerGone):  # not listening yet
            return StreamClient(address, hello)
        time.sleep(0.05)
    raise SystemExit(f"the data server ended with code {server.returncode}")


def copy_out(lease: Lease, buffer: np.ndarray) -> None:
    """Copies every array of a batch into `buffer`, uint8, as an upload to a device does."""
    end = 0
    for array in lease.arrays.values():
        begin, end = end, end + array.nbytes
        buffer[begin:end] = array.reshape(-1).view(np.uint8)


def _consume(stream: StreamClient, buffer: np.ndarray, images: int) -> float:
    """Seconds that `images` images take. Every batch is copied into `buffer`, already touched."""
    start = time.perf_counter()
    while images > 0:
        lease = stream.next()
        copy_out(lease, buffer)
        images -= lease.valid
        lease.release()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

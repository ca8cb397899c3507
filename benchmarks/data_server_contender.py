"""Our data server in the pipeline benchmark, with a consumer that copies each batch once, as the trainer does, or, with
``copy`` false in the settings, checks it and gives it back."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.rounds import answer_rounds
from benchmarks.standard_data import standard_config
from shared.address import Address
from shared.client import ServerGone, StreamClient
from shared.data_part import data_part
from shared.lease import Lease
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
            use = functools.partial(copy_out, buffer=buffer) if settings.get("copy", True) else _look_at
            answer_rounds(lambda images: _consume(stream, use, images))
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
    """Copies every array of a batch into `buffer`, uint8, checked on the way, as the trainer does with its images."""
    lease.copy(lease.layout.views(buffer))


def _look_at(lease: Lease) -> None:
    """Touches one byte of every array, as a reader in place would begin."""
    for array in lease.arrays.values():
        array.flat[0]


def _consume(stream: StreamClient, use: Callable[[Lease], None], images: int) -> float:
    """Seconds that `images` images take, each batch being given to `use` before it is released."""
    start = time.perf_counter()
    while images > 0:
        lease = stream.next(check=False)  # `use` does
        use(lease)
        images -= lease.valid
        lease.release()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

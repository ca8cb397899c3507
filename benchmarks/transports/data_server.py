"""Ours: a real data server with one real worker per stream, and the real client; one stream for each payload size.

The workers hand over `benchmarks.transports.constant_batches`, which cost nothing to make. So what is timed is: the
worker's WROTE over its socket, the server's ledger and BATCH over the lifeline, the client's check of the header (of
the whole payload where the checksum is on), the views. RELEASE and the next ASSIGN are in the processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from mmengine.config import Config

from benchmarks.data_server_contender import CREDITS, open_stream
from benchmarks.rounds import answer_rounds
from benchmarks.transports.stamps import Stamps
from shared.address import Address
from shared.client import StreamClient
from shared.data_part import data_part
from shared.messages import Hello

WIDTH = 1024


def payload_bytes(mebibytes: float) -> int:
    """The bytes of the image nearest to this size that is `WIDTH` pixels wide."""
    return 3 * WIDTH * round(mebibytes * (1 << 20) / (3 * WIDTH))


class Streams:
    """Streams of constant batches from one server, by payload size; each is opened when it is first asked for."""

    def __init__(self, address: Address, server: subprocess.Popen, checksum: bool) -> None:
        self._address = address
        self._server = server
        self._checksum = checksum
        self._streams: dict[int, tuple[StreamClient, Stamps]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request of ``benchmarks.transports``, answered."""
        if request["bytes"] not in self._streams:
            self._streams[request["bytes"]] = self._open(request["bytes"])
        stream, stamps = self._streams[request["bytes"]]
        stamps.interval = request["interval"]
        # A worker goes on between requests until all slots are full: those batches are old, and one more is half made.
        stale = stream.welcome.slots + CREDITS
        batches = request.get("batches", stale)
        at_least = 1 if "batches" in request else stale
        prepared, start = stamps.preparation, time.perf_counter()
        latencies: list[float] = []
        while len(latencies) < at_least or (
            len(latencies) < batches and time.perf_counter() - start < request["seconds"]
        ):
            lease = stream.next()
            latencies.append(stamps.since(lease.step))
            lease.release()
        seconds = time.perf_counter() - start
        return {"latencies": latencies, "seconds": seconds, "preparation": stamps.preparation - prepared}

    def close(self) -> None:
        for stream, _ in self._streams.values():
            stream.close()

    def _open(self, nbytes: int) -> tuple[StreamClient, Stamps]:
        stamps = Stamps()
        height = nbytes // (3 * WIDTH)
        dataset = {"type": "ConstantDataset", "height": height, "width": WIDTH, "stamps": stamps.path}
        config = Config(
            {
                "val_dataloader": {"batch_size": 1, "dataset": dataset},
                "model": {"data_preprocessor": {"pad_size_divisor": 1}},
                "feed": {"max_image_size": (height, WIDTH), "checksum": self._checksum},
                "custom_imports": {"imports": ["benchmarks.transports.constant_batches"]},
            }
        )
        hello = Hello("handover", data_part(config, "val"), 0, 0, 1, 0, 0, 0, CREDITS, "")
        return open_stream(self._address, self._server, hello), stamps


def main(settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        address = Address(f"ipc://{directory}/feed")
        command = [sys.executable, "-m", "data_server", "--workers", "1", "--listen", address.text]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            streams = Streams(address, server, settings["checksum"])
            answer_rounds(streams.answer)
            streams.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

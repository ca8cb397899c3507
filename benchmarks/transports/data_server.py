"""Ours: a real data server with real workers, here or on the node of a Ray cluster, and the real client; one stream for
each payload size.

The workers hand over `benchmarks.transports.constant_batches`, which cost nothing to make. So what is timed is: the
worker's WROTE over its socket, the server's ledger and BATCH over the lifeline, the client's check of the header (of
the whole payload where the checksum is on), the views. RELEASE and the next ASSIGN are in the processor time.

A stream's batches come in their order, so one that is complete before the one that it follows has to wait for it: its
latency begins when it and all before it are complete. Its answers have three figures more than others' have:

    transport   seconds of each batch from the memory of the host that made it to this one's; 0 of those made here
    receiving   processor seconds of each batch that came from another host
    server      processor seconds of the server's own process
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config

from benchmarks.data_server_contender import CREDITS, open_stream
from benchmarks.rounds import answer_rounds, processor_clock
from benchmarks.transports.stamps import Stamps
from shared.address import Address
from shared.client import StreamClient
from shared.data_part import data_part
from shared.messages import Hello

WIDTH = 1024
_LOOK_SECONDS = 0.1
_JOINED, _ADMITTED = re.compile(r"\((\S+):(\d+)\) has joined, with"), re.compile("makes the same bytes as this host")


def payload_bytes(mebibytes: float) -> int:
    """The bytes of the image nearest to this size that is `WIDTH` pixels wide."""
    return 3 * WIDTH * round(mebibytes * (1 << 20) / (3 * WIDTH))


class Streams:
    """Streams of constant batches from one server, by payload size; each is opened when it is first asked for.

    Args:
        settings: "checksum", whether payloads have one; "workers", how many a stream has; "far", a Ray cluster's
            address, where they are on its node, and one more is here; "delay", seconds that a byte takes to and fro.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self._address = Address(f"ipc://{folder}/feed")
        self._checksum = settings["checksum"]
        self._far = "far" in settings
        self._log = folder / "log"
        workers = str(settings.get("workers", 1))
        command = [sys.executable, "-m", "data_server", "--listen", self._address.text]
        if self._far:
            command += ["--workers", "1", "--ray", settings["far"], "--far-workers", workers]
            command += ["--far-workers-per-node", workers]
        else:
            command += ["--workers", workers]
        with self._log.open("w") as log:
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        self._relay = self._between(settings["delay"]) if settings.get("delay") else ""
        self._streams: dict[int, tuple[StreamClient, Stamps]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request of ``benchmarks.transports``, answered."""
        if request["bytes"] not in self._streams:
            self._streams[request["bytes"]] = self._open(request["bytes"])
        stream, stamps = self._streams[request["bytes"]]
        stamps.interval = request["interval"]
        # Workers go on between requests until all slots are full: those batches are old, and some more are half made.
        stale = stream.welcome.slots + CREDITS
        batches = request.get("batches", stale)
        at_least = 1 if "batches" in request else stale
        spent, start = processor_clock(self._server.pid), time.perf_counter()
        latencies: list[float] = []
        found = []
        handed = 0.0
        while len(latencies) < at_least or (
            len(latencies) < batches and time.perf_counter() - start < request["seconds"]
        ):
            lease = stream.next()
            now = time.monotonic()
            found.append(stamps.of(lease.step))
            lease.release()
            handed = max(handed, found[-1].handed)
            latencies.append(now - handed)
        return {
            "latencies": latencies,
            "seconds": time.perf_counter() - start,
            "preparation": sum(stamp.preparation for stamp in found),
            "transport": [stamp.transport for stamp in found],
            "receiving": [stamp.receiving for stamp in found if stamp.receiving],
            "server": processor_clock(self._server.pid) - spent,
        }

    def close(self) -> None:
        for stream, _ in self._streams.values():
            stream.close()
        self._server.terminate()
        self._server.wait()

    def _open(self, nbytes: int) -> tuple[StreamClient, Stamps]:
        stamps = Stamps()
        height = nbytes // (3 * WIDTH)
        dataset = {"type": "ConstantDataset", "height": height, "width": WIDTH, "stamps": stamps.path}
        dataset["relay"] = self._relay
        config = Config(
            {
                "train_dataloader": {"batch_size": 1, "dataset": dataset},
                "model": {"data_preprocessor": {"pad_size_divisor": 1}},
                "feed": {"max_image_size": (height, WIDTH), "checksum": self._checksum},
                "custom_imports": {"imports": ["benchmarks.transports.constant_batches"]},
            }
        )
        hello = Hello("handover", data_part(config, "train"), 0, 0, 1, 0, 0, 0, CREDITS, "")
        if self._far:
            self._wait_for(_JOINED, 1)  # before the stream is opened, so that there are slots for its workers
        stream = open_stream(self._address, self._server, hello)
        if self._far:
            self._wait_for(_ADMITTED, 1 + len(self._streams))
        return stream, stamps

    def _between(self, delay: float) -> str:
        """The address of a relay before the agent."""
        host, port = self._wait_for(_JOINED, 1)
        command = [sys.executable, "-m", "benchmarks.transports.relay", host, port, str(delay), str(os.getpid())]
        relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return f"tcp://127.0.0.1:{relay.stdout.readline().strip()}"

    def _wait_for(self, line: re.Pattern[str], times: int) -> Any:
        """Until the server has said it so often; what is in the line's groups."""
        while len(found := line.findall(said := self._log.read_text())) < times:
            if self._server.poll() is not None or "is not used" in said:
                raise SystemExit(said)
            time.sleep(_LOOK_SECONDS)
        return found[-1]


def main(settings: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        streams = Streams(settings, Path(folder))
        try:
            answer_rounds(streams.answer)
        finally:
            streams.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

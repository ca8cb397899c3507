"""The streams' meters for Prometheus, over HTTP.

    HTTP thread ──question, one byte──► poll loop: reads all meters and ledgers ──families──► HTTP thread ──text──►

HTTP has a thread of its own that never looks at a stream: it asks the poll loop and waits. So all numbers of a scrape
are read at one moment, in the one thread that changes them, and nothing needs a lock. Between scrapes this costs
nothing. One connection is served at a time; the others wait in the kernel, where they use none of the descriptors that
the streams need.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from data_server.serving.ledger import SlotState
from data_server.serving.loop import Loop
from data_server.serving.meter import CAUSES, Meter, Stall
from shared.errors import UserError

_LOOP_SECONDS = 5  # it answers within a millisecond
_CLIENT_SECONDS = 2
_PREFIX = "data_server_"


class Measured(Protocol):
    """What is read of a stream."""

    name: str
    meter: Meter


class _Server(WSGIServer):
    def handle_error(self, *_: object) -> None:
        """A scraper that goes away, or is silent for `_CLIENT_SECONDS`, is not worth reporting."""


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, *_: object) -> None:
        """Scrapes are not logged."""


class Exporter:
    """Serves `url` from a registry of its own; until `attach`, scrapes wait."""

    def __init__(self, host: str, port: int) -> None:
        """Raises UserError when nothing can listen there."""
        self.url = f"http://{host}:{port}/metrics"
        self._started = time.monotonic()
        self._questions: SimpleQueue[Future[list[Metric]]] = SimpleQueue()
        self._asking, self._asked = socket.socketpair()
        registry = CollectorRegistry()
        registry.register(self)
        try:
            http = make_server(host, port, make_wsgi_app(registry), _Server, _Handler)
        except OSError as error:
            raise UserError(
                f"--prometheus {host}:{port}: cannot listen there: {error.strerror}; "
                "choose another port, or stop what is using it"
            ) from None
        threading.Thread(target=http.serve_forever, name="metrics", daemon=True).start()

    def attach(self, loop: Loop, streams: Mapping[bytes, Measured], lingering: Collection[Measured]) -> None:
        """Has `loop` answer scrapes from now on. The collections are the server's own, read at each scrape."""

        def answer() -> None:
            self._asked.recv(1)
            self._questions.get().set_result(self._read(streams.values(), lingering))

        loop.watch(self._asked.fileno(), answer)

    def collect(self) -> list[Metric]:
        """What prometheus_client calls, in the HTTP thread, for each scrape."""
        question: Future[list[Metric]] = Future()
        self._questions.put(question)
        self._asking.send(b"?")
        return question.result(_LOOP_SECONDS)

    def _read(self, streams: Collection[Measured], lingering: Collection[Measured]) -> list[Metric]:
        uptime = GaugeMetricFamily(f"{_PREFIX}uptime_seconds", "Seconds since the data server was started.")
        uptime.add_metric([], time.monotonic() - self._started)
        counts = GaugeMetricFamily(
            f"{_PREFIX}streams", "Streams that a trainer reads, and those kept for one that died.", labels=["state"]
        )
        counts.add_metric(["open"], len(streams))
        counts.add_metric(["lingering"], len(lingering))
        return [uptime, counts, *_families([*streams, *lingering])]


def _families(streams: Iterable[Measured]) -> list[Metric]:
    """All metrics of streams; one that is still building its data set has no slots yet."""

    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(_PREFIX + name, text, labels=["stream", *labels])

    def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(_PREFIX + name, text, labels=["stream", *labels])

    slots = gauge("slots", "Slots by what they are used for.", "state")
    queue = gauge("queue_depth", "Batches that are READY and not yet the trainer's.")
    credits = gauge("credits_in_use", "Batches that the trainer holds.")
    memory = gauge("memory_planned_bytes", "Memory that the stream was planned to take: slots, data set and workers.")
    batches = counter("batches_delivered", "Batches handed to the trainer.")
    payload = counter("bytes_delivered", "Bytes of the batches handed to the trainer.")
    stalls = counter(
        "stall_seconds",
        "data: the trainer could have had a batch and none was ready. "
        "compute: all slots were full and all workers idle until the trainer gave one back.",
        "cause",
    )
    workers = counter(
        "worker_restarts",
        "Workers replaced. orphaned: died with the process that holds the data set; stillborn: before the first batch.",
        "cause",
    )
    nurseries = counter("nursery_restarts", "Deaths of the process that holds the data set; it was built again.")
    quarantined = counter("quarantined_samples", "Samples found to kill the worker that loads them.")
    replaced = counter("replaced_samples", "Samples that could not be loaded; the next one took their place.")
    evaluations = counter("evaluations", "Evaluations answered.")

    for stream in streams:
        name, meter = stream.name, stream.meter
        if meter.ledger is not None:
            for state in SlotState:
                slots.add_metric([name, state.value], meter.ledger.count(state))
            queue.add_metric([name], meter.ledger.count(SlotState.READY))
            credits.add_metric([name], meter.ledger.count(SlotState.LEASED))
            memory.add_metric([name], meter.memory_bytes)
        for stall in Stall:
            stalls.add_metric([name, stall.value], meter.stall_seconds(stall))
        for cause in CAUSES:
            workers.add_metric([name, cause], meter.worker_restarts[cause])
        batches.add_metric([name], meter.batches)
        payload.add_metric([name], meter.payload_bytes)
        nurseries.add_metric([name], meter.nursery_restarts)
        quarantined.add_metric([name], meter.quarantined)
        replaced.add_metric([name], meter.replaced)
        evaluations.add_metric([name], meter.evaluations)
    return [
        *(slots, queue, credits, memory, batches, payload, stalls),
        *(workers, nurseries, quarantined, replaced, evaluations),
    ]

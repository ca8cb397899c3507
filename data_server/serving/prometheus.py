"""The streams' meters for Prometheus, over HTTP.

    HTTP thread ──question, one byte──► poll loop: reads all meters and ledgers ──families──► HTTP thread ──text──►

HTTP has threads of its own that never look at a stream: they ask the poll loop and wait. So all numbers of a scrape are
read at one moment, in the one thread that changes them, and nothing needs a lock. Between scrapes this costs nothing.
Each of the few threads serves one connection at a time, and none longer than `_CLIENT_SECONDS`; the others wait in the
kernel, as do those that say nothing, where they use none of the descriptors that the streams need.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from data_server.serving.ledger import SlotState
from data_server.serving.loop import Loop
from data_server.serving.meter import CAUSES, Meter, Stall
from shared.errors import UserError

_LOOP_SECONDS = 5  # it answers within a millisecond
_CLIENT_SECONDS = 2
_THREADS = 4  # one slow client fewer keeps nobody else waiting
_MAX_REQUEST = 1 << 14
_PREFIX = "data_server_"


class Measured(Protocol):
    """What is read of a stream."""

    name: str
    meter: Meter


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
            family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _CLIENT_SECONDS)
            listener.bind(place)
            listener.listen()
        except OSError as error:
            raise UserError(
                f"--prometheus {host}:{port}: cannot listen there: {error.strerror}; "
                "choose another port, or stop what is using it"
            ) from None
        application = make_wsgi_app(registry)
        for _ in range(_THREADS):
            threading.Thread(target=_serve, args=(listener, application), name="metrics", daemon=True).start()

    def attach(self, loop: Loop, streams: Mapping[bytes, Measured], lingering: Collection[Measured]) -> None:
        """Has `loop` answer scrapes from now on. The collections are the server's own, read at each scrape."""

        def answer() -> None:
            self._asked.recv(1)
            self._questions.get().set_result(self._read(streams.values(), lingering))

        loop.watch(self._asked.fileno(), answer)

    def describe(self) -> list[Metric]:
        """What prometheus_client calls once, to know the names that a scraper may ask for (``?name[]=``)."""
        return self._read([], [])

    def collect(self) -> list[Metric]:
        """What prometheus_client calls, in an HTTP thread, for each scrape."""
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


def _serve(listener: socket.socket, application: Any) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # it is gone again, or no descriptor is left: those of the streams come first
            time.sleep(_CLIENT_SECONDS)
            continue
        # A scraper that goes away or takes too long is not worth reporting.
        with connection, contextlib.suppress(OSError, ValueError, TimeoutError):
            _answer(connection, application, time.monotonic() + _CLIENT_SECONDS)


def _answer(connection: socket.socket, application: Any, deadline: float) -> None:
    """Reads a request and has the WSGI `application` answer it. Raises OSError at `deadline`, ValueError for what is no
    request."""
    head = b""
    while b"\r\n\r\n" not in head:
        connection.settimeout(max(1e-3, deadline - time.monotonic()))
        data = connection.recv(1 << 12)
        head += data
        if not data or len(head) > _MAX_REQUEST or time.monotonic() > deadline:
            return
    request, *lines = head.decode("latin1").split("\r\n")
    method, target, _ = request.split(" ")
    path, _, query = target.partition("?")
    environment = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        environment[f"HTTP_{name.strip().upper().replace('-', '_')}"] = value.strip()
    answer = [b""]

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        answer[0] = "".join(f"{line}\r\n" for line in (f"HTTP/1.0 {status}", *map(": ".join, headers), "")).encode()

    body = b"".join(application(environment, start))
    connection.settimeout(max(1e-3, deadline + _LOOP_SECONDS - time.monotonic()))
    connection.sendall(answer[0] + body)
    connection.shutdown(socket.SHUT_WR)


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
    far = counter("far_batches", "Batches made by workers on other hosts.")
    stalls = counter(
        "stall_seconds",
        "data: the trainer could have had a batch and none was ready. "
        "compute: all slots were full and all workers idle until the trainer gave one back.",
        "cause",
    )
    workers = counter(
        "worker_restarts",
        "Workers replaced. orphaned: died with the process that holds the data set; stillborn: before the first batch. "
        "unreachable: on a host that did not answer any more.",
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
        far.add_metric([name], meter.far_batches)
        nurseries.add_metric([name], meter.nursery_restarts)
        quarantined.add_metric([name], meter.quarantined)
        replaced.add_metric([name], meter.replaced)
        evaluations.add_metric([name], meter.evaluations)
    return [
        *(slots, queue, credits, memory, batches, payload, far, stalls),
        *(workers, nurseries, quarantined, replaced, evaluations),
    ]

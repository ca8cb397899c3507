"""What ``/metrics`` tells Prometheus, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_QUESTIONS = (1, 2, 4, 8, 16, 32)


class Meters:
    """Counters of one server.

    Attributes:
        requests: by path and status.
        proposal: seconds of stage 1 for a picture; next to none for a detector without.
        detection: seconds of the network for a picture, without stage 1.
        batch: questions that were taken together.
        waiting: questions in the queue.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "detector_requests", "Answers, by path and status", ("path", "status"), registry=registry
        )
        self.proposal = Histogram(
            "detector_proposal_seconds", "Time of one picture in stage 1", buckets=_SECONDS, registry=registry
        )
        self.detection = Histogram(
            "detector_detection_seconds",
            "Time of one picture in the network, without stage 1",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "detector_batch_questions", "Questions taken together", buckets=_QUESTIONS, registry=registry
        )
        self.waiting = Gauge("detector_waiting_questions", "Questions in the queue", registry=registry)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)

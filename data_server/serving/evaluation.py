"""Predictions that are being judged, and the evaluator at work on them.

waiting ──start──► judging ──answer──► over
   ▲                  │
   └───────lost───────┘    the evaluator died, or its nursery
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from data_server.handover.predictions import store
from data_server.serving.loop import Loop
from shared.link import Channel, ChannelClosed
from shared.messages import Failure, Metrics, Predictions, SpawnEvaluator

MAX_EVALUATIONS = 2


class Evaluation:
    """One evaluation; the predictions are kept in a memfd until there is an answer.

    Args:
        evaluator: MMDetection's config of metrics.
        answered: is given the answer.

    Attributes:
        starts: how many evaluators have been at work.
    """

    def __init__(
        self,
        loop: Loop,
        evaluator: list[Any],
        records: list[tuple[Predictions, bytes]],
        answered: Callable[[Metrics | Failure], None],
    ) -> None:
        self._loop = loop
        self._order = SpawnEvaluator(evaluator)
        self._predictions = store(records)
        self._channel: Channel | None = None
        self.starts = 0
        self.answered = answered

    @property
    def judging(self) -> bool:
        """Whether there is an evaluator."""
        return self._channel is not None

    def start(self, nursery: Channel, speaks: Callable[[Channel], None]) -> None:
        """Has `nursery` fork an evaluator; `speaks` is called when there is something to read from it."""
        self.starts += 1
        channel, theirs = Channel.pair()
        with contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
            nursery.send(self._order, theirs.fileno(), self._predictions)
        theirs.close()
        self._loop.watch(channel.fileno(), lambda: speaks(channel))
        self._channel = channel

    def lost(self) -> None:
        """The evaluator is dead, or no longer wanted: it ends when it notices."""
        if self._channel is not None:
            self._loop.forget(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def over(self) -> None:
        """The predictions are not needed any more."""
        self.lost()
        os.close(self._predictions)

"""The evaluator of a stream, and the predictions that it judges.

    none ──order──► judging ──answer──► idle ──order──► judging ...
      ▲                │                  │
      └─────lost───────┴──────────────────┘    it died, or its nursery: another is forked if there is an order

An evaluator lives as long as its trainer reads the stream: what it has read of the data set serves all that the trainer
asks for, however often. Predictions are kept until there is an answer, so the death of an evaluator loses none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from data_server.handover.predictions import Kept
from data_server.machine.kills import out_of_memory_kills
from data_server.serving.child import Child
from data_server.serving.loop import Loop
from shared.channel import Channel, ChannelClosed, NoDescriptorLeft
from shared.messages import Failure, Judge, MessageError, Metrics, SpawnEvaluator, Started

MAX_EVALUATIONS = 2

Answered = Callable[[Metrics | Failure], None]


@dataclass
class _Order:
    """What is to be judged by which metrics; `starts` counts the evaluators that have been at work on it."""

    metrics: list[Any]
    predictions: Kept
    answered: Answered
    starts: int = 0


class Evaluations:
    """The evaluations of one stream, one after the other.

    Args:
        notice: is called with a line for the trainer's log.
        last_words: where to find what a process has said before it died.
    """

    def __init__(self, loop: Loop, notice: Callable[[str], None], last_words: str) -> None:
        self._loop = loop
        self._notice = notice
        self._last_words = last_words
        self._kills = 0
        self._nursery: Child | None = None  # while it can fork
        self._evaluator: Child | None = None
        self._order: _Order | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is an order without an answer."""
        return self._order is not None

    def order(self, metrics: list[Any], predictions: Kept, answered: Answered) -> None:
        """Has `predictions`, which become ours, judged by `metrics`; `answered` is given the answer."""
        self._order = _Order(metrics, predictions, answered)
        self._kills = out_of_memory_kills()
        self._judge()

    def built(self, nursery: Child) -> None:
        """`nursery` has the data set and can fork."""
        self._nursery = nursery
        self._judge()

    def nursery_died(self) -> None:
        """The evaluator dies with it, through no fault of its own."""
        if self._order is not None and self._evaluator is not None:
            self._order.starts -= 1
        self._nursery = None
        self._end_evaluator()

    def cancel(self) -> None:
        """No answer is wanted any longer. Nothing of an evaluation is at work when this returns."""
        if self._order is not None:
            self._order.predictions.close()
            self._order = None
        self._end_evaluator()

    def _judge(self) -> None:
        """Gives the order to the evaluator, which is forked if there is none."""
        if self._order is None or self._nursery is None:
            return
        if self._evaluator is None:
            try:
                self._evaluator = self._forked(self._nursery)
            except NoDescriptorLeft as error:
                self._answer(Failure(f"nothing can be evaluated: {error}", False))
                return
        self._order.starts += 1
        try:
            memory = self._order.predictions.descriptor
        except OSError as error:
            self._answer(Failure(f"predictions cannot be kept: {error.strerror}; start with another TMPDIR", True))
            return
        with contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
            self._evaluator.channel.send(Judge(self._order.metrics), memory)

    def _forked(self, nursery: Child) -> Child:
        channel, theirs = Channel.pair()
        with theirs, contextlib.suppress(ChannelClosed):  # dead already: its EOF is in the poll loop
            nursery.channel.send(SpawnEvaluator(), theirs.fileno())
        self._loop.watch(channel.fileno(), self._evaluator_speaks)
        channel.never_wait(partial(self._loop.when_writable, channel.fileno()))
        return Child(channel, nursery)

    def _evaluator_speaks(self) -> None:
        assert self._evaluator is not None
        try:
            messages: list[Started | Metrics | Failure] = self._evaluator.channel.read(Started, Metrics, Failure)
        except (ChannelClosed, MessageError):
            self._evaluator_died()
            return
        for message in messages:
            if not isinstance(message, Started):
                self._answer(message)
                continue
            try:
                self._evaluator.started()
            except NoDescriptorLeft as error:
                self._end_evaluator()
                self._answer(Failure(f"nothing can be evaluated: {error}", False))
                return

    def _evaluator_died(self) -> None:
        self._end_evaluator()
        if self._order is None:
            return
        if self._order.starts < MAX_EVALUATIONS:
            self._notice("the evaluator died; evaluating again")
            self._judge()
            return
        cause = ", for lack of memory" if out_of_memory_kills() > self._kills else ""
        self._answer(Failure(f"the evaluator died {MAX_EVALUATIONS} times{cause}; {self._last_words}", False))

    def _answer(self, answer: Metrics | Failure) -> None:
        order, self._order = self._order, None
        if order is not None:
            order.predictions.close()
            order.answered(answer)

    def _end_evaluator(self) -> None:
        if self._evaluator is not None:
            self._evaluator.kill()
            self._evaluator.forget(self._loop)
            self._evaluator = None

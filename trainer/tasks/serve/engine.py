"""The one thread that detects, and the queue before it.

    HTTP's thread ── ask ──► questions, at most DEPTH ──► run, in the main thread, Jittor's ──► answer, a Future

Questions that wait are taken together: those who ask the same about a picture get one answer. A picture is decoded
once, and stage 1's boxes in it are kept until another comes: asked for other names, only stage 2 looks again. Each
picture passes through the network by itself. In a batch the last digits of its scores depend on the pictures beside it,
and an answer is what ``python -m trainer detect`` writes, digit for digit.
"""

from __future__ import annotations

import hashlib
import queue
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from shared.errors import UserError, described
from trainer.api import Detector, Found
from trainer.evaluation.findings import Findings, above
from trainer.feed.loader import BadImage
from trainer.models import Detections
from trainer.tasks.serve.meters import Meters
from trainer.tasks.serve.words import Words

DEPTH = 32  # questions that wait; each holds its picture's file
HEADS = 16  # vocabularies whose box heads are kept
_POLL_SECONDS = 0.1

Say = Callable[[str], None]


class Busy(Exception):
    """As many questions wait as may."""


@dataclass(frozen=True)
class Question:
    """What is in a picture.

    Attributes:
        content: the picture's file.
        title: what the answer calls it.
        words: the names to find.
        threshold: no detection that scores less is in the answer.
        answer: a COCO file's content, as `Findings` has it; BadImage, UserError, or whatever else went wrong.
    """

    content: bytes
    title: str
    words: Words
    threshold: float = 0.0
    answer: Future[bytes] = field(default_factory=Future)


@dataclass(frozen=True)
class _Seen:
    """A picture: its file's digest, its pixels u8 (H,W,3) BGR, stage 1's boxes in it."""

    digest: bytes
    image: np.ndarray
    proposals: Detections | None


class Engine:
    """Answers questions with a detector.

    Args:
        detector: with the vocabulary of the words that are its own.
        info: of every answer: config and checkpoint.
        say: told what nobody expected.
    """

    def __init__(self, detector: Detector, info: dict[str, str], meters: Meters, say: Say) -> None:
        self._detector, self._info, self._meters, self._say = detector, info, meters, say
        self._seen: _Seen | None = None
        self._heads: OrderedDict[tuple[str, ...], Detector] = OrderedDict()
        self._questions: queue.Queue[Question] = queue.Queue(DEPTH)

    def warm_up(self) -> None:
        """Detects in a grey picture: Jittor loads, on a new machine compiles, its kernels now."""
        self._detector.detect(np.full((96, 128, 3), 127, np.uint8))

    def ask(self, question: Question) -> Future[bytes]:
        """Puts a question into the queue; from any thread.

        Raises:
            Busy: it is full.
        """
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            raise Busy from None
        self._meters.waiting.set(self._questions.qsize())
        return question.answer

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Answers for as long as `goes_on`."""
        while goes_on():
            try:
                batch = [self._questions.get(timeout=_POLL_SECONDS)]
            except queue.Empty:
                continue
            while not self._questions.empty():
                batch.append(self._questions.get_nowait())
            self._meters.waiting.set(0)
            self._meters.batch.observe(len(batch))
            self._answer(batch)

    def _answer(self, batch: Sequence[Question]) -> None:
        """Answers questions, those about one picture one behind the other."""
        pictures: dict[bytes, list[Question]] = {}
        for question in batch:
            pictures.setdefault(hashlib.blake2b(question.content).digest(), []).append(question)
        for digest, questions in pictures.items():
            found: dict[tuple[str, ...], Found] = {}
            for question in questions:
                try:
                    seen = self._look_at(digest, question)
                    detector = self._speaking(question.words)
                    if question.words.key not in found:
                        found[question.words.key] = self._detect(detector, seen)
                    answer = Findings(detector.names, self._info)
                    answer.add(question.title, seen.image, above(found[question.words.key], question.threshold))
                    question.answer.set_result(answer.dumps())
                except (BadImage, UserError) as error:
                    question.answer.set_exception(error)
                except Exception as error:  # of memory that is used up, say: the next picture may be smaller
                    self._say(f"error: {question.title!r} could not be answered: {described(error)}")
                    question.answer.set_exception(error)

    def _look_at(self, digest: bytes, question: Question) -> _Seen:
        if self._seen is None or self._seen.digest != digest:
            self._seen = None  # two at a time would be too many
            image = self._detector.decode(question.content, repr(question.title))
            with self._meters.proposal.time():
                self._seen = _Seen(digest, image, self._detector.propose(image))
        return self._seen

    def _detect(self, detector: Detector, seen: _Seen) -> Found:
        with self._meters.detection.time():
            return detector.detect(seen.image, seen.proposals)

    def _speaking(self, words: Words) -> Detector:
        """The detector of a vocabulary, made when it is asked for first."""
        if words.embeddings is None:
            return self._detector
        if words.key not in self._heads:
            self._heads[words.key] = self._detector.with_vocabulary(words.embeddings)
            if len(self._heads) > HEADS:
                self._heads.popitem(last=False)
        self._heads.move_to_end(words.key)
        return self._heads[words.key]

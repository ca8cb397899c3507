"""A step: from a batch to an update, built as a graph that the loop then computes.

one rank        build k │ ... the loop computes it, and reads its losses while step k+1 is built
several ranks   a turn (`trainer.training.together`): each computes the gradients of a batch of its own, they are
                added up, and what is left of the graph is the update; the losses are numbers by then
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from trainer.batch import Batch
from trainer.device import jt, nn, seed
from trainer.models.backbones.backbone import Backbone
from trainer.process.ranks import Ranks
from trainer.training.accumulation import Accumulation
from trainer.training.guards import memory_advised
from trainer.training.loss_scale import Gradients
from trainer.training.optimizer import Optimizer
from trainer.training.schedule import Schedule
from trainer.training.terms import packed, total_loss
from trainer.training.together import Record, checksum, exchange, taking_part
from trainer.training.weight_average import WeightAverage


@dataclass(frozen=True)
class Losses:
    """Of one batch: its terms by name, how many images it has, the learning rate after it."""

    terms: dict[str, float]
    images: int
    rate: float


@dataclass(frozen=True)
class Step:
    """A batch, or a turn of several ranks.

    Attributes:
        batch: this rank's; None where it has none in this turn.
        read: the losses of the batches of all ranks, and the gradients', which may have to be waited for.
        signal: what all ranks have heard that one of them was sent.
    """

    batch: Batch | None
    read: Callable[[], tuple[list[Losses], Gradients]]
    signal: signal.Signals | None = None


class Steps:
    """Builds the steps of a run.

    Args:
        run_seed: where the backbone is the user's own, and may draw, every step is seeded by it and its own number
            alone, so a resumed run draws what an uninterrupted one would have drawn. All else draws by the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: WeightAverage,
        schedule: Schedule,
        accumulation: Accumulation,
        steps_per_epoch: int,
        run_seed: int,
        ranks: Ranks,
    ) -> None:
        self._model, self._optimizer, self._average = model, optimizer, average
        self._schedule, self._accumulation, self._ranks = schedule, accumulation, ranks
        self._steps_per_epoch, self._run_seed = steps_per_epoch, run_seed

    def build(self, number: int, batch: Batch) -> Step:
        """The graph of step `number` on `batch`, up to the update."""
        self._seed(number)
        terms = self._model.loss(batch)
        rate = self._optimizer.follow(self._schedule, number)
        scale = self._optimizer.scale
        norm = self._optimizer.step(total_loss(terms), self._accumulation.share(number))
        values = packed([*terms.values(), norm, *scale])
        self._average.follow(number, self._steps_per_epoch)
        names, images = list(terms), len(batch.host["image_ids"])  # `terms` would keep the step's graph

        def read() -> tuple[list[Losses], Gradients]:
            numbers = values.numpy().tolist()
            of_terms, of_gradients = numbers[: len(names)], numbers[len(names) :]
            losses = Losses(dict(zip(names, of_terms, strict=True)), images, rate)
            return [losses], Gradients(*of_gradients)

        return Step(batch, read)

    def build_together(self, now: range, take: Callable[[], Batch], asked: int) -> Step:
        """The same for a turn of all ranks; what comes before the update is computed at once.

        Args:
            now: the turn's batches.
            take: gives this rank's batch.
            asked: the signal that this rank has been sent; 0: none.

        Raises:
            RankFailed: another rank cannot take part. This one's own reason is raised after the others know it.
        """
        ranks = self._ranks
        own = next((number for number in now if number % ranks.size == ranks.rank), None)
        weights = checksum(self._model)
        batch, record = None, Record(weights, signal=asked)
        with taking_part(ranks, now, self._optimizer.no_gradients):
            if own is not None:
                batch = take()
                with memory_advised(batch):
                    terms = self._backward(batch, own, adds=own == now[0])
                record = Record(weights, terms, len(batch.host["image_ids"]), asked)
        numbers = self._optimizer.gradients() if own is not None else self._optimizer.no_gradients()
        said = exchange(ranks, now, numbers, record)
        signals = [one.signal for one in said if one.signal]
        self._optimizer.put_gradients(numbers)
        for number in now[:-1]:
            self._average.follow(number, self._steps_per_epoch)
        self._optimizer.follow(self._schedule, now[-1])
        scale = self._optimizer.scale
        values = packed([self._optimizer.complete(self._accumulation.share(now[-1])), *scale])
        self._average.follow(now[-1], self._steps_per_epoch)
        losses = []
        for number in now:
            of = said[number % ranks.size]
            losses.append(Losses(of.terms, of.images, self._schedule.rate(number)))
        return Step(
            batch,
            lambda: (losses, Gradients(*values.numpy().tolist())),
            signal.Signals(signals[0]) if signals else None,
        )

    def _backward(self, batch: Batch, number: int, adds: bool) -> dict[str, float]:
        """Computes the gradients of a batch; returns its terms."""
        self._seed(number)
        terms = self._model.loss(batch)
        values = packed(terms.values())
        self._optimizer.backward(total_loss(terms), self._accumulation.share(number), adds)
        jt.sync_all()
        return dict(zip(terms, values.numpy().tolist(), strict=True))

    def _seed(self, number: int) -> None:
        if isinstance(self._model.backbone, Backbone):
            seed((self._run_seed * 1_000_003 + number) % 2**31)

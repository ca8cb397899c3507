"""The numbers of a step, read when the next one is under way: checked, logged, told to hooks and whoever looks.

nothing to read ──put──► a step is to be read ──read──► its numbers are right: told; or TrainingFault
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trainer.device import card_memory, device_memory
from trainer.feed.feed import Feed
from trainer.process.ranks import Ranks
from trainer.training.accumulation import Accumulation
from trainer.training.guards import check_gradients, check_losses, check_others, check_skips
from trainer.training.hooks import Hooks, Moment
from trainer.training.log import Progress
from trainer.training.loss_scale import Skips
from trainer.training.onlooker import Onlooker
from trainer.training.optimizer import Optimizer
from trainer.training.step import Step


class Reader:
    """Reads the steps of a run, one after the other.

    Args:
        config_file: where the run's config is, for messages.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulation: Accumulation,
        ranks: Ranks,
        feed: Feed,
        hooks: Hooks,
        moment: Callable[[int], Moment],
        onlooker: Onlooker,
        config_file: str,
    ) -> None:
        self._optimizer, self._accumulation, self._ranks = optimizer, accumulation, ranks
        self._feed, self._hooks, self._moment, self._onlooker = feed, hooks, moment, onlooker
        self._config_file = config_file
        self._unread: Step | None = None
        self._finished = 0
        self._skips = Skips()
        self.restart_clocks()

    def restart_clocks(self) -> None:
        """What has gone by since the last step was read is nobody's."""
        self._clocks = time.perf_counter(), self._feed.wait_seconds

    def put(self, step: Step, finished: int) -> None:
        """The step that is to be read next, after which so many are `finished`; the one before has been read."""
        self._unread, self._finished = step, finished

    def read(self, progress: Progress) -> None:
        """Reads, checks and logs the numbers of the last step, where that has not been done.

        Raises:
            TrainingFault: they cannot be right. The weights have them, so nothing is saved.
        """
        if self._unread is None:
            return
        last, self._unread = self._unread, None
        losses, gradients = last.read()
        first = self._finished - len(losses)
        for number, one in enumerate(losses, first):
            if number % self._ranks.size != self._ranks.rank:
                check_others(one.terms, number)
            elif last.batch is not None:
                check_losses(one.terms, last.batch, self._config_file)
        skipped = False
        if self._optimizer.loss_scale is None:
            check_gradients(gradients.norm, last.batch, self._config_file)
        elif self._accumulation.share(self._finished - 1).completes:
            skipped = self._skips.count(gradients.norm)
            check_skips(self._skips, gradients, last.batch, self._config_file)
        seconds, waited = self._clocks
        self.restart_clocks()
        for number, one in enumerate(losses, first + 1):
            progress.train(
                number,
                one.terms,
                one.rate,
                one.images,
                (self._clocks[1] - waited) / len(losses),
                (self._clocks[0] - seconds) / len(losses),
                device_memory(),
                card_memory(),
                gradients.scale,
                skipped and number == self._finished,
            )
            self._hooks.tell("after_step", self._moment(number), one.terms, one.rate)
        if self._ranks.first and last.batch is not None:
            self._onlooker.show(last.batch)

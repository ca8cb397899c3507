"""The training loop.

    feed ──► detector.loss ──► backward, update ──► one jt.sync_all() ──► losses read, checked, logged
      where `trainer.training.intervals` says:     checkpoint, then evaluation
      where `trainer.training.accumulation` says:  no update, the gradients wait for another batch

Losses are read late, so that a GPU that computes a step is not waited for before the next one is there:

    host   build k │ queue k │ next batch │ build k+1 │ read k │ queue k+1 │ ...
    GPU            │ ───── computes step k ───────────────── ► │ ───── step k+1 ─ ...

Several ranks (`trainer.training.together`) take several batches in a turn, add up their gradients between backward and
update, and read the losses there. All predict in an evaluation; rank 0 alone writes and has metrics, while the others
wait.

Before a checkpoint, an evaluation or an end they are read at once: numbers that cannot be right end the run before the
next step is computed, and no checkpoint has them. A checkpoint is written before an evaluation, so there is nothing to
lose while that runs. A run that is interrupted writes one after the step in hand, and can go on at the very next batch.

With ``train_cfg.val_async`` an evaluation is taken where the next one is due: `trainer.training.evaluations`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from shared.client import StreamFailed
from shared.config import section, seed_of
from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import arithmetic, card_memory, jt, seed
from trainer.feed.feed import Feed
from trainer.feed.server import DataServerLost, ServerHandle
from trainer.models import build_detector
from trainer.models.ops import random_keys
from trainer.models.precision import of_training
from trainer.process import user_code
from trainer.process.interrupt import Interrupt, Interrupted
from trainer.process.out_of_memory import OutOfMemory
from trainer.process.ranks import ALONE, RankFailed, Ranks
from trainer.training.accumulation import Accumulation
from trainer.training.device_plan import forecast
from trainer.training.evaluations import Evaluate, Evaluations
from trainer.training.guards import assert_trains, memory_advised
from trainer.training.hooks import Hooks, Moment
from trainer.training.intervals import Intervals
from trainer.training.log import Progress, Silence, evaluated_at
from trainer.training.onlooker import Onlooker
from trainer.training.optimizer import build_optimizer
from trainer.training.reading import Reader
from trainer.training.resuming import (
    compare_arithmetic,
    compare_code,
    compare_samples,
    compare_update,
    compare_waiting,
    own_record,
)
from trainer.training.schedule import Schedule, rate_factor
from trainer.training.step import Steps
from trainer.training.together import agree, share_weights, turn
from trainer.training.verdicts import Metrics, Verdicts
from trainer.training.weight_average import WeightAverage
from trainer.weights import checkpoint, pretrained


class TrainingLoop:
    """One training run: model, optimizer and where it stands.

    Args:
        resume_from: the checkpoint to continue from.
        evaluate: see `Evaluations`; called after the epochs or steps that the config says.
        ranks: who trains together. Those other than 0 say nothing but what is wrong with their data, and write nothing.

    Attributes:
        config_file: where the run's whole config belongs, for messages.
        config_text: that config as Python.
    """

    def __init__(
        self,
        config: Config,
        server: ServerHandle,
        work_dir: Path,
        say: Callable[[str], None],
        resume_from: Path | None,
        evaluate: Evaluate,
        ranks: Ranks = ALONE,
    ) -> None:
        """Builds the model, with its weights, and opens the stream.

        Raises:
            UserError: of config, weights or data, before anything is written.
        """
        self.config, self.work_dir, self.ranks = config, work_dir, ranks
        self.config_text = config.pretty_text  # takes a quarter of a second to lay out
        self.say = say if ranks.first else lambda _: None
        self.config_file = str(work_dir / f"{Path(config.filename).stem}.py")
        self.intervals = Intervals(config)
        self.verdicts = Verdicts(config)
        self.hooks = Hooks(config, ranks.size)
        self.seed = seed_of(config)
        self.code = user_code.digests(config.to_dict())
        seed(self.seed)
        self.model = build_detector(section(config, "model"))
        self.model.train()
        self.model.trains_in = of_training(config)
        self.rate_factor, why = rate_factor(config, ranks.size)
        if why:
            self.say(why)
        self.optimizer = build_optimizer(section(config, "optim_wrapper"), self.model, self.rate_factor)
        self.average = WeightAverage(config, self.optimizer.parameters)
        self.evaluations = Evaluations(config, self.verdicts, evaluate, self.model, self.average, work_dir, self.say)
        cursor, record = self._restore(resume_from)
        if ranks.size > 1:
            share_weights(ranks, self.model)
        self.feed = Feed(server, config, "train", work_dir, say, seed=self.seed, record=record, ranks=ranks, **cursor)
        agree(ranks, {"the config": self.config_text, "the annotations": self.feed.facts})
        self.model.roi_head.bbox_head.check_classes(self.feed.classes, training=True)
        self.steps_per_epoch = self.feed.steps_per_epoch
        self.total_steps = self.intervals.loop.total_steps(self.steps_per_epoch)
        self.average.check_begin(self.total_steps, self.intervals.loop)
        self.schedule = Schedule(
            config.get("param_scheduler"),
            self.optimizer.base_rate,
            self.steps_per_epoch,
            self.intervals.loop,
            self.verdicts.cuts,
        )
        self.optimizer.check(self.schedule)
        self.step = cursor["epoch"] * self.steps_per_epoch + cursor["step"]
        self.batches_per_update = self.optimizer.counts * ranks.size
        self.accumulation = Accumulation(self.batches_per_update, self.total_steps)
        compare_waiting(
            resume_from,
            self.optimizer.waiting,
            self.accumulation.waiting(self.step),
            self.batches_per_update,
            self.say,
        )
        self._steps = Steps(
            self.model,
            self.optimizer,
            self.average,
            self.schedule,
            self.accumulation,
            self.steps_per_epoch,
            self.seed,
            ranks,
        )
        told_apart = self.model.roi_head.bbox_head.num_classes > 1
        self._reader = Reader(
            self.optimizer,
            self.accumulation,
            ranks,
            self.feed,
            self.hooks,
            self._moment,
            Onlooker(work_dir, self.feed.classes if told_apart else [], self.say),
            self.config_file,
        )
        self._agreed: signal.Signals | None = None  # the signal that all ranks have heard of
        self.record = self.feed.record  # of the stream up to `step`; the feed's own may be one batch ahead
        if resume_from is not None:
            self.say(f"resumed from {resume_from} at step {self.step}")

    def run(self, interrupt: Interrupt) -> Metrics | None:
        """Trains to the end, or until `interrupt`; returns the metrics after the last step, where there are any.

        Raises:
            DataServerLost, OutOfMemory, RankFailed: after a checkpoint of the last finished step.
            UserError, StreamFailed: of the data, after such a checkpoint; of losses and weights, without one.
        """
        self.say(
            f"data: {self.feed.images} images, {self.steps_per_epoch} steps per epoch; memory plan {self.feed.plan}"
        )
        if self.ranks.size > 1:
            self.say(
                f"{self.ranks.size} ranks: the mean gradient of {self.batches_per_update} batches makes an update; a "
                "step is one batch, whichever rank computes it (MMEngine counts the steps of one rank)"
            )
        elif self.optimizer.counts > 1:
            self.say(f"the mean gradient of {self.optimizer.counts} batches makes an update (accumulative_counts)")
        first = next(iter(self.feed), None) if self.step < self.total_steps else None
        if first is not None:
            with memory_advised(first):
                assert_trains(self.model, self.config, first)  # compiles the kernels: nothing is lost if it is killed
            if card := card_memory():
                self.say(forecast(*card, self.optimizer.bytes, first.images.numel(), self.feed.slot_bytes))
        self._keep()
        batches = itertools.chain([] if first is None else [first], self.feed)
        results: Metrics | None = None
        progress = self._progress()
        try:
            self.evaluations.begin_again()
            due = self.intervals.evaluates(self.step, self.steps_per_epoch)
            if due and not self._decided(evaluated_at(self.work_dir, self.step)):
                results = self._evaluate(progress)  # the run that this one resumes was ended in this evaluation
            if self.verdicts.over:
                self.say(f"the run ended early: {self.verdicts.over}; to go on, remove the EarlyStoppingHook")
            while self.step < self.total_steps and not self.verdicts.over and not self._ends(interrupt):
                with interrupt.deferred(), contextlib.suppress(Interrupted):
                    self._train(batches, progress, interrupt)
                self._reader.read(progress)
                if not self._ends(interrupt) and self.intervals.evaluates(self.step, self.steps_per_epoch):
                    results = self._evaluate(progress)
            if not self._ends(interrupt):
                results = self._settle(progress) or results
        except (DataServerLost, OutOfMemory, RankFailed) as lost:
            self.optimizer.restore()
            self.average.restore()
            self._save(progress)
            self.ranks.meet()
            raise type(lost)(f"{lost}; checkpoint written at step {self.step}, --resume continues from there") from None
        finally:
            progress.close()
        if self.ranks.size > 1:
            interrupt.signal = self._agreed
        if interrupt.signal is not None:
            self._save(progress)
            self.say(f"{interrupt.signal.name}: checkpoint written at step {self.step}; --resume continues from there")
        self.feed.close()
        return results if interrupt.signal is None else None

    def _train(self, batches: Iterator[Batch], progress: Progress, interrupt: Interrupt) -> None:
        """From the present step to the next evaluation or the end, with the checkpoints on the way."""
        self._reader.restart_clocks()
        while self.step < self.total_steps and not self._ends(interrupt):
            now = self._turn()
            if self.ranks.size > 1:
                asked = int(interrupt.signal or 0)
                built = self._steps.build_together(now, lambda: self._next(batches, progress), asked)
                self._agreed = built.signal
            else:
                with interrupt.waiting():
                    batch = self._next(batches, progress)
                with memory_advised(batch):
                    built = self._steps.build(self.step, batch)
            self._reader.read(progress)
            with memory_advised(built.batch):
                jt.sync_all()
            self._keep()
            self.step, self.record = now.stop, self.feed.record
            self._reader.put(built, self.step)
            if self.hooks and self.intervals.loop.by_epoch and self.step % self.steps_per_epoch == 0:
                self._reader.read(progress)
                self.hooks.tell("after_epoch", self._moment(self.step), self._weights)
            self._call_hooks(progress)
            if self.ranks.size > 1:
                self._reader.read(progress)  # nothing of them is left to be waited for
            if self.intervals.saves(self.step, self.steps_per_epoch):
                self._save(progress)
                self.ranks.meet()  # no data server hears of a checkpoint that is not written yet
                self.feed.checkpointed(self.step)
                self._reader.restart_clocks()
            if self.intervals.evaluates(self.step, self.steps_per_epoch):
                break
        self._reader.read(progress)
        self._call_hooks(progress)

    def _moment(self, step: int) -> Moment:
        return Moment(step, step // self.steps_per_epoch, self.work_dir)

    def _weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self.optimizer.parameters.items()}

    def _call_hooks(self, progress: Progress) -> None:
        try:
            self.hooks.call()
        except UserError as error:
            self._save(progress)
            raise UserError(f"{error}; checkpoint written at step {self.step}") from error

    def _turn(self) -> range:
        def stops(step: int) -> bool:
            return any(due(step, self.steps_per_epoch) for due in (self.intervals.saves, self.intervals.evaluates))

        return turn(self.step, self.ranks.size, self.batches_per_update, self.total_steps, stops)

    def _ends(self, interrupt: Interrupt) -> bool:
        """Whether a signal has asked for the end; of several ranks none ends before all have heard of it."""
        return (self._agreed if self.ranks.size > 1 else interrupt.signal) is not None

    def _decided(self, fact: bool) -> bool:
        """What rank 0 finds."""
        return bool(json.loads(self.ranks.share(json.dumps(fact).encode())))

    def _progress(self) -> Progress:
        if not self.ranks.first:
            return Silence()
        return Progress(
            self.work_dir,
            self.total_steps,
            self.steps_per_epoch,
            self.intervals.log,
            self.step,
            self.evaluations.judged_step(self.step),
        )

    def _keep(self) -> None:
        """What there is now is what a step that fails goes back to."""
        self.optimizer.keep()
        self.average.keep()

    def _next(self, batches: Iterator[Batch], progress: Progress) -> Batch:
        try:
            return next(batches)
        except (UserError, StreamFailed) as error:  # the data: what has been trained is kept, as without a server
            self._save(progress)
            raise type(error)(f"{error}; checkpoint written at step {self.step}") from None

    def _evaluate(self, progress: Progress) -> Metrics | None:
        """Takes the metrics of the evaluation before, and begins this one; takes its metrics at once where training
        does not go on meanwhile."""
        results = self._settle(progress)
        if self.verdicts.ended_before(self.step):
            return results
        self.evaluations.begin(self.step, self.record)
        if not self.evaluations.late or self.step == self.total_steps:
            results = self._settle(progress)
        return results

    def _settle(self, progress: Progress) -> Metrics | None:
        """Rank 0 takes the metrics of the evaluation that is under way, if one is, and the others hear what follows."""
        results = self._take(progress) if self.evaluations.under_way is not None else None
        state = self.ranks.share(json.dumps(self.verdicts.state).encode())
        if not self.ranks.first:
            self.verdicts.resume(json.loads(state))
        self.schedule.cut(self.verdicts.cuts)
        return results

    def _take(self, progress: Progress) -> Metrics:
        """Takes the metrics, and does what follows from them.

        What comes last says that the evaluation is over, and a run that is killed before that repeats it: the log, or
        with ``val_async`` a checkpoint that no longer has it under way.
        """
        taken = self.evaluations.take(self.steps_per_epoch, self.step, self._meta)
        saves, late = self.intervals.saves(self.step, self.steps_per_epoch), self.evaluations.late
        if saves and taken.verdict.changed and not late:
            self._save(progress)  # the evaluation's checkpoint once more, now with the verdict
        if taken.verdict.says:
            self.say(taken.verdict.says)
        metrics = taken.found.metrics
        progress.evaluation(taken.step, metrics, taken.found.pictures)
        if saves and late:
            self._save(progress)
        self.hooks.tell("after_evaluation", self._moment(taken.step), metrics)
        self._call_hooks(progress)
        return metrics

    def _restore(self, resume_from: Path | None) -> tuple[dict[str, int], dict[str, Any] | None]:
        """Takes over what a checkpoint holds; returns where the stream goes on, and its record so far."""
        if resume_from is not None:
            resumed = checkpoint.load(resume_from)
            self.evaluations.resume(resumed)
            checkpoint.restore(resumed, self.model, self.optimizer)
            checkpoint.put(self.average.load(resumed), self.model)
            if self.average and not resumed.training:
                self.say(f"{resumed.path} has no average of the weights: it begins with them")
            compare_arithmetic(resumed, self.say)
            compare_samples(resumed, self.say)
            compare_code(resumed, self.code, self.say)
            compare_update(resumed, self.ranks, self.optimizer.counts, self.rate_factor)
            return resumed.cursor, own_record(resumed, self.ranks)
        pretrained.initialise(self.model, self.config, self.say)
        return {"epoch": 0, "step": 0}, None

    def _save(self, progress: Progress) -> None:
        """Writes a checkpoint of the last finished step, if its numbers are right."""
        self._reader.read(progress)
        if not self.ranks.first:
            return
        epoch, step = divmod(self.step, self.steps_per_epoch)
        with self.average.in_place():
            checkpoint.save(
                self.work_dir / self.intervals.loop.checkpoint_name(self.step, self.steps_per_epoch),
                self.model,
                self.optimizer,
                {"epoch": epoch, "step": step},
                self._meta(self.record),
                self.intervals.max_keep,
                training=self.average.state_dict(),
                evaluation=self.evaluations.weights,
            )

    def _meta(self, record: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint keeps beside arrays; `record` is the stream's at its step."""
        return {
            "seed": self.seed,
            "config": self.config_text,
            "stream": record,
            "arithmetic": arithmetic(),
            "keys": random_keys.ORIGIN,
            "code": self.code,
            "ranks": self.ranks.size,
            "batches_per_update": self.batches_per_update,
            "rate_factor": self.rate_factor,
            **self.evaluations.state,
        }

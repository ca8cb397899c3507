"""The training loop.

    feed ──► detector.loss ──► backward, update ──► one jt.sync_all() ──► losses read, checked, logged
      where `trainer.training.intervals` says:     checkpoint, then evaluation
      where `trainer.training.accumulation` says:  no update, the gradients wait for another batch

Losses are read late, so that a GPU that computes a step is not waited for before the next one is there:

    host   build k │ queue k │ next batch │ build k+1 │ read k │ queue k+1 │ ...
    GPU            │ ───── computes step k ───────────────── ► │ ───── step k+1 ─ ...

Before a checkpoint, an evaluation or an end they are read at once: numbers that cannot be right end the run before the
next step is computed, and no checkpoint has them. A checkpoint is written before an evaluation, so there is nothing to
lose while that runs. A run that is interrupted writes one after the step in hand, and can go on at the very next batch.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from shared.client import StreamFailed
from shared.config import section, seed_of
from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import ARITHMETIC_LENGTH, arithmetic, card_memory, device_memory, jt, nn, seed
from trainer.feed.feed import Feed
from trainer.feed.server import DataServerLost, ServerHandle
from trainer.models import build_detector
from trainer.process.interrupt import Interrupt, Interrupted
from trainer.process.out_of_memory import OutOfMemory
from trainer.training.accumulation import Accumulation
from trainer.training.guards import assert_trains, check_gradients, check_losses, memory_advised
from trainer.training.intervals import Intervals
from trainer.training.log import Progress, evaluated_at
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule, rate_factor
from trainer.training.terms import packed, total_loss
from trainer.training.verdicts import Evaluated, Metrics, Verdicts
from trainer.training.weight_average import WeightAverage
from trainer.weights import checkpoint, pretrained


@dataclass(frozen=True)
class _Step:
    """A step: its batch, its terms' names, their values f32 (terms,), the gradients' norm f32 (1,), the rate."""

    batch: Batch
    terms: list[str]
    values: jt.Var
    norm: jt.Var
    rate: float


class TrainingLoop:
    """One training run: model, optimizer and where it stands.

    Args:
        resume_from: the checkpoint to continue from.
        evaluate: gives the model's metrics; called after the epochs or steps that the config says.

    Attributes:
        config_file: where the run's whole config belongs, for messages.
    """

    def __init__(
        self,
        config: Config,
        server: ServerHandle,
        work_dir: Path,
        say: Callable[[str], None],
        resume_from: Path | None,
        evaluate: Callable[[nn.Module], Evaluated],
    ) -> None:
        """Builds the model, with its weights, and opens the stream.

        Raises:
            UserError: of config, weights or data, before anything is written.
        """
        self.config, self.work_dir, self.say, self.evaluate = config, work_dir, say, evaluate
        self.config_file = str(work_dir / f"{Path(config.filename).stem}.py")
        self.intervals = Intervals(config)
        self.verdicts = Verdicts(config)
        self.seed = seed_of(config)
        seed(self.seed)
        self.model = build_detector(section(config, "model"))
        self.model.train()
        factor, why = rate_factor(config)
        if why:
            say(why)
        self.optimizer = build_optimizer(section(config, "optim_wrapper"), self.model, factor)
        self.average = WeightAverage(config, self.optimizer.parameters)
        cursor, record = self._restore(resume_from)
        self.feed = Feed(server, config, "train", work_dir, say, seed=self.seed, record=record, **cursor)
        self.model.roi_head.bbox_head.check_classes(self.feed.classes, training=True)
        self.steps_per_epoch = self.feed.steps_per_epoch
        self.total_steps = self.intervals.loop.total_steps(self.steps_per_epoch)
        self.average.check_begin(self.total_steps, self.intervals.loop)
        self.schedule = Schedule(
            config.get("param_scheduler"), self.optimizer.base_rate, self.steps_per_epoch, self.intervals.loop
        )
        self.step = cursor["epoch"] * self.steps_per_epoch + cursor["step"]
        self.accumulation = Accumulation(self.optimizer.counts, self.total_steps)
        self._check_waiting(resume_from)
        self._unread: _Step | None = None
        self._look_at_clocks()
        self.record = self.feed.record  # of the stream up to `step`; the feed's own may be one batch ahead
        if resume_from is not None:
            say(f"resumed from {resume_from} at step {self.step}")

    def run(self, interrupt: Interrupt) -> Metrics | None:
        """Trains to the end, or until `interrupt`; returns the metrics after the last step, where there are any.

        Raises:
            DataServerLost, OutOfMemory: after a checkpoint of the last finished step.
            UserError, StreamFailed: of the data, after such a checkpoint; of losses and weights, without one.
        """
        self.say(
            f"data: {self.feed.images} images, {self.steps_per_epoch} steps per epoch; memory plan {self.feed.plan}"
        )
        if self.optimizer.counts > 1:
            self.say(f"the mean gradient of {self.optimizer.counts} batches makes an update (accumulative_counts)")
        first = next(iter(self.feed), None) if self.step < self.total_steps else None
        if first is not None:
            with memory_advised(first):
                assert_trains(self.model, self.config, first)  # compiles the kernels: nothing is lost if it is killed
        self._keep()
        batches = itertools.chain([] if first is None else [first], self.feed)
        results: Metrics | None = None
        progress = Progress(self.work_dir, self.total_steps, self.steps_per_epoch, self.intervals.log, self.step)
        try:
            due = self.intervals.evaluates(self.step, self.steps_per_epoch)
            if due and not evaluated_at(self.work_dir, self.step):
                results = self._evaluate(progress)  # the run that this one resumes was ended in this evaluation
            if self.verdicts.over:
                self.say(f"the run ended early: {self.verdicts.over}; to go on, remove the EarlyStoppingHook")
            while self.step < self.total_steps and not self.verdicts.over and interrupt.signal is None:
                with interrupt.deferred(), contextlib.suppress(Interrupted):
                    self._train(batches, progress, interrupt)
                self._read(progress)
                if interrupt.signal is None and self.intervals.evaluates(self.step, self.steps_per_epoch):
                    results = self._evaluate(progress)
        except (DataServerLost, OutOfMemory) as lost:
            self.optimizer.restore()
            self.average.restore()
            self._save(progress)
            raise type(lost)(f"{lost}; checkpoint written at step {self.step}, --resume continues from there") from None
        finally:
            progress.close()
        if interrupt.signal is not None:
            self._save(progress)
            self.say(f"{interrupt.signal.name}: checkpoint written at step {self.step}; --resume continues from there")
        self.feed.close()
        return results if interrupt.signal is None else None

    def _train(self, batches: Iterator[Batch], progress: Progress, interrupt: Interrupt) -> None:
        """From the present step to the next evaluation or the end, with the checkpoints on the way."""
        self._look_at_clocks()
        while self.step < self.total_steps and interrupt.signal is None:
            with interrupt.waiting():
                batch = self._next(batches, progress)
            with memory_advised(batch):
                built = self._build(batch)
            self._read(progress)
            with memory_advised(batch):
                jt.sync_all()
            self._keep()
            self._unread, self.step, self.record = built, self.step + 1, self.feed.record
            if self.intervals.saves(self.step, self.steps_per_epoch):
                self._save(progress)
                self.feed.checkpointed()
                self._look_at_clocks()
            if self.intervals.evaluates(self.step, self.steps_per_epoch):
                break
        self._read(progress)

    def _build(self, batch: Batch) -> _Step:
        """The graph of a step on `batch`, up to the update."""
        seed(self._step_seed())
        terms = self.model.loss(batch)
        values = packed(terms)
        rate = self.optimizer.follow(self.schedule, self.step)
        norm = self.optimizer.step(total_loss(terms), self.accumulation.share(self.step))
        self.average.follow(self.step, self.steps_per_epoch)
        return _Step(batch, list(terms), values, norm, rate)

    def _keep(self) -> None:
        """What there is now is what a step that fails goes back to."""
        self.optimizer.keep()
        self.average.keep()

    def _read(self, progress: Progress) -> None:
        """Reads, checks and logs the numbers of the last step, where that has not been done.

        Raises:
            TrainingFault: they cannot be right. The weights have them, so nothing is saved.
        """
        if self._unread is None:
            return
        last, self._unread = self._unread, None
        numbers = dict(zip(last.terms, last.values.numpy().tolist(), strict=True))
        check_losses(numbers, last.batch, self.config_file)
        check_gradients(last.norm.item(), last.batch, self.config_file)
        seconds, waited = self._clocks
        self._look_at_clocks()
        progress.train(
            self.step,
            numbers,
            last.rate,
            len(last.batch.host["image_ids"]),
            self._clocks[1] - waited,
            self._clocks[0] - seconds,
            device_memory(),
            card_memory(),
        )

    def _look_at_clocks(self) -> None:
        self._clocks = time.perf_counter(), self.feed.wait_seconds

    def _next(self, batches: Iterator[Batch], progress: Progress) -> Batch:
        try:
            return next(batches)
        except (UserError, StreamFailed) as error:  # the data: what has been trained is kept, as without a server
            self._save(progress)
            raise type(error)(f"{error}; checkpoint written at step {self.step}") from None

    def _step_seed(self) -> int:
        """Seeds this step's sampling alone, so that a resumed run draws what an uninterrupted one would have drawn."""
        return (self.seed * 1_000_003 + self.step) % 2**31

    def _evaluate(self, progress: Progress) -> Metrics:
        """Evaluates, and does what follows from it. The log comes last: with it the evaluation is over."""
        with self.average.in_place():
            results = self.evaluate(self.model)
        verdict = self.verdicts.take(results.judged, self.step // self.steps_per_epoch, self.step)
        for best in verdict.best:
            self._save_file(best.file, max_keep=None, best=True)
            if best.former not in (None, best.file):
                (self.work_dir / best.former).unlink(missing_ok=True)
            self.say(f"best {best.metric} so far, {best.score:.4g}: {self.work_dir / best.file}")
        if verdict.changed and self.intervals.saves(self.step, self.steps_per_epoch):
            self._save(progress)  # the evaluation's checkpoint once more, now with the verdict
        if verdict.says:
            self.say(verdict.says)
        progress.evaluation(self.step, results.metrics)
        return results.metrics

    def _restore(self, resume_from: Path | None) -> tuple[dict[str, int], dict[str, Any] | None]:
        """Takes over what a checkpoint holds; returns where the stream goes on, and its record so far."""
        if resume_from is not None:
            resumed = checkpoint.load(resume_from)
            checkpoint.restore(resumed, self.model, self.optimizer)
            checkpoint.put(self.average.load(resumed), self.model)
            if self.average and not resumed.training:
                self.say(f"{resumed.path} has no average of the weights: it begins with them")
            self.verdicts.resume(resumed.meta.get("verdicts", {}))
            self._compare_arithmetic(resumed)
            return resumed.cursor, resumed.meta.get("stream")
        pretrained.initialise(self.model, self.config, self.say)
        return {"epoch": 0, "step": 0}, None

    def _compare_arithmetic(self, resumed: checkpoint.Checkpoint) -> None:
        """Says so where the run cannot go on bit for bit."""
        before, now = str(resumed.meta.get("arithmetic", ""))[:ARITHMETIC_LENGTH], arithmetic()
        if before and before != now:
            self.say(
                f"warning: {resumed.path} was trained on {before}, this is {now}: sums are rounded in another order, "
                "so what follows differs in the last digits from what an undisturbed run would give; to avoid that, "
                "resume with the same (OMP_NUM_THREADS sets the number of threads)"
            )

    def _check_waiting(self, resume_from: Path | None) -> None:
        """Whether the gradients that the checkpoint has are those that the next update needs."""
        found, expected = self.optimizer.waiting, self.accumulation.waiting(self.step)
        if found == expected:
            return
        if found is not None:
            raise UserError(
                f"checkpoint {resume_from} has the gradients of {found.number} of {found.batches} batches of an "
                f"update; with the config's accumulative_counts={self.optimizer.counts} and length there is none: "
                "resume with those of the run that wrote it, or from a checkpoint between two updates"
            )
        if expected is not None:
            self.say(
                f"the next update lacks {expected.number} of its {expected.batches} batches: {resume_from} was written "
                "with another accumulative_counts or length, and has no gradients"
            )

    def _save(self, progress: Progress) -> None:
        """Writes a checkpoint of the last finished step, if its numbers are right."""
        self._read(progress)
        name = self.intervals.loop.checkpoint_name(self.step, self.steps_per_epoch)
        self._save_file(name, self.intervals.max_keep)

    def _save_file(self, name: str, max_keep: int | None, best: bool = False) -> None:
        """Writes the present state; of the `best`, which no run resumes from, the weights alone."""
        epoch, step = divmod(self.step, self.steps_per_epoch)
        with self.average.in_place():
            checkpoint.save(
                self.work_dir / name,
                self.model,
                None if best else self.optimizer,
                {"epoch": epoch, "step": step},
                {
                    "seed": self.seed,
                    "config": self.config.pretty_text,
                    "stream": self.record,
                    "arithmetic": arithmetic(),
                    "verdicts": self.verdicts.state,
                },
                max_keep,
                latest=not best,
                training=None if best else self.average.state_dict(),
            )

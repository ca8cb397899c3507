"""The stream of batches as Jittor arrays.

    lease ──► the one copy, checked on the way ──► release ──► Batch

The images are copied straight into Jittor's own memory, so the slot goes back before anything is computed. Small arrays
are also copied to the host side of the batch. When an external data server dies, the feed waits for it and opens the
stream again at the batch it needs next; the bytes are the same, as if nothing had happened. A server that comes back
with other annotations, classes or images ends the feed.

A checkpoint keeps a record of the stream. A feed that is opened with one has the last batch before it made again and
compares. So a change of the data, or of the code that makes batches of it, is known before training continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from shared.client import ServerGone, StreamClient
from shared.config import feed_settings
from shared.data_part import data_part, evaluator_part
from shared.datasets import names_of
from shared.errors import UserError
from shared.lease import Lease
from shared.messages import Hello, Welcome
from trainer.batch import Batch
from trainer.device import blank, jt, var
from trainer.feed.quarantine import Quarantine
from trainer.feed.server import DataServerLost, ServerHandle
from trainer.process.ranks import ALONE, Ranks


class Feed:
    """The batches of one split (``train``, ``val``, ``test``), from (`epoch`, `step`) on, for `epochs` epochs in all
    (0: endless).

    Args:
        seed: the run's, of what the server and a training on the batches draw.
        record: of this stream, from the checkpoint that it continues; without its ``last`` batch that is not compared.
        ranks: who takes turns at the batches; this one's are the stream.
        predicted: the most boxes in an image, where all images are predicted before they are evaluated.

    Attributes:
        classes: the names of each data set's classes by label.
        images, steps_per_epoch, plan, slot_bytes: what else the server said about the stream; no batch is larger than
            a slot.
        record: plain data for a checkpoint: the rolling ``digest`` of the stream so far, the ``last`` batch's
            (epoch, step) and the digest ``before_last``, the ``fingerprint`` of the annotations. A new dict for every
            batch, so one that was kept stays as it is.
        wait_seconds: time spent waiting for data since the feed was opened.
    """

    def __init__(
        self,
        server: ServerHandle,
        config: Config,
        split: str,
        work_dir: Path,
        say: Callable[[str], None],
        *,
        seed: int = 0,
        epoch: int = 0,
        step: int = 0,
        epochs: int = 0,
        record: dict[str, Any] | None = None,
        predicted: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self._server = server
        self._config = config
        self._split = split
        self._say = say
        self._quarantine = Quarantine(work_dir, say)
        self._seed = seed
        self._epochs = epochs
        self._predicted = predicted
        self._ranks = ranks
        self.wait_seconds = 0.0
        self._first: Welcome | None = None
        self.record: dict[str, Any] = {"digest": ""} if record is None else dict(record)
        self._client = self._continued(epoch, step)
        self._first = self._client.welcome
        self.record["fingerprint"] = self._first.fingerprint
        self._next_step = epoch * self.steps_per_epoch + step

    def __iter__(self) -> Iterator[Batch]:
        """Batches until the end of the stream.

        Raises:
            DataServerLost: the embedded server died, or an external one stayed away for ``feed.reconnect_seconds``.
            UserError, StreamFailed, SlotCorrupted: see `shared.client`.
        """
        while (lease := self._lease()) is not None:
            yield self._upload(lease)

    def evaluate(self, predictions: list[dict[str, np.ndarray]]) -> dict[str, float]:
        """The metrics of ``<split>_evaluator`` over `predictions`, arrays as in `shared.messages.Predictions`.

        Raises:
            DataServerLost, UserError, StreamFailed: as iterating does; a metric that fails is a UserError.
        """
        while True:
            try:
                return self._client.evaluate(predictions, evaluator_part(self._config, self._split))
            except ServerGone as gone:
                self._reconnect(gone)

    @property
    def facts(self) -> str:
        """What must be the same for all who take turns at the stream."""
        return f"{self.images} images, {self.steps_per_epoch} batches, {self.classes}, {self.record['fingerprint']}"

    def checkpointed(self, step: int) -> None:
        """Tells the server that a checkpoint continues at the batch `step`, counted from the first epoch on."""
        self._client.checkpointed(*divmod(step, self.steps_per_epoch))

    def close(self) -> None:
        """Ends the stream; batches that were taken over stay."""
        self._client.close()
        self._quarantine.close()

    def _continued(self, epoch: int, step: int) -> StreamClient:
        """Where the record knows of a batch: opens one batch early and compares it; reports what has changed."""
        last = self.record.get("last")
        if last is None:
            client = self._open(epoch, step, self.record["digest"])
        else:
            client = self._open(last["epoch"], last["step"], self.record["before_last"])
        now, was = client.welcome.fingerprint, self.record.get("fingerprint", client.welcome.fingerprint)
        if not _comparable(now, was):
            self._say(
                f"the annotations' fingerprint {was} in the checkpoint is an older version's; annotations cannot be "
                "compared with it, the last batch is"
            )
        elif now != was:
            self._say(
                "warning: the annotations are not those that the checkpoint was trained on "
                f"(fingerprint {now}, was {was}); "
                "continuing with what is there now"
            )
            if last is not None:
                client.close()
                return self._open(epoch, step, self.record["digest"])
        if last is None:
            return client
        try:
            lease = client.next()
        except ServerGone:
            client.close()
            raise
        assert lease is not None  # it came before
        lease.release()
        if client.digest != self.record["digest"]:
            since = "when the checkpoint was written" if self._first is None else "before the data server went away"
            self._say(
                f"warning: the batch of step {self._number(lease)} is not what it was {since} (stream digest "
                f"{client.digest}, was {self.record['digest']}): an image, the pipeline, the seed or a library "
                "has changed; continuing with what is there now"
            )
        return client

    def _open(self, epoch: int, step: int, digest: str) -> StreamClient:
        settings = feed_settings(self._config)
        hello = Hello(
            stream=self._split,
            config=data_part(self._config, self._split),
            seed=self._seed,
            rank=self._ranks.rank,
            world_size=self._ranks.size,
            epoch=epoch,
            step=step,
            epochs=self._epochs,
            credits=settings["credits"],
            digest=digest,
            predicted=self._predicted,
        )
        client = self._server.open(hello, settings["reconnect_seconds"], self._quarantine.record)
        welcome = client.welcome
        if self._first is not None and (change := _change(self._first, welcome)):
            client.close()
            raise UserError(
                f"{names_of(hello.config['dataset'])}: the data server has come back with other data: {change}; put "
                "the files back, or start again (a training: with --resume) to go on with what is there now"
            )
        self.classes, self.images = welcome.classes, welcome.images
        self.steps_per_epoch, self.plan = welcome.steps_per_epoch, welcome.plan
        self.slot_bytes = welcome.slot_bytes
        return client

    def _lease(self) -> Lease | None:
        started = time.perf_counter()
        while True:
            try:
                lease = self._client.next(check=False)  # `_upload` does
                break
            except ServerGone as gone:
                self._reconnect(gone)
        self.wait_seconds += time.perf_counter() - started
        if lease is not None:
            number = self._number(lease)
            epoch, step = divmod(number, self.steps_per_epoch)
            self.record = self.record | {
                "before_last": self.record["digest"],
                "digest": self._client.digest,
                "last": {"epoch": epoch, "step": step},
            }
            self._next_step = number + 1
        return lease

    def _number(self, lease: Lease) -> int:
        """Of a batch among those of all ranks; its step is counted in this rank's stream."""
        return lease.step * self._ranks.size + self._ranks.rank

    def _reconnect(self, gone: ServerGone) -> None:
        """Opens the stream again, at the batch that comes next.

        Raises:
            DataServerLost: the server that is gone was embedded, or does not come back in time.
            UserError: it comes back with other data.
        """
        self._client.close()
        if self._server.embedded:
            raise DataServerLost(f"{gone}; it was embedded in this trainer") from None
        cursor = divmod(self._next_step, self.steps_per_epoch)
        while True:
            self._say(f"{gone}; waiting for it to come back")
            try:
                self._client = self._continued(*cursor)
                break
            except ServerGone as again:
                gone = again
        self._say(f"the data server is back; continuing at step {self._next_step}")

    def _upload(self, lease: Lease) -> Batch:
        images = _upload_images(lease)
        batch = Batch.from_arrays(
            lease.arrays, images=images, step=self._number(lease), seed=self._seed, valid=lease.valid
        )
        lease.release()
        return batch


def _upload_images(lease: Lease) -> jt.Var:
    """u8 or f32 (B,H,W,3). Jittor's upload to a GPU begins with a copy of its own, of bytes that have been checked
    before; on the CPU we copy and check at once."""
    if jt.flags.use_cuda:
        return var(lease.arrays["images"])
    images, memory = blank(lease.layout.shape("images"), lease.layout.dtype("images"))
    lease.copy({"images": memory})
    return images


def _change(first: Welcome, now: Welcome) -> str:
    """What is not as it was when the stream was opened first; empty when all is."""
    if now.images != first.images:
        return f"{now.images} images, there were {first.images}"
    if now.classes != first.classes:
        return "other classes"
    if _comparable(now.fingerprint, first.fingerprint) and now.fingerprint != first.fingerprint:
        return f"other annotations (fingerprint {now.fingerprint}, was {first.fingerprint})"
    return ""


def _comparable(one: str, other: str) -> bool:
    """Whether two fingerprints are of one kind, which is named before the dash."""
    return one.rpartition("-")[0] == other.rpartition("-")[0]

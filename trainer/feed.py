"""The stream of batches as Jittor arrays.

    lease ──► jt.array (the one memcpy) ──► release ──► Batch

Jittor copies inside the call, so the slot goes back before anything is computed. Small arrays are copied to the host
side of the batch, too. When an external data server dies, the feed waits for it and opens the stream again at the very
batch it needs next; the bytes are the same, as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mmengine.config import Config

from shared.client import Lease, ServerGone, StreamClient
from shared.config import data_part, evaluator_part, feed_settings
from shared.messages import Hello
from trainer.batch import Batch
from trainer.data_server import DataServer, DataServerLost
from trainer.device import var


class Feed:
    """The batches of one split (``train``, ``val``, ``test``), from (`epoch`, `step`) on, for `epochs` epochs in all
    (0: endless).

    Attributes:
        classes, images, steps_per_epoch, plan: what the server said of the stream.
        wait_seconds: time spent waiting for data since the feed was opened.
    """

    def __init__(
        self,
        server: DataServer,
        config: Config,
        split: str,
        say: Callable[[str], None],
        *,
        seed: int = 0,
        epoch: int = 0,
        step: int = 0,
        epochs: int = 0,
    ) -> None:
        self._server = server
        self._config = config
        self._split = split
        self._say = say
        self._seed = seed
        self._epochs = epochs
        self.wait_seconds = 0.0
        self._client = self._open(epoch, step)
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
        """The metrics of ``<split>_evaluator`` over `predictions`, arrays as in `shared.messages.Predictions`."""
        return self._client.evaluate(predictions, evaluator_part(self._config, self._split))

    def close(self) -> None:
        self._client.close()

    def _open(self, epoch: int, step: int) -> StreamClient:
        settings = feed_settings(self._config)
        hello = Hello(
            stream=self._split,
            config=data_part(self._config, self._split),
            seed=self._seed,
            rank=0,
            world_size=1,
            epoch=epoch,
            step=step,
            epochs=self._epochs,
            credits=settings["credits"],
        )
        client = self._server.open(hello, settings["reconnect_seconds"])
        welcome = client.welcome
        self.classes, self.images = welcome.classes, welcome.images
        self.steps_per_epoch, self.plan = welcome.steps_per_epoch, welcome.plan
        return client

    def _lease(self) -> Lease | None:
        started = time.perf_counter()
        while True:
            try:
                lease = self._client.next()
                break
            except ServerGone as gone:
                self._client.close()
                if self._server.embedded:
                    raise DataServerLost(f"{gone}; it was embedded in this trainer") from None
                self._say(f"{gone}; waiting for it to come back")
                self._client = self._open(*divmod(self._next_step, self.steps_per_epoch))
                self._say(f"the data server is back; going on at step {self._next_step}")
        self.wait_seconds += time.perf_counter() - started
        self._next_step += 1
        return lease

    @staticmethod
    def _upload(lease: Lease) -> Batch:
        arrays: dict[str, Any] = lease.arrays
        batch = Batch(
            images=var(arrays["images"]),
            image_shapes=var(arrays["image_shapes"], "float32"),
            boxes=var(arrays["boxes"]),
            box_counts=var(arrays["box_counts"]),
            labels=var(arrays["labels"]),
            host={name: array.copy() for name, array in arrays.items() if name != "images"},
            step=lease.step,
            valid=lease.valid,
        )
        lease.release()
        return batch

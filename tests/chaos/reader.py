"""A trainer without a framework: reads a stream as `trainer.feed.feed` does, keeps a checkpoint, and says what it got.

    open at the checkpoint's cursor ──► lease, record, release ──► ... ──► evaluate ──► goodbye
         ▲                                  │ every few steps: checkpoint, CHECKPOINTED
         └──── the server is gone ──────────┘

``python -m tests.chaos.reader`` takes an order, one JSON object, on its standard input, and says on its standard
output, a JSON object a line:

    {"alive": process id}                                           an embedded server has been started
    {"opened": step, "hello": s, "welcome": s, "identity": hex}     times are those of time.monotonic()
    {"step": k, "digest": the rolling digest after step k, "time": s}
    {"quarantined": image}
    {"metrics": {...}}
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from shared.arena import SlotCorrupted
from shared.client import ServerGone, StreamClient, StreamFailed
from shared.errors import UserError
from shared.messages import Hello
from trainer.feed.server import DataServerLost, ServerHandle, connect


def predictions_of(image: int) -> dict[str, np.ndarray]:
    """A detection in image `image` of the test's photographs."""
    return {
        "image_ids": np.array([100 + image], np.int64),
        "counts": np.array([1], np.int32),
        "original_shapes": np.array([[60, 90]], np.int32),
        "boxes": np.array([[5, 5, 30, 30]], np.float32),
        "scores": np.array([0.9], np.float32),
        "labels": np.array([0], np.int32),
    }


PREDICTIONS = predictions_of(0)


class Reader:
    """One life of a trainer.

    Args:
        order: ``server`` an address or 'embedded'; ``config`` the data part; ``epochs``; ``checkpoint`` a file that is
            read at the start, if it is there, and replaced every ``checkpoint_every`` steps; ``pace`` seconds of
            training per step; ``evaluator`` the metrics to ask for at the end, may be empty; ``patience`` how long it
            waits for a server.
    """

    def __init__(self, server: ServerHandle, order: dict[str, Any]) -> None:
        self._server = server
        self._order = order
        self._checkpoint = Path(order["checkpoint"])
        saved = json.loads(self._checkpoint.read_text()) if self._checkpoint.exists() else {"step": 0, "digest": ""}
        self._step, self._digest = saved["step"], saved["digest"]

    def run(self) -> None:
        """Raises DataServerLost when no server is left, or answers in time, and what `shared.client` raises."""
        while True:
            client = self._open()
            try:
                self._read(client)
                if self._order["evaluator"]:
                    tell(metrics=client.evaluate([PREDICTIONS], self._order["evaluator"]))
                client.close()
                return
            except ServerGone:
                client.close()

    def _open(self) -> StreamClient:
        order = self._order
        steps_per_epoch = order["steps_per_epoch"]
        epoch, step = divmod(self._step, steps_per_epoch)
        said = time.monotonic()
        hello = Hello("test", order["config"], 7, 0, 1, epoch, step, order["epochs"], 2, self._digest)
        client = self._server.open(hello, order["patience"], lambda found: tell(quarantined=found.image))
        identity = client._identity.hex()[:6]
        tell(opened=self._step, hello=said, welcome=time.monotonic(), identity=identity)
        return client

    def _read(self, client: StreamClient) -> None:
        while (lease := client.next()) is not None:
            now = time.monotonic()
            assert lease.step == self._step, f"step {lease.step} came instead of {self._step}"
            self._step, self._digest = self._step + 1, client.digest
            lease.release()
            tell(step=lease.step, digest=client.digest, time=now)
            time.sleep(self._order["pace"])
            if self._step % self._order["checkpoint_every"] == 0:
                self._save()
                client.checkpointed(*divmod(self._step, self._order["steps_per_epoch"]))

    def _save(self) -> None:
        fresh = self._checkpoint.with_suffix(".fresh")
        fresh.write_text(json.dumps({"step": self._step, "digest": self._digest}))
        fresh.replace(self._checkpoint)


def tell(**fact: Any) -> None:
    print(json.dumps(fact), flush=True)


def main() -> int:
    order = json.loads(sys.stdin.read())
    with connect(order["server"], 2, lambda _: None) as server:
        tell(alive=os.getpid())
        try:
            Reader(server, order).run()
        except (DataServerLost, StreamFailed, SlotCorrupted, UserError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

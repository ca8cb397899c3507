"""What the process for Weights & Biases does: reads a training's events, and logs each as a row of W&B's run.

    <work_dir>/wandb.json    {"id": W&B's run, "read": {file of events: bytes}}

A row has the event's values and its ``step``, the axis of all charts. W&B's own count of rows never goes back: steps
that a resumed training repeats are rows once more, with the same ``step``, and the later ones are what its tables show.

The file is `WRITTEN_SECONDS` behind what has been logged, until the end: W&B's service writes what it is given later,
and what it had not written when it was killed is logged again.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wandb
from PIL import Image

from shared.errors import described
from shared.files import expect, reported, save
from trainer.reporting.weights_and_biases import WANDB_FILE
from trainer.training import events

STEP = "step"
WRITTEN_SECONDS = 30.0  # it was seen to take 15
_PATIENCE_SECONDS = 20.0  # for W&B's answer when a run begins
_ELSEWHERE = "set init_kwargs.dir of WandbVisBackend to a folder you may write to, or free some space"


class Trail:
    """How far events have been read, and how far W&B's service must have written what it was given of them.

    Attributes:
        last: bytes by file, as they are now.
    """

    def __init__(self, read: Mapping[str, int]) -> None:
        self.last: Mapping[str, int] = read
        self._given: list[tuple[float, Mapping[str, int]]] = []

    def add(self, read: Mapping[str, int], now: float) -> Mapping[str, int] | None:
        """Notes what has been read by `now` (s); returns what has been written by then, where that is more."""
        if read != self.last:
            self._given.append((now, read))
            self.last = read
        written = [places for given, places in self._given if now - given >= WRITTEN_SECONDS]
        del self._given[: len(written)]
        return written[-1] if written else None


class Follower:
    """W&B's run of a training, which goes on in the same one when it is resumed.

    Args:
        order: see `followed`.
        tell: called with a line for the user.

    Raises:
        Exception: W&B's, of whatever kind. UserError: a folder cannot be written.
    """

    def __init__(self, order: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        self._folder, self._file = (Path(order["work_dir"]) / name for name in (events.FOLDER, WANDB_FILE))
        self._lock()
        kept = json.loads(self._file.read_bytes()) if order["older"] is None and self._file.exists() else {}
        self._trail = Trail(kept.get("read") or order["older"] or {})
        backend: Mapping[str, Any] = order["backend"]
        init = dict(backend.get("init_kwargs") or {})
        self._id = init.pop("id", None) or kept.get("id") or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        init["dir"] = init.get("dir") or os.environ.get("WANDB_DIR") or order["work_dir"]
        expect(Path(init["dir"]) / "wandb" / self._id, _ELSEWHERE)  # else W&B would take the temporary folder
        self._save(self._trail.last)
        settings = {
            "silent": True,
            "console": "off",
            "init_timeout": _PATIENCE_SECONDS,
            "x_stats_pid": order["trainer"],
        }
        init["settings"] = settings | (init.get("settings") or {})
        self._run = _begun(init, self._id, tell)
        self._run.config.update(order["config"], allow_val_change=True)
        self._run.define_metric("*", step_metric=STEP)
        for words in _metrics(backend.get("define_metric_cfg") or {}):
            self._run.define_metric(**words)
        if name := backend.get("log_code_name"):
            self._run.log_code(name=name)

    def look(self) -> None:
        """Logs what is new."""
        read = dict(self._trail.last)
        for path in sorted(self._folder.iterdir()):
            found, read[path.name] = events.read(path, read.get(path.name, 0))
            for one in found:
                pictures = {tag: wandb.Image(Image.open(io.BytesIO(png))) for tag, png in one.pictures.items()}
                self._run.log({**one.numbers, **pictures, STEP: one.step})
        if (written := self._trail.add(read, time.monotonic())) is not None:
            self._save(written)

    def finish(self) -> None:
        """Logs what is left, and waits until W&B has it."""
        self.look()
        self._run.finish()
        wandb.teardown()
        self._save(self._trail.last)

    def _lock(self) -> None:
        """Waits for a process that still finishes for an earlier training of this work dir."""
        with reported(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(os.open(self._folder, os.O_RDONLY), fcntl.LOCK_EX)

    def _save(self, read: Mapping[str, int]) -> None:
        save(self._file, json.dumps({"id": self._id, "read": read}).encode())


def _begun(init: dict[str, Any], run_id: str, tell: Callable[[str], None]) -> wandb.Run:
    """W&B's run, offline where it cannot be another."""
    try:
        run, why = wandb.init(id=run_id, resume="allow", **init), ""
    except wandb.Error as error:
        wandb.teardown()  # a service that has tried to begin a run still has it
        run, why = wandb.init(id=run_id, resume="allow", **(init | {"mode": "offline"})), f" ({described(error)})"
    if run.offline:
        tell(f"offline{why}; to send it: wandb sync {run.settings.sync_dir}")
    elif not run.disabled:
        tell(f"run {run.url}")
    return run


def _metrics(asked: Mapping[str, str] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """MMEngine's ``define_metric_cfg`` as words of `define_metric`."""
    if isinstance(asked, Mapping):
        asked = [{"name": name, "summary": summary} for name, summary in asked.items()]
    return [{"step_metric": STEP, **words} for words in asked]

"""What a run shows and records while it trains.

    stderr                     a bar on a terminal, one line per log interval elsewhere
    <work_dir>/metrics.jsonl   one JSON object per log interval (``kind`` "train") and per evaluation (``kind`` "val")
    <work_dir>/tensorboard/    the same numbers as TensorBoard events, and the evaluations' contact sheets
    <work_dir>/log.txt         all lines of the run and its data server, in a recipe or with ``--serve``; those of the
                               intervals also where there is a bar

``step`` counts finished steps (1 after the first), so that the checkpoint, log line and evaluation of step k carry
the same k; with ``val_async`` lines of later steps may come before an evaluation's. A run resumed at step k cuts the
lines of later steps, and of evaluations that it repeats, which it will write again.

Losses, images per second and the share of time spent waiting for data are means since the last log.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shared.files import save
from shared.terminal import keep, write_line
from trainer.process.journal import Journal
from trainer.training.events import Events

METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.txt"
_SCALED = ("loss_scale", "skipped_updates")


class Progress:
    """The log of one run. One process per run writes it."""

    def __init__(
        self,
        work_dir: str | os.PathLike,
        total_steps: int,
        steps_per_epoch: int,
        interval: int | None,
        start_step: int = 0,
        judged_step: int | None = None,
    ):
        """
        Args:
            interval: steps between two logs; None: the last step's only.
            start_step: steps already done by the run that this one resumes; what the log has of later ones is cut.
            judged_step: likewise, the step of its last evaluation; None: the same.
        """
        work_dir = Path(work_dir)
        self._total_steps, self._steps_per_epoch, self._interval = total_steps, steps_per_epoch, interval
        _cut(work_dir / METRICS_FILE, {"train": start_step, "val": start_step if judged_step is None else judged_step})
        self._lines = Journal(work_dir / METRICS_FILE, self._write)
        self._events = Events(work_dir, start_step + 1, self._write)
        self._bar = tqdm(
            total=total_steps, initial=start_step, unit="step", file=sys.stderr, disable=None, dynamic_ncols=True
        )
        self._forget()

    def train(
        self,
        step: int,
        losses: dict[str, float],
        lr: float,
        images: int,
        wait_seconds: float,
        step_seconds: float,
        device_bytes: int,
        card: tuple[int, int] | None = None,
        loss_scale: float | None = None,
        skipped: bool = False,
    ) -> None:
        """Takes in one finished step.

        Args:
            step: finished steps, this one included.
            losses: the terms' values by name.
            lr: learning rate of this step.
            images: number of images in the batch.
            wait_seconds: time spent waiting for the batch.
            step_seconds: time of the whole step, waiting included.
            device_bytes: memory that Jittor holds on the device.
            card: bytes of the GPU in use and in all, where there is one.
            loss_scale: what the loss was scaled by, if it was.
            skipped: whether the update was skipped, because the gradients were not finite.
        """
        self._steps += 1
        self._images += images
        self._wait_seconds += wait_seconds
        self._step_seconds += step_seconds
        for name, value in losses.items():
            self._losses.setdefault(name, []).append(value)
        self._skipped += skipped
        self._bar.update(1)
        if step != self._total_steps and (self._interval is None or step % self._interval):
            return
        means = {name: sum(values) / len(values) for name, values in self._losses.items()}
        seconds = max(self._step_seconds, 1e-9)
        values = {
            **means,
            "lr": lr,
            "images_per_second": self._images / seconds,
            "data_wait_share": self._wait_seconds / seconds,
            "step_seconds": seconds / self._steps,
            "device_bytes": device_bytes,
            **({"card_bytes": card[0]} if card else {}),
            **({} if loss_scale is None else {"loss_scale": loss_scale, "skipped_updates": self._skipped}),
        }
        self._record("train", step, values)
        self._flush()
        self._show(step, means, values, card)
        self._forget()

    def evaluation(
        self, step: int, results: dict[str, dict[str, float]], pictures: Mapping[str, bytes] | None = None
    ) -> None:
        """Takes in the metrics of data sets by name, evaluated after `step` finished steps, and contact sheets, PNG."""
        for name, metrics in results.items():
            self._record("val", step, metrics, name)
            shown = "  ".join(f"{key} {value:.4g}" for key, value in metrics.items())
            self._write(f"{self._position(step)}  evaluation of {name}: {shown}")
        for name, png in (pictures or {}).items():
            self._events.add_picture(f"val/{name}/contact_sheet", png, step)
        self._flush()  # of all data sets at once: `evaluated_at` finds an evaluation or none, not a part of it

    def close(self) -> None:
        """Writes out what is buffered and ends the bar."""
        self._lines.close()
        self._events.close()
        self._bar.close()

    def _forget(self) -> None:
        self._losses: dict[str, list[float]] = {}
        self._steps = self._images = self._skipped = 0
        self._wait_seconds = self._step_seconds = 0.0

    def _record(self, kind: str, step: int, values: dict[str, float], name: str | None = None) -> None:
        head = {"kind": kind, "step": step, "epoch": self._epoch(step)} | ({"name": name} if name else {})
        plain = {key: value if isinstance(value, int) else float(value) for key, value in values.items()}
        # JSON has no NaN, which metrics give for an empty area range
        written = {key: value if math.isfinite(value) else None for key, value in plain.items()}
        self._lines.add(json.dumps(head | written).encode() + b"\n")
        place = f"{kind}/{name}" if name else kind
        self._events.add({f"{place}/{key}": value for key, value in written.items() if value is not None}, step)

    def _flush(self) -> None:
        self._lines.flush()
        self._events.flush()

    def _show(self, step: int, means: dict[str, float], values: dict[str, float], card: tuple[int, int] | None) -> None:
        remaining = (self._total_steps - step) * values["step_seconds"]
        text = "  ".join(
            [
                *(f"{name} {value:.4g}" for name, value in means.items()),
                f"lr {values['lr']:.3g}",
                f"{values['images_per_second']:.1f} images/s",
                *(f"{name.replace('_', ' ')} {values[name]:.6g}" for name in _SCALED if name in values),
                f"data wait {values['data_wait_share']:.0%}",
                f"memory {values['device_bytes'] / 2**30:.2f} GiB"
                + (f" (card {card[0] / 2**30:.2f} of {card[1] / 2**30:.2f})" if card else ""),
            ]
        )
        line = f"{self._position(step)}  {text}  remaining {tqdm.format_interval(remaining)}"
        if self._bar.disable:
            self._write(line)
        else:
            self._bar.set_postfix_str(text)
            keep(line)

    def _write(self, line: str) -> None:
        with self._bar.external_write_mode(sys.stderr):
            write_line(line)

    def _epoch(self, step: int) -> int:
        return (step - 1) // self._steps_per_epoch + 1

    def _position(self, step: int) -> str:
        epochs = math.ceil(self._total_steps / self._steps_per_epoch)
        return f"epoch {self._epoch(step)}/{epochs}  step {step}/{self._total_steps}"


class Silence(Progress):
    """The log of a rank that keeps none."""

    def __init__(self) -> None:
        pass

    def train(self, *_: Any) -> None:
        pass

    def evaluation(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, without one that a kill or a full disk has left incomplete at its end.

    Raises:
        OSError, ValueError: it cannot be read, or another line is no JSON.
    """
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    with contextlib.suppress(ValueError):
        return [json.loads(line) for line in [*lines, *filter(None, [last])]]
    return [json.loads(line) for line in lines]


def evaluated_at(work_dir: Path, step: int) -> bool:
    """Whether the log of the run in `work_dir` has an evaluation after `step` finished steps."""
    path = work_dir / METRICS_FILE
    return path.exists() and any((line["kind"], line["step"]) == ("val", step) for line in read(path))


def _cut(path: Path, last_steps: dict[str, int]) -> None:
    """Drops the lines of steps after the last one of their kind, and a line that is incomplete. Raises UserError when
    the file cannot be written."""
    if not path.exists():
        return
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    found = [(json.loads(line), line) for line in lines]
    kept = [line + "\n" for entry, line in found if entry["step"] <= last_steps[entry["kind"]]]
    save(path, "".join(kept).encode())

"""How long training stands still at an evaluation, beside predicting: with ``train_cfg.val_async``, and without.

    python -m benchmarks.val_async [--images N] [--steps N] [--seconds S] [--evaluations N]

The demo's stage 1 is trained, with an evaluation every N steps, by the demo's own metric and one that takes S seconds
to compute (`benchmarks.slow_metric`); each run has a process of its own. Of every evaluation that steps follow, the
time is measured that `TrainingLoop` spends in it, less what `Evaluation` spends to have all images predicted. What is
left is the hand-over of the predictions, the copy of the weights that are judged, and waiting for metrics: those of
this evaluation, or with ``val_async`` those of the one before, where N steps took less time than they did.

`seconds` is the median of the evaluations, `longest` the longest. Both are without `queued`, the median time in which
the training thread could have run, but others had the cores. `cpu` is that thread's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rounds import REPOSITORY, RESULTS, machine, shown, write_results

SIDES = {"val_async": True, "at once": False}
_BATCH = 4  # images of each of the two training sets

Figures = dict[str, Any]


def measure(late: bool, images: int, steps: int, seconds: float, evaluations: int, folder: Path) -> Figures:
    """Trains in this process."""
    import numpy as np

    from data_server.demo import scenes
    from shared.config import load_config
    from trainer.evaluation.evaluate import Evaluation
    from trainer.feed.server import connect
    from trainer.process.interrupt import Interrupt
    from trainer.training.loop import TrainingLoop

    def now() -> np.ndarray:
        queued = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
        return np.array([time.perf_counter() - queued, queued, time.thread_time()])

    predicted, still = np.zeros(3), []

    class Predicting(Evaluation):
        def _predict_split(self, *arguments: Any, **named: Any) -> Any:
            nonlocal predicted
            began = now()
            judge = super()._predict_split(*arguments, **named)
            predicted = predicted + now() - began
            return judge

    class Watched(TrainingLoop):
        def _evaluate(self, progress: Any) -> Any:
            began, before = now(), predicted
            results = super()._evaluate(progress)
            if self.step < self.total_steps:
                still.append(now() - began - (predicted - before))
            return results

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    scenes.generate(folder / "demo", seed=1, train_images=_BATCH * steps, val_images=images)
    options = {
        "data_root": str(folder / "demo"),
        "train_dataloader.batch_size": 2 * _BATCH,
        "train_cfg.max_epochs": evaluations + 1,
        "train_cfg.val_interval": 1,
        "test_evaluator": None,
    }
    config = load_config(str(REPOSITORY / "configs/demo/cln.py"), options)
    config.train_cfg.val_async = late
    config.val_evaluator = [config.val_evaluator, {"type": "SlowMetric", "seconds": seconds}]
    config.custom_imports = {"imports": ["benchmarks.slow_metric"]}
    work = folder / "work"
    work.mkdir()
    with connect("embedded", 1, say) as server:
        loop = Watched(config, server, work, say, None, Predicting(config, server, work, say).begin)
        loop.run(Interrupt())
    waits, queued, processor = np.array(still).T
    return {
        "evaluations": len(still),
        "seconds": float(median(waits)),
        "longest": float(waits.max()),
        "queued": float(median(queued)),
        "cpu": float(median(processor)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.val_async", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=64, help="of an evaluation (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="between evaluations (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that the metric takes (default: %(default)s)")
    parser.add_argument("--evaluations", type=int, default=5, help="of each run (default: %(default)s)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # of a process of its own
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("images", "steps", "seconds", "evaluations")}
    if options.side:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            print(json.dumps(measure(SIDES[options.side], **settings, folder=Path(folder))))
        return
    found = {}
    for side in SIDES:
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "benchmarks.val_async", "--side", side, *words]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
        shown({side: found[side]})
    write_results(RESULTS / "val_async.json", {"machine": machine(), **settings, "sides": found})


if __name__ == "__main__":
    main()

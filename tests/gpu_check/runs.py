"""Steps of a stage at full size: ``python -m tests.gpu_check.runs STAGE STEPS [in-order]`` prints a line of JSON with
a digest of all weights after them, and the median time of the later half of the steps. Two runs `in-order` have one
digest."""

from __future__ import annotations

import json
import sys
import time
from statistics import median

import xxhash

from tests.full_size import Training, sizes
from trainer.device.in_order import begin
from trainer.device.mode import Mode

IN_ORDER = "in-order"


def main(stage: str, steps: str, *ways: str) -> None:
    begin(Mode(deterministic=IN_ORDER in ways))
    training = Training(int(stage))
    seconds = []
    for number, (height, width) in enumerate(sizes(int(steps)), 1):
        started = time.perf_counter()
        training.step(number, height, width)
        seconds.append(time.perf_counter() - started)
    digest = xxhash.xxh3_128()
    for value in training.model.parameters():
        digest.update(value.numpy())
    print(json.dumps({"digest": digest.hexdigest(), "seconds": median(seconds[len(seconds) // 2 :])}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Memory in use of the card while sizes change: ``python -m tests.gpu_check.memory STAGE STEPS`` prints a line of JSON
for each step, with the bytes of the card in use and those that Jittor holds."""

from __future__ import annotations

import json
import sys

from tests.full_size import Training, sizes
from trainer.device import card_memory, device_memory


def main(stage: str, steps: str) -> None:
    training = Training(int(stage))
    for number, (height, width) in enumerate(sizes(int(steps)), 1):
        training.step(number, height, width)
        in_use, _ = card_memory() or (0, 0)
        print(json.dumps({"step": number, "card": in_use, "jittor": device_memory()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Memory in use of the card while sizes change: ``python -m tests.gpu_check.memory STAGE STEPS`` prints a line of JSON
for each step, with the bytes of the card in use and those that Jittor holds."""

from __future__ import annotations

import json
import sys

from benchmarks.networks.cases import OPTIMIZER, Case
from tests.cuda_standin.steps import IMAGES, batch, model_config, sizes
from trainer.device import card_memory, device_memory, jt
from trainer.models import build_detector
from trainer.training.optimizer import build_optimizer
from trainer.training.terms import packed, total_loss


def main(stage: str, steps: str) -> None:
    case = Case(int(stage), True, IMAGES, 0, 0, 1 if stage == "1" else 1203)
    model = build_detector(model_config(case))
    model.train()
    optimizer = build_optimizer(OPTIMIZER, model)
    for number, (height, width) in enumerate(sizes(int(steps)), 1):
        terms = model.loss(batch(case, height, width, number))
        values = packed([*terms.values(), optimizer.step(total_loss(terms))])
        del terms
        jt.sync_all()
        values.numpy()
        in_use, _ = card_memory() or (0, 0)
        print(json.dumps({"step": number, "card": in_use, "jittor": device_memory()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

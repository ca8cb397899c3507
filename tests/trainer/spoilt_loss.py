"""``python -m trainer`` whose third step is spoilt: its loss is not a number, although its gradients are.

Where the environment's SPOILS says ``gradients``, it is the other way round, and the update puts them into the weights.
"""

import os
import sys

from trainer.__main__ import main
from trainer.tasks import Request, train

_run = train.run


def run(request: Request) -> int:
    from trainer.device import jt
    from trainer.training import step

    steps, read, minimised = [], step.packed, step.total_loss
    gradients = os.environ.get("SPOILS") == "gradients"

    def packed(values: list[jt.Var]) -> jt.Var:
        if len(steps) == 3 and not gradients:
            values = [value + float("nan") for value in values[:-1]] + values[-1:]  # the last is the gradients' norm
        return read(values)

    def total_loss(terms: dict[str, jt.Var]) -> jt.Var:
        steps.append(terms)
        loss = minimised(terms)
        return loss + (loss * 0.0).sqrt() if len(steps) == 3 and gradients else loss  # at 0 its slope is infinite

    step.packed, step.total_loss = packed, total_loss
    return _run(request)


train.run = run
if __name__ == "__main__":
    sys.exit(main())

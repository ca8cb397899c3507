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
    from trainer.training import loop

    steps, read, minimised = [], loop.packed, loop.total_loss
    gradients = os.environ.get("SPOILS") == "gradients"

    def packed(terms: dict[str, jt.Var]) -> jt.Var:
        steps.append(terms)
        return read(terms) + (float("nan") if len(steps) == 3 and not gradients else 0.0)

    def total_loss(terms: dict[str, jt.Var]) -> jt.Var:
        loss = minimised(terms)
        return loss + (loss * 0.0).sqrt() if len(steps) == 3 and gradients else loss  # at 0 its slope is infinite

    loop.packed, loop.total_loss = packed, total_loss
    return _run(request)


train.run = run
if __name__ == "__main__":
    sys.exit(main())

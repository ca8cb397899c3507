"""``python -m trainer`` whose third step has a loss that is not a number, although its gradients are."""

import sys

from trainer.__main__ import main
from trainer.tasks import Request, train

_run = train.run


def run(request: Request) -> int:
    from trainer.device import jt
    from trainer.training import loop

    steps, whole = [], loop.packed

    def packed(terms: dict[str, jt.Var]) -> jt.Var:
        steps.append(terms)
        return whole(terms) + (float("nan") if len(steps) == 3 else 0.0)

    loop.packed = packed
    return _run(request)


train.run = run
if __name__ == "__main__":
    sys.exit(main())

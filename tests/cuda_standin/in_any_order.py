"""A sum whose order no hook can choose, asked for in one order: ``python -m tests.cuda_standin.process
tests.cuda_standin.in_any_order`` ends with an error."""

from __future__ import annotations

from trainer.device import jt
from trainer.device.in_order import begin
from trainer.device.mode import Mode

if __name__ == "__main__":
    begin(Mode(deterministic=True))
    print("numbers", jt.ones((6, 4)).sum(0).numpy().shape, flush=True)  # what it can choose
    jt.ones((6,)).reindex_reduce("add", (2,), ["i0%2"]).sync()  # rows that are scattered to places that they compute

"""``python -m tests.cuda_standin.process MODULE ARGUMENTS...``: `MODULE` runs with the stand-in for a card."""

from __future__ import annotations

import runpy
import sys

from tests.cuda_standin.toolkit import HOME, LIBRARY
from trainer.process import gpu


def main(module: str, *arguments: str) -> None:
    (HOME / "dev").mkdir(exist_ok=True)
    (HOME / "dev" / "nvidia0").touch()
    gpu.DEVICES, gpu.DRIVER = HOME / "dev", str(LIBRARY)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One target under Atheris: ``python -m tests.fuzz.coverage_guided TARGET [libFuzzer's options]``.

libFuzzer keeps every frame that reached code which none before it had, and mutates those further; half of the time by
our own `mutation`, which knows what frames are made of. It watches for hangs itself. The frame that broke a rule is in
the output, and in a file ``crash-...`` among the temporary ones.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import tracemalloc

import atheris

from tests.fuzz import guard
from tests.fuzz.mutation import MAX_BYTES, wrong_bytes

with atheris.instrument_imports(include=["shared", "data_server.handover.predictions", "tests.fuzz.targets"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        match chance.randrange(4):
            case 0:
                return target.draw(chance)[:max_size]
            case 1:
                return wrong_bytes(chance, data, target.draw(chance))[:max_size]
            case _:
                return atheris.Mutate(data, max_size)

    def try_frame(frame: bytes) -> None:
        try:
            target.try_frame(frame)
        except Exception:
            print(f"TARGETS[{target.name!r}].run({frame!r})", flush=True)
            raise

    limits = [f"-max_len={MAX_BYTES}", f"-timeout={guard.HANG_SECONDS}", "-verbosity=0"]
    limits.append(f"-artifact_prefix={tempfile.gettempdir()}/")
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:]], try_frame, custom_mutator=mutated)
    for seed in range(1000):  # imports and caches that the first frames pay for
        with contextlib.suppress(*target.errors):
            target.run(target.draw(random.Random(seed)))
    guard.install()
    tracemalloc.start()
    atheris.Fuzz()


if __name__ == "__main__":
    main()

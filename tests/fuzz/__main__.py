"""The long form of the fuzzing: ``python -m tests.fuzz [--iterations N] [--seed S] [TARGET ...]``.

N frames for each engine are shared among the targets. The first engine draws wrong frames from valid ones (`mutation`).
The second, where Atheris is installed, also keeps the frames that reached new code and continues from those
(`coverage_guided`). A frame that breaks a rule (`guard`) is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import random
import subprocess
import sys
import time
import tracemalloc

from tests.fuzz import guard
from tests.fuzz.targets import TARGETS, Target

WARM_UP = 1000  # frames that pay for imports and caches


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--iterations", type=int, default=10**6, help="frames for each engine (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    share = -(-options.iterations // len(targets))
    guard.install()
    guard.kill_when_hanging()
    engines = [fuzz]
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install -e '.[fuzz]'): no coverage-guided round")
    else:
        engines.append(fuzz_guided_by_coverage)
    results = [engine(target, share, options.seed) for engine in engines for target in targets]
    return 0 if all(results) else 1


def fuzz(target: Target, count: int, seed: int) -> bool:
    """Tries `count` frames; whether all went well."""
    chance = random.Random(f"{target.name} {seed}")
    for _ in range(WARM_UP):
        with contextlib.suppress(*target.errors):
            target.run(target.draw(chance))
    tracemalloc.start()
    answers: collections.Counter[bool] = collections.Counter()
    slowest, start = 0.0, time.perf_counter()
    for _ in range(count):
        frame = target.draw(chance)
        before = time.perf_counter()
        try:
            answers[target.try_frame(frame, alarm=True)] += 1
        except Exception as error:
            print(f"{target.name}: {type(error).__name__}: {error}")
            print(f"TARGETS[{target.name!r}].run({frame!r})", flush=True)
            return False
        slowest = max(slowest, time.perf_counter() - before)
    tracemalloc.stop()
    rate = count / (time.perf_counter() - start)
    print(
        f"{target.name:12} {count} frames: {answers[True]} accepted, {answers[False]} refused, nothing else; "
        f"{rate:.0f} frames/s, the slowest took {1000 * slowest:.1f} ms",
        flush=True,
    )
    return True


def fuzz_guided_by_coverage(target: Target, count: int, seed: int) -> bool:
    """The same with Atheris, which wants a process of its own; whether all went well."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tests.fuzz.coverage_guided", target.name, f"-runs={count}", f"-seed={seed}"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if found.returncode:
        print(f"{target.name}: atheris found something\n{found.stdout[-4000:]}", flush=True)
        return False
    rate = count / (time.perf_counter() - start)
    print(f"{target.name:12} {count} frames guided by coverage: nothing found; {rate:.0f} frames/s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())

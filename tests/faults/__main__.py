"""``python -m tests.faults [--most N] [SCENARIO ...]``: the fault matrix; prints what it finds, exits with 1 if that is
anything.

With --most, N points and faults of each scenario, drawn by a fixed seed from all.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.disk import FAULTS, Fault, Point, spread
from tests.faults.scenarios import ALL, lay_out


def cells(points: list[Point], most: int | None) -> list[tuple[Point, Fault]]:
    """Points with the faults that they can meet; at most `most`, drawn by a fixed seed, in their order."""
    found = [(point, fault) for point in points for fault in FAULTS if point.operation not in fault.spares]
    if most is None or most >= len(found):
        return found
    return [found[place] for place in sorted(random.Random(7).sample(range(len(found)), most))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--most", type=int, metavar="N", help="of each scenario")
    options = parser.parse_args()
    chosen = [one for one in ALL if not options.scenarios or one.name in options.scenarios]
    runs = faulty = missed = 0
    with tempfile.TemporaryDirectory(prefix="faults") as folder, Bench(Path(folder), lay_out) as bench:
        for scenario in chosen:
            begun = time.monotonic()
            points = bench.points(scenario)
            drawn = cells(spread(points), options.most)
            for point, fault in drawn:
                judgement = bench.judge(scenario, point, fault)
                missed += not judgement.fired
                if judgement.wrong:
                    faulty += 1
                    print(judgement, flush=True)
            runs += len(drawn)
            files, seconds = len({point.pattern for point in points}), time.monotonic() - begun
            print(
                f"{scenario.name}: {files} files, {len(points)} points, {len(drawn)} runs in {seconds:.0f} s",
                flush=True,
            )
    print(f"{runs} runs with a fault, {missed} of them never came to it; {faulty} faulty")
    return int(faulty > 0)


if __name__ == "__main__":
    sys.exit(main())

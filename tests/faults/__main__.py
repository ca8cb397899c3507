"""``python -m tests.faults [--all] [--most N] [--list] [--jobs N] [SCENARIO ...]``: the fault matrix.

Of each kind of cell (`tests.faults.cells`) it runs the first, the last and one between them. Prints what it is going to
run, each run, and a table; exits with 1 if anything is wrong. What was found is in `faults.jsonl`: started again, it
goes on where it was stopped, and anew when the sources have changed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from shared.lifetime import STOP_SIGNALS
from tests.faults import job
from tests.faults.cells import Plan
from tests.faults.results import FILE, Results, sources, table
from tests.faults.scenarios import ALL


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--all", action="store_true", help="every cell, not three of a kind")
    parser.add_argument("--most", type=int, metavar="N", help="of each scenario, drawn")
    parser.add_argument("--list", action="store_true", help="say how many there are, and run none")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default %(default)s)")
    options = parser.parse_args()
    known = {one.name: one for one in ALL}
    if unknown := [name for name in options.scenarios if name not in known]:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.scenarios or known]
    for number in STOP_SIGNALS:  # in the background of a shell as well, which has Ctrl-C ignored there
        signal.signal(number, signal.default_int_handler)
    results = Results(FILE, sources())
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, processes, initializer=job.start, initargs=(os.getpid(),)) as pool:
        plans = []
        for scenario, record in zip(chosen, pool.map(job.record, chosen), strict=True):
            plans.append(Plan.of(scenario, record.points, options.all, options.most))
            calls, files = len(record.points), len({point.pattern for point in record.points})
            print(f"{scenario.name}: {calls} calls on {files} files, {record.seconds:.1f} s undisturbed", flush=True)
        print(*table(plans, results), sep="\n", flush=True)
        cells = [cell for plan in plans for cell in plan.runs]
        left = [] if options.list else results.missing(cells)
        runs = [pool.submit(job.judge, cell) for cell in left]
        try:
            for place, run in enumerate(as_completed(runs), 1):
                judgement = run.result()
                results.add(judgement.cell, judgement.fired, judgement.wrong, judgement.seconds)
                print(f"{place}/{len(runs)} {judgement}", flush=True)
        except KeyboardInterrupt:
            print("stopped: the same command goes on from here", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    faulty = [one for one in results.of(cells) if one.wrong]
    for one in faulty:
        print(one.cell, *one.wrong, sep="\n    ")
    if left:
        print(*table(plans, results), sep="\n")
    return int(bool(faulty or results.missing(left)))


if __name__ == "__main__":
    sys.exit(main())

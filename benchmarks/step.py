"""How long a training step and an inference take: our detectors in Jittor against the same ones in PyTorch.

    python -m benchmarks.step [--cases NAME ...] [--parts NAME ...] [--rounds N] [--threads N] [--cold]

Both sides have the same weights, inputs and number of threads (which wait without spinning), on the CPU, and before
anything is timed their losses are compared: what is timed is the same work. benchmarks.networks says what is whose;
without a wheel of mmcv's compiled operators ($WHEELS_DIR) PyTorch has neither RoIAlign nor NMS, and what needs them is
left out.

Besides the whole step and a whole inference (all images of the batch, one after the other behind the backbone), the
parts are run alone, with fixed inputs, forward and backward. They overlap a little (a part is finished and its
gradients are handed out) and leave out what lies between them, so they do not add up to the step.

Contenders take turns, part by part; a ratio is the median of the rounds' own ratios with a 90 % bootstrap interval, and
stands beside the same ratio of processor time. --cold counts the kernels of the demo's first step instead, and how long
they take to compile on a machine that has compiled nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.networks import mmcv_operators
from benchmarks.networks.cases import CASES, PARTS
from benchmarks.rounds import REPOSITORY, RESULTS, Contender, machine, ratio, write_results

OURS, THEIRS = "Jittor", "PyTorch"
SIDES = {OURS: "benchmarks.networks.jittor_side", THEIRS: "benchmarks.networks.torch_side"}
NO_PART = ("step", "inference", "NMS")  # of a step
TARGET = 0.85  # ours : theirs, of a whole step
VISIT_SECONDS = 0.4  # a part is repeated for about this long in a round
LOSS_TOLERANCE = 1e-3
KERNEL_TARGET, COLD_TARGET = 150, 180.0


@dataclass(frozen=True)
class Visit:
    """One part of one side in one round: the median of its runs, and the processor time of one."""

    seconds: float
    processor_seconds: float


def main() -> None:
    options = _parse()
    about = machine() | {"threads": options.threads}
    if options.cold:
        found = measure_cold()
        print(report_cold(found))
        write_results(options.output or RESULTS / "cold_start.json", {"machine": about, "cold": found})
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            results[name] = measure(name, options.parts, options.rounds, options.threads, Path(folder))
            print(report(name, results[name]), flush=True)
    write_results(options.output or RESULTS / "step.json", {"machine": about, "cases": results})


def measure(case: str, asked: list[str], rounds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Times, ratios and losses of one case; of the parts `asked` for, those that both sides have."""
    wheel = mmcv_operators.unpack_wheel(folder / "mmcv")
    path = os.pathsep.join(str(part) for part in (wheel, os.environ.get("PYTHONPATH")) if part)
    environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "PYTHONPATH": path}
    visits: dict[str, dict[str, list[Visit]]] = {side: defaultdict(list) for side in SIDES}
    with contextlib.ExitStack() as stack:
        settings = {"case": case, "folder": str(folder)}
        sides = [stack.enter_context(Contender(side, module, settings, environment)) for side, module in SIDES.items()]
        able = [set(side.ask({"what": "parts"})) for side in sides]
        parts = [part for part in asked if all(part in known for known in able)]
        losses = {side.name: side.ask({"what": "losses"}) for side in sides} if "step" in parts else {}
        check_losses(losses)
        times = {(side.name, part): _calibrate(side, part) for part in parts for side in sides}
        for number in range(rounds):
            for part in parts:
                for side in sides if number % 2 == 0 else sides[::-1]:
                    before = side.processor_seconds()
                    seconds = side.ask({"what": "run", "part": part, "times": times[side.name, part]})
                    spent = side.processor_seconds() - before
                    visits[side.name][part].append(Visit(median(seconds), spent / len(seconds)))
        kernels = sides[0].ask({"what": "kernels"})
    return {
        "losses": losses,
        "kernels": kernels,
        "left_out": sorted(((able[0] | able[1]) & set(asked)) - set(parts)),
        "seconds": {side: {part: median(v.seconds for v in visits[side][part]) for part in parts} for side in SIDES},
        "ratios": {part: _compared(visits[OURS][part], visits[THEIRS][part]) for part in parts},
        "rounds": {
            side: {part: [[v.seconds, v.processor_seconds] for v in found] for part, found in by_part.items()}
            for side, by_part in visits.items()
        },
    }


def check_losses(losses: dict[str, dict[str, float]]) -> None:
    """Ends the benchmark where the two sides do not compute the same."""
    if not losses:
        return
    for term, value in losses[OURS].items():
        other = losses[THEIRS][term]
        if abs(value - other) > LOSS_TOLERANCE * abs(other) + 1e-6:
            raise SystemExit(f"the sides do not do the same work: {term} is {value} in {OURS}, {other} in {THEIRS}")


def _calibrate(side: Contender, part: str) -> int:
    """Runs a part until nothing is compiled any more; returns how often it fits into a visit."""
    first, second = side.ask({"what": "run", "part": part, "times": 2})
    fastest = min(first, second)
    if fastest < VISIT_SECONDS:
        fastest = min(side.ask({"what": "run", "part": part, "times": 3}))
    return max(1, min(100, round(VISIT_SECONDS / fastest)))


def _compared(ours: list[Visit], theirs: list[Visit]) -> dict[str, tuple[float, float, float]]:
    return {
        "time": ratio([v.seconds for v in ours], [v.seconds for v in theirs]),
        "processor": ratio([v.processor_seconds for v in ours], [v.processor_seconds for v in theirs]),
    }


def report(case: str, results: dict[str, Any]) -> str:
    """The table of one case."""
    lines = [
        "",
        f"{case + ', milliseconds':26}{OURS:>10}{THEIRS:>10}{'ratio':>9}{'90 %':>16}{'CPU time':>10}",
    ]
    for part, compared in results["ratios"].items():
        ours, theirs = (1000 * results["seconds"][side][part] for side in SIDES)
        value, low, high = compared["time"]
        verdict = f"   target ≤ {TARGET}: {'reached' if value <= TARGET else 'missed'}" if part == "step" else ""
        lines.append(
            f"  {part:24}{ours:10.1f}{theirs:10.1f}{value:9.3f}{f'{low:.2f} to {high:.2f}':>16}"
            f"{compared['processor'][0]:10.3f}{verdict}"
        )
    if results["left_out"]:
        lines.append(f"  left out, no compiled mmcv operators: {', '.join(results['left_out'])}")
    if any(part not in NO_PART for part in results["ratios"]):
        lines.append(f"  {dominating(results)}")
    return "\n".join([*lines, f"  kernels of all this in Jittor: {results['kernels']}"])


def dominating(results: dict[str, Any]) -> str:
    """What a step is made of, in words with figures."""
    ours = results["seconds"][OURS]
    parts = {part: seconds for part, seconds in ours.items() if part not in NO_PART}
    largest = max(parts, key=parts.get)
    share = parts[largest] / sum(parts.values())
    slower = [part for part, compared in results["ratios"].items() if part in parts and compared["time"][0] > 1]
    return (
        f"{largest} dominates: {share:.0%} of the parts' time in {OURS}; "
        f"slower than in {THEIRS}: {', '.join(slower) or 'no part'}"
    )


def measure_cold() -> dict[str, Any]:
    """Kernels and seconds of the demo's first steps where nothing is compiled yet (also not Jittor's core)."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.networks.cold_start"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "HOME": home},
        )
    return json.loads(done.stdout.splitlines()[-1])


def report_cold(found: dict[str, Any]) -> str:
    """The table of a cold start."""
    lines = [f"{'demo, nothing compiled':26}{'seconds':>10}{'kernels':>10}"]
    lines += [f"  {phase['what']:24}{phase['seconds']:10.1f}{phase['kernels']:10d}" for phase in found["phases"]]
    kernels, seconds = found["kernels"], found["seconds"]
    lines.append(
        f"kernels: {kernels} (target ≤ {KERNEL_TARGET}: {'reached' if kernels <= KERNEL_TARGET else 'missed'}); "
        f"start to first step: {seconds:.0f} s (target ≤ {COLD_TARGET:.0f} s: "
        f"{'reached' if seconds <= COLD_TARGET else 'missed'})"
    )
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side, 3 or more (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side (default: %(default)s)"
    )
    parser.add_argument("--cold", action="store_true", help="measure the cold start instead")
    parser.add_argument("--output", type=Path, help="JSON file (default: in benchmarks/results)")
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("--rounds: expected 3 or more")
    return options


if __name__ == "__main__":
    main()

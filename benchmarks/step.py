"""How long a training step and an inference take: our detectors in Jittor against the same ones in PyTorch.

    python -m benchmarks.step [--cases NAME ...] [--parts NAME ...] [--rounds N] [--threads N] [--cold]
                              [--device cuda] [--precision NAME] [--compile]

Both sides have the same weights, inputs and number of threads (which wait without spinning), and before anything is
timed their losses are compared: what is timed is the same work. benchmarks.networks says what is whose.

Besides the whole step and a whole inference (all images of the batch, one after the other behind the backbone), the
parts are run alone, with fixed inputs, forward and backward. They overlap a little (a part is finished and its
gradients are handed out) and leave out what lies between them, so they do not add up to the step. What PyTorch has no
compiled operators for is left out (benchmarks.networks.mmcv_operators).

Contenders take turns, part by part; a ratio is the median of the rounds' own ratios with a 90 % bootstrap interval, and
stands beside the same ratio of processor time. On a GPU a run ends when the GPU has finished, and the most memory that
each side has held there is compared as well. --compile adds PyTorch with its networks under torch.compile, where that
compiles. --cold counts the kernels of the demo's first step instead, and how long they take to compile on a machine
that has compiled nothing.
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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.networks import mmcv_operators
from benchmarks.networks.cases import CASES, PARTS
from benchmarks.rounds import REPOSITORY, RESULTS, Contender, ContenderDied, machine, ratio, write_results

OURS, THEIRS, COMPILED = "Jittor", "PyTorch", "torch.compile"
_TORCH_SIDE = "benchmarks.networks.torch_side"
MODULES = {OURS: "benchmarks.networks.jittor_side", THEIRS: _TORCH_SIDE, COMPILED: _TORCH_SIDE}
NO_PART = ("step", "inference", "NMS")  # of a step
TARGETS = {"cpu": {THEIRS: 0.85}, "cuda": {THEIRS: 0.9, COMPILED: 1.0}}  # ours : theirs, of a whole step
VISIT_SECONDS = 0.4  # a part is repeated for about this long in a round
KERNEL_TARGET, COLD_TARGET = 150, 180.0

DEVICES = {
    "cpu": {"CUDA_VISIBLE_DEVICES": "", "TRAINER_DEVICE": ""},
    "cuda": {"TRAINER_DEVICE": "cuda"},
}
# How close the sides' losses have to be; with TF32 both frameworks multiply in it where they do by default.
PRECISIONS = {"float32": 1e-3, "tf32": 1e-2, "float16": 5e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class Visit:
    """One part of one side in one round: the median of its runs, and the processor time of one."""

    seconds: float
    processor_seconds: float


Visits = Mapping[str, Mapping[str, list[Visit]]]  # by side and part


def main() -> None:
    options = _parse()
    about = machine() | {name: getattr(options, name) for name in ("threads", "device", "precision")}
    if options.cold:
        found = measure_cold()
        print(report_cold(found))
        write_results(options.output or RESULTS / "cold_start.json", {"machine": about, "cold": found})
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            results[name] = measure(name, options, Path(folder))
            print(report(name, results[name], TARGETS[options.device]), flush=True)
    write_results(options.output or RESULTS / "step.json", {"machine": about, "cases": results})


def measure(case: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Times, ratios, memory and losses of one case; of the parts asked for, those that all sides have."""
    with contextlib.ExitStack() as stack:
        settings = {"case": case, "folder": str(folder), "device": options.device, "precision": options.precision}
        environment = _environment(options, folder)

        def contender(name: str) -> Contender:
            own = settings | {"compiled": name == COMPILED}
            return stack.enter_context(Contender(name, MODULES[name], own, environment))

        sides = [contender(OURS), contender(THEIRS)]
        able = [set(side.ask({"what": "parts"})) for side in sides]
        parts = [part for part in options.parts if all(part in known for known in able)]
        losses = {side.name: side.ask({"what": "losses"}) for side in sides} if "step" in parts else {}
        check_losses(losses, PRECISIONS[options.precision])
        times = {(side.name, part): _calibrate(side, part) for part in parts for side in sides}
        if options.compile:
            try:
                compiled = contender(COMPILED)
                times |= {(COMPILED, part): _calibrate(compiled, part) for part in parts}
                sides.append(compiled)
            except ContenderDied as died:
                print(f"{case}: left out: {died}", file=sys.stderr)
        visits = _take_turns(sides, parts, times, options.rounds)
        kernels = sides[0].ask({"what": "kernels"})
        memory = {side.name: side.ask({"what": "memory"}) for side in sides}
    return {
        "losses": losses,
        "kernels": kernels,
        "memory": memory,
        "left_out": sorted(((able[0] | able[1]) & set(options.parts)) - set(parts)),
        "seconds": {side: {part: median(v.seconds for v in visits[side][part]) for part in parts} for side in visits},
        "ratios": {
            side: {part: _compared(visits[OURS][part], visits[side][part]) for part in parts}
            for side in visits
            if side != OURS
        },
        "rounds": {
            side: {part: [[v.seconds, v.processor_seconds] for v in found] for part, found in by_part.items()}
            for side, by_part in visits.items()
        },
    }


def _environment(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Of all sides."""
    wheel = mmcv_operators.unpack_wheel(folder / "mmcv")
    path = os.pathsep.join(str(part) for part in (wheel, os.environ.get("PYTHONPATH")) if part)
    return {
        "OMP_NUM_THREADS": str(options.threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONPATH": path,
        "NVIDIA_TF32_OVERRIDE": "0" if options.precision == "float32" else "",
        **DEVICES[options.device],
    }


def _take_turns(sides: list[Contender], parts: list[str], times: Mapping[tuple[str, str], int], rounds: int) -> Visits:
    """In each round all sides run each part, as often as `times` says."""
    visits: dict[str, dict[str, list[Visit]]] = {side.name: defaultdict(list) for side in sides}
    for number in range(rounds):
        for part in parts:
            for side in sides if number % 2 == 0 else sides[::-1]:
                before = side.processor_seconds()
                seconds = side.ask({"what": "run", "part": part, "times": times[side.name, part]})
                spent = side.processor_seconds() - before
                visits[side.name][part].append(Visit(median(seconds), spent / len(seconds)))
    return visits


def check_losses(losses: dict[str, dict[str, float]], tolerance: float) -> None:
    """Ends the benchmark where the two sides do not compute the same."""
    if not losses:
        return
    for term, value in losses[OURS].items():
        other = losses[THEIRS][term]
        if not abs(value - other) <= tolerance * abs(other) + 1e-6:
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


def report(case: str, results: dict[str, Any], targets: Mapping[str, float]) -> str:
    """The tables of one case, one for each other side."""
    lines = []
    for other, ratios in results["ratios"].items():
        lines.append(f"\n{case + ', milliseconds':26}{OURS:>10}{other:>15}{'ratio':>9}{'90 %':>16}{'CPU time':>10}")
        for part, compared in ratios.items():
            ours, theirs = (1000 * results["seconds"][side][part] for side in (OURS, other))
            value, low, high = compared["time"]
            target = targets[other] if part == "step" and other in targets else None
            verdict = f"   target ≤ {target}: {'reached' if value <= target else 'missed'}" if target else ""
            lines.append(
                f"  {part:24}{ours:10.1f}{theirs:15.1f}{value:9.3f}{f'{low:.2f} to {high:.2f}':>16}"
                f"{compared['processor'][0]:10.3f}{verdict}"
            )
    if results["left_out"]:
        lines.append(f"  left out, no compiled operators: {', '.join(results['left_out'])}")
    if any(part not in NO_PART for part in results["ratios"][THEIRS]):
        lines.append(f"  {dominating(results)}")
    if any(results["memory"].values()):
        shown = ", ".join(f"{side} {held / 2**30:.2f} GiB" for side, held in results["memory"].items())
        lines.append(f"  most memory of the GPU: {shown}")
    return "\n".join([*lines, f"  kernels of all this in Jittor: {results['kernels']}"])


def dominating(results: dict[str, Any]) -> str:
    """What a step is made of, in words with figures."""
    ours = results["seconds"][OURS]
    parts = {part: seconds for part, seconds in ours.items() if part not in NO_PART}
    largest = max(parts, key=parts.get)
    share = parts[largest] / sum(parts.values())
    ratios = results["ratios"][THEIRS]
    slower = [part for part, compared in ratios.items() if part in parts and compared["time"][0] > 1]
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
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        metavar="NAME",
        help=f"{', '.join(CASES)} (default: those of the paper on a GPU, the others on a CPU)",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side, 3 or more (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side (default: %(default)s)"
    )
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of both sides; tf32: of convolutions, which is both frameworks' default; half: by autocast, or ours",
    )
    parser.add_argument("--compile", action="store_true", help="PyTorch with torch.compile as well")
    parser.add_argument("--cold", action="store_true", help="measure the cold start instead")
    parser.add_argument("--output", type=Path, help="JSON file (default: in benchmarks/results)")
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("--rounds: expected 3 or more")
    if options.device == "cpu" and options.precision != "float32":
        parser.error(f"--precision {options.precision}: on a CPU our side computes in float32")
    if options.cases is None:
        options.cases = [name for name in CASES if name.startswith("paper") == (options.device == "cuda")]
    return options


if __name__ == "__main__":
    main()

"""``python -m tests.gpu_check [PART ...] [--shapes N] [--steps N] [--photographs FOLDER]``: prints a table and writes
it as JSON; exits with 1 if anything is not as wanted."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import RESULTS, machine, write_results
from benchmarks.step import COMPILED, OURS, TARGETS, THEIRS
from tests.gpu_check.compared import compare
from tests.gpu_check.runs import IN_ORDER
from tests.gpu_check.waiting import INTERVAL, measure

ON_THE_CARD = {"TRAINER_DEVICE": "cuda", "NVIDIA_TF32_OVERRIDE": "0"}
ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": "", "TRAINER_DEVICE": ""}
FLAT, SETTLED = 1.01, 50  # from the 50th step on
IDLE = 0.05
EQUAL_STEPS = 18


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    part: str
    what: str
    found: str
    wanted: str
    good: bool

    def __str__(self) -> str:
        return (
            f"{self.part:10} {self.what:42} {self.found:42} {self.wanted:12} {'' if self.good else 'NOT SO'}".rstrip()
        )


def _python(environment: dict[str, str], *arguments: str) -> str:
    """What another process writes to standard output. Raises SystemExit if it fails, having shown why."""
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def operators(options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found, expected = Path(folder, "card.npz"), Path(folder, "cpu.npz")
        for path, environment in ((expected, ON_THE_CPU), (found, ON_THE_CARD)):
            _python(environment, "-m", "tests.gpu_check.operators", str(path), str(options.shapes))
        for one in compare(np.load(found), np.load(expected)):
            difference = f"{one.worst:.1e} of the largest, seed {one.seed}"
            yield Row("operators", one.operator, difference, f"{one.wanted:.1e}", one.good)


def parity(_: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/parity"]
    done = subprocess.run(command, env=os.environ | ON_THE_CARD, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, file=sys.stderr)
    summary = done.stdout.strip().splitlines()[-1].strip("= ")
    yield Row("parity", "tests/parity, TF32 off", summary, "all pass", done.returncode == 0)


def memory(options: argparse.Namespace) -> Iterator[Row]:
    for stage in (1, 2):
        text = _python(ON_THE_CARD, "-m", "tests.gpu_check.memory", str(stage), str(options.steps))
        in_use = [line["card"] for line in map(json.loads, text.splitlines())]
        growth = max(in_use[SETTLED - 1 :]) / in_use[SETTLED - 1]
        shown = f"{in_use[SETTLED - 1] / 2**30:.2f} GiB, then x {growth:.3f}"
        yield Row("memory", f"stage {stage}, {len(in_use)} steps", shown, f"x {FLAT}", growth <= FLAT)


def equal(_: argparse.Namespace) -> Iterator[Row]:
    for stage in (1, 2):
        first, second, free = (
            json.loads(_python(ON_THE_CARD, "-m", "tests.gpu_check.runs", str(stage), str(EQUAL_STEPS), *ways))
            for ways in ((IN_ORDER,), (IN_ORDER,), ())
        )
        good = first["digest"] == second["digest"]
        shown = f"{'equal' if good else 'different'}; a step takes x {first['seconds'] / free['seconds']:.2f}"
        yield Row("equal", f"stage {stage}, {EQUAL_STEPS} steps twice, in order", shown, "equal", good)


def speed(_: argparse.Namespace) -> Iterator[Row]:
    for precision in ("float32", "tf32", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "step.json")
            asked = ("--parts", "step", "inference", "--precision", precision, "--compile", "--output", str(path))
            print(_python({}, "-m", "benchmarks.step", "--device", "cuda", *asked), file=sys.stderr)
            for case, results in json.loads(path.read_text(encoding="utf-8"))["cases"].items():
                yield from speeds(f"{case.removeprefix('paper ')}, {precision}", results)


def speeds(what: str, results: dict[str, Any]) -> Iterator[Row]:
    """Of one case of benchmarks.step in one precision."""
    for other, parts in results["ratios"].items():
        for part, compared in parts.items():
            ratio, low, high = compared["time"]
            wanted = TARGETS["cuda"][other]
            ours, theirs = (1000 * results["seconds"][side][part] for side in (OURS, other))
            shown = f"x {ratio:.2f} ({low:.2f} to {high:.2f}): {ours:.0f} ms, {theirs:.0f} ms"
            yield Row("speed", f"{part} {what}, {other}", shown, f"x {wanted}", ratio <= wanted)
    ours, theirs = (results["memory"][side] / 2**30 for side in (OURS, THEIRS))
    yield Row("speed", f"memory {what}", f"{ours:.2f} GiB, {THEIRS} {theirs:.2f} GiB", f"≤ {THEIRS}", ours <= theirs)
    for part in results["left_out"]:
        yield Row("speed", f"{part} {what}", "PyTorch has no operators for it", "measured", False)
    if COMPILED not in results["ratios"]:
        yield Row("speed", f"{what}, {COMPILED}", "does not compile", "", True)


def waiting(options: argparse.Namespace) -> Iterator[Row]:
    if options.photographs is None:
        yield Row("waiting", "stage 1 on photographs", "not run: --photographs FOLDER", f"{IDLE:.0%}", False)
        return
    steps = max(options.steps, 3 * INTERVAL)  # the first line of the log does not count
    found = measure(options.photographs, options.annotations, steps, os.environ | ON_THE_CARD)
    shares = {"waits for data": found.for_data, "no kernel runs": found.idle}
    for what, share in shares.items():
        yield Row("waiting", f"stage 1: {what}", f"{share:.1%} of the time", f"{IDLE:.0%}", share <= IDLE)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "operators": operators,
    "parity": parity,
    "memory": memory,
    "equal": equal,
    "speed": speed,
    "waiting": waiting,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--shapes", type=int, default=20, metavar="N", help="of each operator (default %(default)s)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each stage (default %(default)s)")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="in COCO's format, with images/")
    parser.add_argument("--annotations", default="train.json", metavar="FILE", help="in there (default %(default)s)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if options.steps < SETTLED:
        parser.error(f"--steps {options.steps}: memory is flat or not from step {SETTLED} on")
    card = _python(ON_THE_CARD, "-c", "from trainer.device import describe; print(describe())").strip()
    print(card, flush=True)
    rows = []
    for part in options.parts or PARTS:
        for row in PARTS[part](options):
            print(row, flush=True)
            rows.append(row)
    write_results(RESULTS / "gpu_check.json", {"card": card, **machine(), "rows": [asdict(row) for row in rows]})
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

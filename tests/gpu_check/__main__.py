"""``python -m tests.gpu_check [PART ...] [--shapes N] [--steps N]``: prints a table and writes it as JSON; exits with 1
if anything is not as wanted."""

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

import numpy as np

from benchmarks.rounds import RESULTS, machine, write_results
from tests.gpu_check.compared import compare

ON_THE_CARD = {"TRAINER_DEVICE": "cuda", "NVIDIA_TF32_OVERRIDE": "0"}
ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": "", "TRAINER_DEVICE": ""}
FLAT, SETTLED = 1.01, 50  # from the 50th step on


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
            f"{self.part:10} {self.what:34} {self.found:34} {self.wanted:12} {'' if self.good else 'NOT SO'}".rstrip()
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


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "operators": operators,
    "parity": parity,
    "memory": memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--shapes", type=int, default=20, metavar="N", help="of each operator (default %(default)s)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each stage (default %(default)s)")
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

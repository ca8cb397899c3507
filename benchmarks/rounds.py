"""Rounds in which contenders take turns, and what can be said from them on a machine that others use too.

    round 1   A B      a contender is one process tree that stays alive from round to round: start-up is paid once;
    round 2   B A      the order turns around each round: a slow drift of the machine hits both alike;
    round 3   A B      a ratio is the median of the rounds' own ratios, its spread a bootstrap interval over the rounds

A contender's process reads a request from its standard input, does what it says, and answers: JSON both ways, a line
each. In the pipeline benchmark a request is a number of images to handle, the answer the seconds that it took.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
READY = "ready"
_RESAMPLES = 10_000


class ContenderDied(SystemExit):
    """A contender's process ended before it had answered; a benchmark that does not catch this ends with its words."""


@dataclass(frozen=True)
class Measurement:
    """One contender in one round. `processor_seconds` are those of all its processes, user and system time."""

    images: int
    seconds: float
    processor_seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    @property
    def processor_seconds_per_image(self) -> float:
        return self.processor_seconds / self.images


class Contender:
    """A process tree that answers requests. Use as a context manager.

    Args:
        module: run as ``python -m module``, with `settings` as JSON in its one argument; prints ``ready`` when it is.
        environment: variables to set for it.
    """

    def __init__(
        self, name: str, module: str, settings: dict[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(settings)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        while self._read() != READY:  # libraries have their say while they are imported
            pass

    def measure(self, warm_up: int, images: int) -> Measurement:
        """Has `images` images handled, after `warm_up` others that are not counted and refill its queues."""
        self.ask(warm_up)
        before = self.processor_seconds()
        seconds = self.ask(images)
        return Measurement(images, seconds, self.processor_seconds() - before)

    def ask(self, request: Any) -> Any:
        """The answer to a request, both plain data.

        Raises:
            ContenderDied: its process ended instead.
        """
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._read())

    def processor_seconds(self) -> float:
        """What all processes of the tree that are alive have used so far, user and system time."""
        root = psutil.Process(self._process.pid)
        return sum(processor_clock(process.pid) for process in (root, *root.children(recursive=True)))

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise ContenderDied(f"{self.name}: its process ended with code {self._process.wait()}")
        return line.strip()


def processor_clock(process: int) -> float:
    """Linux' clock of the processor time of `process`, to the nanosecond; psutil's figures come in steps of 10 ms."""
    return time.clock_gettime((~process << 3) | 2)


def answer_rounds(handle: Callable[[Any], Any]) -> None:
    """A contender's side: ``handle(request) -> answer`` for each request, until the parent closes the pipe."""
    print(READY, flush=True)
    for line in sys.stdin:
        print(json.dumps(handle(json.loads(line))), flush=True)


def interleave(contenders: list[Contender], rounds: int, warm_up: int, images: int) -> dict[str, list[Measurement]]:
    """`rounds` measurements of each contender, by name."""
    results: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else contenders[::-1]:
            results[contender.name].append(contender.measure(warm_up, images))
    return results


def ratio(numerators: list[float], denominators: list[float]) -> tuple[float, float, float]:
    """Median of the paired ratios, and the ends of its 90 % bootstrap interval."""
    ratios = np.array(numerators) / np.array(denominators)
    draws = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (5, 95))
    return float(np.median(ratios)), float(low), float(high)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(models, platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def shown(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Prints a line for each entry: seconds of CPU, megabytes of memory, and whatever else there is, by name."""
    megabytes = ("peak", "held", "resident", "size", "memory", "slots", "index")
    units = {**dict.fromkeys(("cpu", "seconds", "longest", "queued"), " s"), **dict.fromkeys(megabytes, " MB")}
    for name, values in figures.items():
        line = ", ".join(f"{key} {value:,.2f}{units.get(key, '')}" for key, value in values.items())
        print(f"  {name:28}{line}", flush=True)


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes `results` as JSON to `path`; says where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {path}")

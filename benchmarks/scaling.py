"""What more workers, more hosts and more ranks cost the trainer's host.

    python -m benchmarks.scaling [--workers N ...] [--mebibytes SIZE] [--rate N] [--rounds N] [--seconds N]
                                 [--delays MS ...] [--ranks N ...]

Workers sleep instead of making batches (`benchmarks.transports.constant_batches`), so that 64 of them fit on any
machine, and what is seen is the way of a batch: `here` through a data server's own workers, `far` through the agent of
a real Ray node on this machine, over the loopback interface, encrypted. A data server whose workers are far has one
here as well, whose batches are counted with theirs.

    steady      all of a kind make `rate` batches a second together, however many they are: nothing queues
    growing     each makes `rate-each`: the more workers, the more batches, until somebody has no processor left
    delayed     steady, with a relay between proxies and agent that holds every byte back: `--delays`
    bare        frames over the link of far workers, and nothing else: what `receiving` is compared with
    sum         the all-reduce of a step's gradients, beside a copy of them (`benchmarks.all_reduce`)

Contenders take turns; ratios are medians of the rounds' own ratios with their 90 % bootstrap interval. Processor time
is in milliseconds for each batch: `server` of the data server's process, `receiving` of a proxy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rounds import REPOSITORY, RESULTS, Contender, machine, ratio, write_results
from benchmarks.transports.data_server import payload_bytes
from tests.data_server.far.raylet import Raylet
from tests.trainer.runs import mpirun

HERE, FAR = "here", "far"
STEADY, GROWING = "steady", "growing"
STAGE_1_NUMBERS = 41_800_000  # weights of the class-agnostic network with its ResNet-50
WARM_UP_SECONDS = 1.0
_MORE_THAN_COME = 1_000_000

Rounds = dict[str, list[dict[str, float]]]  # by contender: the figures of each round


class Bench:
    """The contenders of one run, and a Ray node for those that need one.

    Args:
        nbytes: of a batch.
        rate: batches a second of all workers together, where they are steady.
        seconds: how long a contender is measured in a round.
    """

    def __init__(self, node: Raylet, nbytes: int, rate: float, rounds: int, seconds: float) -> None:
        self._node, self._nbytes, self._rate, self._rounds, self._seconds = node, nbytes, rate, rounds, seconds

    def workers(self, count: int, paces: dict[str, Callable[[int], float]], delay: float = 0.0) -> dict[str, Rounds]:
        """`count` workers here, and as many far, at each pace; a pace gives the interval of so many workers."""
        with self._data_server(HERE, count, 0.0) as here, self._data_server(FAR, count, delay) as far:
            return {name: self._turns({here: pace(count), far: pace(count + 1)}) for name, pace in paces.items()}

    def bare(self) -> Rounds:
        """The link alone beside one far worker."""
        link = Contender("bare", "benchmarks.transports.far_link", {})
        with link, self._data_server(FAR, 1, 0.0) as far:
            return self._turns({link: 1 / self._rate, far: 2 / self._rate})

    def _data_server(self, kind: str, count: int, delay: float) -> Contender:
        settings: dict[str, Any] = {"checksum": True, "workers": count}
        if kind == FAR:
            settings |= {"far": self._node.address, "delay": delay}
        return Contender(kind, "benchmarks.transports.data_server", settings, self._node.token)

    def _turns(self, intervals: dict[Contender, float]) -> Rounds:
        """`intervals` has the contenders, and how long one of their workers rests before each batch."""
        found: Rounds = {contender.name: [] for contender in intervals}
        for number in range(self._rounds):
            for contender in intervals if number % 2 == 0 else reversed(intervals):
                request = {"bytes": self._nbytes, "interval": intervals[contender]}
                contender.ask(request | {"seconds": max(WARM_UP_SECONDS, 2 * intervals[contender])})
                found[contender.name].append(
                    _figures(contender.ask(request | {"seconds": self._seconds, "batches": _MORE_THAN_COME}))
                )
        return found


def _figures(answer: dict[str, Any]) -> dict[str, float]:
    """Of one round: milliseconds, but for batches a second."""
    batches = len(answer["latencies"])
    found = {"p50": 1000 * median(answer["latencies"]), "batches_per_second": batches / answer["seconds"]}
    if "server" in answer:
        found["server"] = 1000 * answer["server"] / batches
    for figure in ("transport", "receiving"):
        if far := [seconds for seconds in answer.get(figure, ()) if seconds]:  # not of those made here
            found[figure] = 1000 * median(far)
    return found


def all_reduce(ranks: int, numbers: int, rounds: int) -> dict[str, Any]:
    """Processor milliseconds of a rank for the sum of all ranks' `numbers` and for a copy of its own; their ratio."""
    command = [*mpirun(ranks), sys.executable, "-m", "benchmarks.all_reduce", str(numbers), str(rounds)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    by_rank = json.loads(done.stdout.splitlines()[-1])
    copies, sums = (np.mean([rank[key] for rank in by_rank], axis=0) for key in ("copy", "sum"))
    return {
        "copy": 1000 * float(np.median(copies)),
        "sum": 1000 * float(np.median(sums)),
        "ratio": ratio(list(sums), list(copies)),
    }


def compared(rounds: Rounds, above: str, below: str, figure: str) -> tuple[float, ...]:
    """The ratio of one figure of two contenders, with its interval."""
    return ratio(*([one[figure] for one in rounds[name]] for name in (above, below)))


def summary(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by contender."""
    return {
        name: {figure: median(one[figure] for one in found) for figure in found[0]} for name, found in rounds.items()
    }


def shown(title: str, rounds: Rounds) -> dict[str, dict[str, float]]:
    """Prints a line for each contender; returns their `summary`."""
    found = summary(rounds)
    for name, figures in found.items():
        line = ", ".join(f"{figure.replace('_', ' ')} {value:.3g}" for figure, value in figures.items())
        print(f"{title:28}{name:6}{line}", flush=True)
    return found


@contextlib.contextmanager
def ray_node(processors: int) -> Iterator[Raylet]:
    node = Raylet(processors, {}, {})
    try:
        yield node
    finally:
        node.stop()


def main() -> None:
    options = _parse()
    results: dict[str, Any] = {"machine": machine(), "options": {**vars(options), "output": str(options.output)}}
    paces = {STEADY: lambda workers: workers / options.rate, GROWING: lambda _: 1 / options.rate_each}
    nbytes, most = payload_bytes(options.mebibytes), max(options.workers)
    with ray_node(most) as node:
        bench = Bench(node, nbytes, options.rate, options.rounds, options.seconds)
        rounds = bench.bare()
        results["bare"] = shown("bare", rounds)
        results["receiving"] = _verdict("receiving, far : bare", compared(rounds, FAR, "bare", "receiving"))
        for count in options.workers:
            for pace, rounds in bench.workers(count, paces).items():
                results[f"{pace} {count}"] = shown(f"{pace}, {count} workers", rounds)
                if pace == STEADY:
                    p50 = compared(rounds, FAR, HERE, "p50")
                    results[f"hand-over {count}"] = _verdict("hand-over p50, far : here", p50)
        for delay in options.delays:
            rounds = bench.workers(most, {STEADY: paces[STEADY]}, delay / 1000)[STEADY]
            results[f"delayed {delay:g}"] = shown(f"delayed by {delay:g} ms", rounds)
    for count in options.ranks:
        results[f"sum {count}"] = found = all_reduce(count, options.numbers, options.rounds)
        print(f"sum of {count} ranks: {found['sum']:.0f} ms, a copy {found['copy']:.0f} ms", flush=True)
        _verdict("sum : copy", found["ratio"])
    write_results(options.output, results)


def _verdict(what: str, value: tuple[float, ...]) -> tuple[float, ...]:
    middle, low, high = value
    print(f"{what:34}{middle:.3g} ({low:.3g} to {high:.3g})", flush=True)
    return value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "(default: %(default)s)"
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N", help=default)
    parser.add_argument("--mebibytes", type=float, default=3, metavar="SIZE", help=f"of a batch {default}")
    parser.add_argument("--rate", type=float, default=8, metavar="N", help=f"batches a second, steady {default}")
    parser.add_argument("--rate-each", type=float, default=4, metavar="N", help=f"of each worker, growing {default}")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help=default)
    parser.add_argument("--seconds", type=float, default=8, metavar="N", help=f"of a contender in a round {default}")
    parser.add_argument("--delays", type=float, nargs="*", default=[1, 10], metavar="MS", help=default)
    parser.add_argument("--ranks", type=int, nargs="*", default=[2], metavar="N", help=f"of the sum {default}")
    parser.add_argument("--numbers", type=int, default=STAGE_1_NUMBERS, metavar="N", help=f"that are added {default}")
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.json", help=f"JSON file {default}")
    return parser.parse_args()


if __name__ == "__main__":
    main()

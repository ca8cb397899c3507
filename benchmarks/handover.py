"""How long a batch takes from complete to available, and what that costs: ours against seven other ways.

    python -m benchmarks.handover [--sizes MIB ...] [--rounds N] [--batches N] [--transports NAME ...]

Timed is, with CLOCK_MONOTONIC in both processes, from the last act before a producer calls its transport (ours: before
the worker says WROTE, and after the checksum where that is on) to the moment the consumer has an array whose bytes it
may read. `benchmarks.transports` says who does what; each contender is a process tree of its own. Processor time is
that of all processes of the tree, without what it takes to make a payload: our server, the worker's seal and the way
back (RELEASE, ASSIGN) are in it.

    paced       a batch rests 10 ms before it is complete, one is under way: nothing queues
    saturated   as fast as the transport takes them, at most four under way: time in the queue is in the latency

Two yardsticks stand beside the transports: a copy of the payload between warm buffers, and 150 bytes to a ZeroMQ
process and back. Rows "made in shared memory" are what torch's and iceoryx2's users get who build their batches there;
MMDetection's are built in private memory. Contenders take turns; ratios are medians over the rounds' own ratios, with a
90 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rounds import RESULTS, Contender, ContenderDied, machine, ratio, write_results
from benchmarks.transports.data_server import payload_bytes

PACED, SATURATED = "paced", "saturated"
INTERVALS = {PACED: 0.01, SATURATED: 0.0}
SECONDS = {PACED: 0.5, SATURATED: 0.1}  # longest visit; what is under way is always waited for
WARM_UP_SECONDS = 0.1
SATURATED_BATCHES = 200
JUDGED_MEBIBYTES = 25
OURS, OURS_CHECKED = "ours", "ours with checksum"
COPY, ROUND_TRIP = "warm memcpy", "ZeroMQ round trip of 150 B"
QUEUE, PICKLED, TORCH = "multiprocessing.Queue", "pickled ZeroMQ", "torch queue"
TORCH_SHARED = "torch, made in shared mem."
SPDL, ICEORYX, ICEORYX_SHARED = "SPDL arena", "iceoryx2", "iceoryx2, made in shared m."
TRANSPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: ("data_server", {"checksum": False}),
    OURS_CHECKED: ("data_server", {"checksum": True}),
    COPY: ("memcpy", {}),
    ROUND_TRIP: ("round_trip", {}),
    QUEUE: ("queues", {"library": "python"}),
    PICKLED: ("pickled_zeromq", {}),
    TORCH: ("queues", {"library": "torch", "in_place": False}),
    TORCH_SHARED: ("queues", {"library": "torch", "in_place": True}),
    SPDL: ("spdl_arena", {}),
    ICEORYX: ("iceoryx", {"in_place": False}),
    ICEORYX_SHARED: ("iceoryx", {"in_place": True}),
}
_OPTIONAL = {SPDL: "spdl", ICEORYX: "iceoryx2", ICEORYX_SHARED: "iceoryx2"}


@dataclass(frozen=True)
class Visit:
    """One contender, size and pace in one round. Latencies in seconds."""

    latencies: list[float]
    seconds: float
    processor_seconds: float

    @property
    def p50(self) -> float:
        return median(self.latencies)

    @property
    def processor_seconds_per_batch(self) -> float:
        return self.processor_seconds / len(self.latencies)

    @property
    def batches_per_second(self) -> float:
        return len(self.latencies) / self.seconds


Visits = dict[str, dict[str, dict[int, list[Visit]]]]  # name -> pace -> bytes -> a visit for each round


@dataclass(frozen=True)
class Verdict:
    """A figure with its 90 % interval beside its target, `sign` being ≤ or ≥; `twin` is the same of processor time."""

    what: str
    value: tuple[float, float, float]
    sign: str
    target: float
    twin: float | None = None

    @property
    def reached(self) -> bool:
        return self.value[0] <= self.target if self.sign == "≤" else self.value[0] >= self.target


def main() -> None:
    options = _parse()
    about = machine()
    sizes = [payload_bytes(size) for size in sorted(options.sizes)]
    visits, absent = measure(options.transports, sizes, options.rounds, options.batches)
    found = verdicts(visits, min(sizes, key=lambda size: abs(size - payload_bytes(JUDGED_MEBIBYTES))))
    print(report(visits, sizes, found, absent))
    write_results(
        options.output,
        {
            "machine": about,
            "absent": absent,
            "summary": {
                name: {
                    pace: {size: _summary(rounds) for size, rounds in by_size.items()}
                    for pace, by_size in by_pace.items()
                }
                for name, by_pace in visits.items()
            },
            "verdicts": [{**vars(verdict), "reached": verdict.reached} for verdict in found],
        },
    )


def measure(names: list[str], sizes: list[int], rounds: int, batches: int) -> tuple[Visits, dict[str, str]]:
    """All visits; and the contenders that are left out, with the reason."""
    visits: Visits = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    absent = {name: f"{_OPTIONAL[name]} is not installed" for name in names if not _is_installed(name)}
    with contextlib.ExitStack() as stack:
        contenders = []
        for name in names:
            if name not in absent:
                module, settings = TRANSPORTS[name]
                settings = settings | {"largest": max(sizes)}
                with _left_out(absent, name):
                    contenders.append(stack.enter_context(Contender(name, f"benchmarks.transports.{module}", settings)))
        for number in range(rounds):
            for contender in contenders if number % 2 == 0 else contenders[::-1]:
                with _left_out(absent, contender.name):
                    for pace, size, visit in _round(contender, sizes, batches):
                        visits[contender.name][pace][size].append(visit)
            contenders = [contender for contender in contenders if contender.name not in absent]
    return {name: by_pace for name, by_pace in visits.items() if name not in absent}, absent


@contextlib.contextmanager
def _left_out(absent: dict[str, str], name: str) -> Iterator[None]:
    """A rival that dies, for instance because /dev/shm is too small for it, does not end the benchmark."""
    try:
        yield
    except ContenderDied as error:
        absent[name] = str(error)


def _round(contender: Contender, sizes: list[int], batches: int) -> Iterator[tuple[str, int, Visit]]:
    for size in sizes:
        for pace, interval in INTERVALS.items():
            request = {"bytes": size, "interval": interval}
            contender.ask(request | {"seconds": WARM_UP_SECONDS})
            count = batches if pace == PACED else SATURATED_BATCHES
            before = contender.processor_seconds()
            answer = contender.ask(request | {"seconds": SECONDS[pace], "batches": count})
            spent = contender.processor_seconds() - before - answer["preparation"]
            yield pace, size, Visit(answer["latencies"], answer["seconds"], spent)


def verdicts(visits: Visits, judged: int) -> list[Verdict]:
    """What is claimed of the hand-over without the checksum, at each pace, at payloads of `judged` bytes unless a size
    is named."""
    found = []

    def compare(pace: str, what: str, above: str, below: str, sign: str, target: float) -> None:
        if above in visits and below in visits:
            pair = [visits[name][pace][judged] for name in (above, below)]
            value = ratio(*([visit.p50 for visit in rounds] for rounds in pair))
            twin = ratio(*([visit.processor_seconds_per_batch for visit in rounds] for rounds in pair))[0]
            found.append(Verdict(f"{pace}: p50, {what}", value, sign, target, twin))

    for pace in INTERVALS:
        compare(pace, "ours : warm memcpy", OURS, COPY, "≤", 0.25)
        compare(pace, "ours : bare round trip", OURS, ROUND_TRIP, "≤", 3.0)
        if OURS in visits and COPY in visits:
            slopes = [_slopes(visits[name][pace]) for name in (OURS, COPY)]
            found.append(Verdict(f"{pace}: p50 over size, ours : memcpy's", ratio(*slopes), "≤", 0.01))
        for rival, target in ((PICKLED, 50), (TORCH, 50), (SPDL, 5), (ICEORYX, 5)):
            compare(pace, f"{rival} : ours", rival, OURS, "≥", target)
        if OURS in visits:
            spent = [1000 * visit.processor_seconds_per_batch for visit in visits[OURS][pace][judged]]
            found.append(Verdict(f"{pace}: CPU ms per batch", ratio(spent, [1.0] * len(spent)), "≤", 1.0))
    return found


def _slopes(by_size: dict[int, list[Visit]]) -> list[float]:
    """Seconds of latency for each byte more, for each round: a least-squares line through the sizes."""
    return [
        float(np.polyfit(list(by_size), [visit.p50 for visit in visits], 1)[0])
        for visits in zip(*by_size.values(), strict=True)
    ]


def report(visits: Visits, sizes: list[int], found: list[Verdict], absent: dict[str, str]) -> str:
    """The tables that are printed."""
    lines = []
    for pace in INTERVALS:
        lines.append(f"{pace + ', ms':28}" + "".join(f"{f'{size / (1 << 20):.0f} MiB':>24}" for size in sizes))
        lines.append(f"{'':28}" + f"{'p50':>8}{'p99':>9}{'CPU':>7}" * len(sizes))
        for name, by_pace in visits.items():
            lines.append(f"{name:28}" + "".join(_cell(_summary(by_pace[pace][size])) for size in sizes))
        lines.append("")
    lines += [f"{name}: left out, {reason}" for name, reason in absent.items()]
    lines.append(f"{'25 MiB or nearest':42}{'value':>8}{'90 %':>22}{'target':>9}{'':10}{'of CPU time':>12}")
    for verdict in found:
        value, low, high = map(_figure, verdict.value)
        target, word = f"{verdict.sign} {verdict.target:g}", "reached" if verdict.reached else "missed"
        twin = _figure(verdict.twin) if verdict.twin is not None else ""
        lines.append(f"{verdict.what:42}{value:>8}{f'{low} to {high}':>22}{target:>9}  {word:8}{twin:>12}")
    return "\n".join(lines)


def _summary(rounds: list[Visit]) -> dict[str, float]:
    """Milliseconds; p50 and p99 over the batches of all rounds, the rest medians of the rounds."""
    latencies = 1000 * np.concatenate([visit.latencies for visit in rounds])
    return {
        "p50": float(np.percentile(latencies, 50)),
        "p99": float(np.percentile(latencies, 99)),
        "processor_milliseconds_per_batch": 1000 * median(visit.processor_seconds_per_batch for visit in rounds),
        "batches_per_second": median(visit.batches_per_second for visit in rounds),
        "batches": len(latencies),
    }


def _cell(summary: dict[str, float]) -> str:
    p50, p99, spent = (_figure(summary[key]) for key in ("p50", "p99", "processor_milliseconds_per_batch"))
    return f"{p50:>8}{p99:>9}{spent:>7}"


def _figure(value: float) -> str:
    """Three digits; thousands in full."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _is_installed(name: str) -> bool:
    return name not in _OPTIONAL or find_spec(_OPTIONAL[name]) is not None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.handover", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 8, 25, 128], help="MiB (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=15, help="of a paced turn and size (default: %(default)s)")
    parser.add_argument(
        "--transports", nargs="+", choices=TRANSPORTS, default=list(TRANSPORTS), metavar="NAME", help="default: all"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "handover.json", help="JSON file (default: %(default)s)"
    )
    options = parser.parse_args()
    if len(options.sizes) < 2:
        parser.error("--sizes: expected two or more, to see what size costs")
    return options


if __name__ == "__main__":
    main()

"""Thousands of batches through a real data server: what its processes hold, batch after batch.

    python -m benchmarks.soak [--batches N] [--workers N] [--every N]

One data server, one consumer that copies every batch once, small photographs made for the occasion. Every 100 batches,
for each process: the memory that it shares with no other (Private_Dirty of smaps_rollup), and its open descriptors.
Claimed is, from batch 500 to the last: no process grows by more than 1 MiB, none has a descriptor more, and the
stream's peak is within 5 % of what the server planned and printed when it opened.

The stream's memory is the arena and what the server had not had without the stream: all anonymous memory of root
nursery, stream's nursery and workers, each page once (the sum of Pss_Anon), less the pages that the root nursery has
itself. Private memory alone would not do: the data set is shared by nursery and workers. A worker counts with what it
has held at its largest, in the middle of a batch.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.data_server_contender import CREDITS, copy_out, open_stream
from benchmarks.rounds import RESULTS, machine, write_results
from benchmarks.standard_data import ANNOTATIONS, IMAGES, make_photographs, standard_config
from data_server.machine.fields import numbers
from data_server.machine.process_memory import given_back_bytes
from shared.address import Address
from shared.client import StreamClient
from shared.data_part import data_part
from shared.messages import Hello

MIB = 1 << 20
BATCH_SIZE = 2
SETTLED_BATCHES = 500
MAX_GROWTH_MIB, PLAN_TOLERANCE = 1.0, 0.05
CONSUMER, SERVER, ROOT, NURSERY, WORKER = "consumer", "server", "root nursery", "stream's nursery", "worker"
STREAM_SCALE = (320, 200)  # (long, short) edge that images are resized to: small, so that many batches are quick


@dataclass(frozen=True)
class Sample:
    """One process after `batches` batches.

    `share_bytes`: its anonymous memory, a page that n processes have counted as 1/n; `anonymous_bytes`: the same, every
    page counted whole; `given_back_bytes`: what it has had at its largest, within a batch, beyond what it has now.
    """

    batches: int
    private_bytes: int
    share_bytes: int
    anonymous_bytes: int
    given_back_bytes: int
    descriptors: int


Samples = dict[str, list[Sample]]  # process -> samples


def main() -> None:
    options = _parse()
    about = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        make_photographs(Path(directory, "photographs"))
        address = Address(f"ipc://{directory}/feed")
        command = [sys.executable, "-m", "data_server", "--workers", str(options.workers), "--listen", address.text]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            data = standard_config(str(Path(directory, "photographs")), ANNOTATIONS, IMAGES, BATCH_SIZE, STREAM_SCALE)
            hello = Hello("soak", data_part(data, "train"), 0, 0, 1, 0, 0, 0, CREDITS, "")
            stream = open_stream(address, server, hello)
            samples, seconds = soak(stream, server.pid, options.batches, options.every)
            results = summary(samples, stream.welcome.plan, stream.welcome.slots * stream.welcome.slot_bytes)
            stream.close()
        finally:
            server.terminate()
            server.wait()
    print(report(results, options.batches, seconds))
    write_results(options.output, {"machine": about, "batches": options.batches, "seconds": seconds, **results})


def soak(stream: StreamClient, server: int, batches: int, every: int) -> tuple[Samples, float]:
    """Takes `batches` batches and looks at every process after each `every` of them; also says how long it took."""
    buffer = np.ones(stream.welcome.slot_bytes, np.uint8)
    samples: Samples = {}
    start = time.perf_counter()
    for number in range(1, batches + 1):
        lease = stream.next(check=False)  # `copy_out` does
        copy_out(lease, buffer)
        lease.release()
        if number % every == 0:
            for name, process in processes(server).items():
                samples.setdefault(name, []).append(look(number, process))
    return samples, time.perf_counter() - start


def processes(server: int) -> dict[str, int]:
    """The consumer, which is this process, and the processes of a data server with one stream, by name."""
    (root,) = psutil.Process(server).children()
    (nursery,) = root.children()
    workers = {f"{WORKER} {worker.pid}": worker.pid for worker in nursery.children()}  # by pid: it may be replaced
    named = {CONSUMER: os.getpid(), SERVER: server, ROOT: root.pid, NURSERY: nursery.pid}
    return named | workers


def look(batches: int, process: int) -> Sample:
    """Process `process` now."""
    # A clean page is a file's; whether others have read it, too, comes and goes.
    held = numbers(f"/proc/{process}/smaps_rollup", "Private_Dirty", "Pss_Anon", "Anonymous")
    return Sample(batches, *held, given_back_bytes(process), len(os.listdir(f"/proc/{process}/fd")))


def summary(samples: Samples, plan: str, arena_bytes: int) -> dict[str, Any]:
    """Growth after `SETTLED_BATCHES` for each process, and the stream's peak beside its plan. MiB, KiB per batch."""
    found: dict[str, Any] = {"processes": {}}
    for name, all_taken in samples.items():
        settled = [sample for sample in all_taken if sample.batches >= SETTLED_BATCHES] or all_taken
        memory = [sample.private_bytes for sample in settled]
        slope = np.polyfit([sample.batches for sample in settled], memory, 1)[0] if len(settled) > 1 else 0.0
        found["processes"][name] = {
            "first_mib": memory[0] / MIB,
            "last_mib": memory[-1] / MIB,
            "growth_mib": (memory[-1] - memory[0]) / MIB,
            "peak_mib": max(memory) / MIB,
            "slope_kib_per_batch": float(slope) / 1024,
            "descriptors": [settled[0].descriptors, settled[-1].descriptors],
            "samples": [list(vars(sample).values()) for sample in all_taken],
        }
    without_stream = {sample.batches: sample.anonymous_bytes for sample in samples[ROOT]}
    shares = dict.fromkeys(without_stream, 0)
    for name, taken in samples.items():
        if name.startswith((ROOT, NURSERY, WORKER)):
            for sample in taken:
                shares[sample.batches] += sample.share_bytes
                if name.startswith(WORKER):
                    shares[sample.batches] += sample.given_back_bytes
    grown = max(share - without_stream[batches] for batches, share in shares.items())
    workers = [
        max(sample.private_bytes + sample.given_back_bytes for sample in taken) / MIB
        for name, taken in samples.items()
        if name.startswith(WORKER)
    ]
    peak = arena_bytes + grown
    planned = float(re.search(r"= ([\d.]+) MiB$", plan)[1])
    parts = {"arena": arena_bytes / MIB, "data set": grown / MIB - sum(workers), "workers": sum(workers)}
    return found | {
        "parts_mib": parts,
        "plan": plan,
        "planned_mib": planned,
        "peak_mib": peak / MIB,
        "peak_to_plan": peak / MIB / planned,
    }


def report(results: dict[str, Any], batches: int, seconds: float) -> str:
    """The table that is printed."""
    lines = [
        f"{batches} batches in {seconds:.0f} s; memory of each process for itself from batch {SETTLED_BATCHES} on, MiB",
        f"{'':18}{'first':>9}{'last':>9}{'peak':>9}{'growth':>9}{'KiB/batch':>12}{'descriptors':>14}",
    ]
    for name, values in results["processes"].items():
        first, last = values["descriptors"]
        lines.append(
            f"{name:18}{values['first_mib']:9.2f}{values['last_mib']:9.2f}{values['peak_mib']:9.2f}"
            f"{values['growth_mib']:9.2f}{values['slope_kib_per_batch']:12.4f}{f'{first} → {last}':>14}"
        )
    growth = max(values["growth_mib"] for values in results["processes"].values())
    descriptors = all(len(set(values["descriptors"])) == 1 for values in results["processes"].values())
    within = abs(results["peak_to_plan"] - 1) <= PLAN_TOLERANCE
    return "\n".join(
        [
            *lines,
            "",
            f"most growth {growth:.2f} MiB, target ≤ {MAX_GROWTH_MIB:g}: {_word(growth <= MAX_GROWTH_MIB)}",
            f"descriptors the same: {_word(descriptors)}",
            f"plan: {results['plan']}",
            "peak: " + ", ".join(f"{part} {size:.1f} MiB" for part, size in results["parts_mib"].items()),
            f"peak {results['peak_mib']:.1f} MiB = {results['peak_to_plan']:.3f} of the plan, "
            f"target 1 ± {PLAN_TOLERANCE:g}: {_word(within)}",
        ]
    )


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--every", type=int, default=100, help="batches between two looks (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "soak.json", help="JSON file (default: %(default)s)")
    options = parser.parse_args()
    if not 0 < options.every <= options.batches:
        parser.error("--every: expected 1 or more, and no more than --batches")
    return options


if __name__ == "__main__":
    main()

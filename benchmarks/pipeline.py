"""Our data server against torch's DataLoader, and against what its workers could do at most: images per second, and
processor time per image.

    python -m benchmarks.pipeline [--data-root DIR --ann-file FILE] [--workers N] [--rounds N] [--images N]

Both read the same MMDetection data set through the same pipeline (`benchmarks.standard_data`), with as many workers,
the same batch size and one consumer that copies every batch once, as an upload to a device does. Both use one thread in
OpenCV and torch. They take turns (`benchmarks.rounds`); start-up and the first batches of every turn are not counted.
Processor time is that of all processes of a side: consumer, server, workers. It is the steadier figure where other
programs run on the machine.

The two do not end equally far: DataLoader delivers images (3, H, W) of different sizes; ours are padded, stacked and
verified by a checksum. Three more contenders say what our transport costs: the same workers without server or consumer
(`benchmarks.ceiling_contender`); our data server with a consumer that checks every batch and gives it back, but copies
nothing, which is all that the hand-over itself does; and our data server without the checksum.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rounds import REPOSITORY, RESULTS, Contender, Measurement, interleave, machine, ratio, write_results
from benchmarks.standard_data import ANNOTATIONS, IMAGES, make_photographs
from data_server.serving.root_nursery import NURSERY_ENVIRONMENT

BATCH_SIZE = 2  # of one GPU, in MMDetection's own configs and UniDetector's
OURS, THEIRS = "data server", "DataLoader"
CEILING, HANDED_OVER, UNCHECKED = "workers alone", "data server, no copy", "without checksum"
TARGETS = {(OURS, THEIRS): 1.8, (HANDED_OVER, CEILING): 0.95, (OURS, CEILING): 0.95, (OURS, UNCHECKED): 0.97}


def main() -> None:
    options = _parse()
    with contextlib.ExitStack() as stack:
        if options.data_root is None:
            options.data_root = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-photographs-"))
            options.ann_file, options.image_folder = ANNOTATIONS, IMAGES
            make_photographs(Path(options.data_root))
        data = {
            "data_root": str(Path(options.data_root).absolute()),
            "ann_file": options.ann_file,
            "image_folder": options.image_folder,
            "batch_size": BATCH_SIZE,
        }
        stages = _measure_stages(data)
        about = machine()
        settings = {"data": data, "workers": options.workers}
        unchecked = settings | {"data": data | {"checksum": False}}
        contenders = [
            stack.enter_context(contender)
            for contender in (
                Contender(OURS, "benchmarks.data_server_contender", settings),
                Contender(THEIRS, "benchmarks.dataloader_contender", settings),
                Contender(CEILING, "benchmarks.ceiling_contender", settings, NURSERY_ENVIRONMENT),
                Contender(HANDED_OVER, "benchmarks.data_server_contender", settings | {"copy": False}),
                Contender(UNCHECKED, "benchmarks.data_server_contender", unchecked),
            )
        ]
        warm_up = 4 * BATCH_SIZE * (options.workers + 1)
        rounds = interleave(contenders, options.rounds, warm_up, options.images)
    results = summary(rounds, stages, options.workers)
    print(report(results))
    about = {"machine": about, "workers": options.workers, "batch_size": BATCH_SIZE}
    write_results(options.output, about | results)


def summary(rounds: dict[str, list[Measurement]], stages: dict[str, Any], workers: int) -> dict[str, Any]:
    """Medians, ratios with their intervals, the rounds themselves, and the stages with the ratio that they allow."""
    shared = sum(stages["dataloader"]["shared"].values())
    work = {
        OURS: shared + sum(stages["data_server"]["worker"].values()),
        THEIRS: shared + sum(stages["dataloader"]["worker"].values()),
    }
    return {
        "median": {
            name: {
                "images_per_second": median(one.images_per_second for one in measured),
                "processor_milliseconds_per_image": 1000 * median(one.processor_seconds_per_image for one in measured),
            }
            for name, measured in rounds.items()
        },
        "ratios": {f"{one} : {other}": _ratios(rounds[one], rounds[other]) for one, other in TARGETS},
        "milliseconds_per_image": stages,
        "worker_milliseconds_per_image": work,
        "worker_bound_images_per_second": {name: 1000 * workers / spent for name, spent in work.items()},
        "rounds": {
            name: [[one.images, one.seconds, one.processor_seconds] for one in measured]
            for name, measured in rounds.items()
        },
    }


def _ratios(ours: list[Measurement], others: list[Measurement]) -> dict[str, tuple[float, float, float]]:
    return {
        "images_per_second": ratio(*([one.images_per_second for one in side] for side in (ours, others))),
        "images_per_processor_second": ratio(
            *([one.processor_seconds_per_image for one in side] for side in (others, ours))
        ),
    }


def report(results: dict[str, Any]) -> str:
    """The tables that are printed."""
    lines = [f"{'':26}{'images/s':>12}{'CPU ms/image':>15}"]
    for name, values in results["median"].items():
        lines.append(f"{name:26}{values['images_per_second']:12.1f}{values['processor_milliseconds_per_image']:15.1f}")
    lines += ["", f"{'':38}{'images/s':>8}{'90 %':>15}{'target':>9}{'':10}{'images/CPU s':>17}{'90 %':>15}"]
    for (what, figures), target in zip(results["ratios"].items(), TARGETS.values(), strict=True):
        (speed, low, high), thrift = figures.values()
        verdict = "reached" if speed >= target else "missed"
        lines.append(
            f"{what:38}{speed:8.3f}{f'{low:.2f} to {high:.2f}':>15}{f'≥ {target}':>9}  {verdict:8}"
            f"{thrift[0]:17.3f}{f'{thrift[1]:.2f} to {thrift[2]:.2f}':>15}"
        )
    lines += ["", "One image in one process, milliseconds:"]
    stages = results["milliseconds_per_image"]
    for title, part in (
        ("both", stages["dataloader"]["shared"]),
        (OURS, stages["data_server"]["worker"]),
        (THEIRS, stages["dataloader"]["worker"]),
        (f"{OURS}'s consumer", stages["data_server"]["consumer"]),
        (f"{THEIRS}'s consumer", stages["dataloader"]["consumer"]),
    ):
        lines += [f"  {title:26}{stage:28}{spent:8.2f}" for stage, spent in part.items()]
    return "\n".join([*lines, "", limit(results)])


def limit(results: dict[str, Any]) -> str:
    """What the ratio is limited by, in words with figures."""
    stages, work = results["milliseconds_per_image"], results["worker_milliseconds_per_image"]
    shared = stages["dataloader"]["shared"]
    largest = max(shared, key=shared.get)
    own = {name: spent - sum(shared.values()) for name, spent in work.items()}
    return (
        f"What limits it: a worker spends {work[OURS]:.1f} ms on an image with the data server, "
        f"{work[THEIRS]:.1f} ms with DataLoader.\n"
        f"{sum(shared.values()):.1f} ms of both are the pipeline's own transforms "
        f"(most in {largest}: {shared[largest]:.1f} ms), which no transport makes faster.\n"
        f"What is left, {own[OURS]:.1f} ms against {own[THEIRS]:.1f} ms, is where the two differ; "
        f"by the workers' time alone the ratio would be {work[THEIRS] / work[OURS]:.2f}."
    )


def _measure_stages(data: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.stages", json.dumps({"data": data})]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", help="a COCO-format folder (default: photographs made for the occasion)")
    parser.add_argument("--ann-file", default=ANNOTATIONS, help="its annotation file (default: %(default)s)")
    parser.add_argument("--image-folder", default=IMAGES, help="its images (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each side (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side, 5 or more (default: %(default)s)")
    parser.add_argument("--images", type=int, default=640, help="counted in a turn (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "pipeline.json", help="JSON file (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error("--rounds: expected 5 or more")
    return options


if __name__ == "__main__":
    main()

"""What data sets of real sizes cost before and at the first batch, beside MMDetection's own way.

    python -m benchmarks.scale [--images N ...] [--most-theirs N] [--folder DIR]

For each size an annotation file is written (`benchmarks.annotation_file`: COCO's form, polygons included, 3.5 kB an
image), and each stage is measured in a process of its own:

    index          the index is made (`data_server.files.index`)
    second start   it is found and mapped
    ours           what a stream's nursery does over the index: the data set, its facts and fingerprint
    MMDetection    its data set as DataLoader's main process builds it, up to `--most-theirs` images
    first batch    of both: 16 images through a pipeline for 192x144
    worker         of both: a fork that has loaded 64 images from all over the data set
    propose        100 boxes for each image are kept, 64 images at a time, in files below `--folder` (2 kB an image);
                   `first` and `last` are of a tenth of the images, in ms of CPU an image

`cpu` is the process' own seconds; `peak` and `held` are its anonymous memory, at its largest and afterwards, beyond
what it had when its libraries were there: mapped columns count once for the whole machine, with the index's size. The
last lines are growth exponents between the smallest and the largest size: 1 is linear.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.annotation_file import write
from benchmarks.rounds import REPOSITORY, RESULTS, machine, shown, write_results
from benchmarks.standard_data import IMAGES, make_photographs
from data_server.datasets.lazy_imports import import_mmdetection
from data_server.handover.predictions import Record
from data_server.machine.process_memory import anonymous_bytes, private_bytes
from shared.contents import FRESH_NS
from shared.datasets import whole
from shared.layout import Layout

SIZES = (10_000, 118_287, 500_000, 1_742_289)
MOST_THEIRS = 118_287  # images; MMDetection takes 28 kB for each
INDEX, SECOND, OURS, THEIRS, PROPOSE = "index", "second start", "ours", "MMDetection", "propose"
BATCH, TOUCHED = 16, 64
BOXES, TENTHS = 100, 10
_MEGABYTE = 1e6
_LOOK_SECONDS = 0.02

Figures = dict[str, Any]


class Meter:
    """What this process uses from now on."""

    def __init__(self) -> None:
        self._cpu, self._anonymous = _cpu(), anonymous_bytes(os.getpid())
        self._peak, self._over = self._anonymous, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)  # a stage that fails ends
        self._watch.start()

    def read(self) -> Figures:
        """CPU seconds, and anonymous memory in MB; ends the measurement."""
        self._over.set()
        self._watch.join()
        held = anonymous_bytes(os.getpid())
        return {
            "cpu": _cpu() - self._cpu,
            "peak": (max(self._peak, held) - self._anonymous) / _MEGABYTE,
            "held": (held - self._anonymous) / _MEGABYTE,
        }

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._peak = max(self._peak, anonymous_bytes(os.getpid()))


def measure(stage: str, path: Path) -> dict[str, Figures]:
    """Runs a stage in this process; figures by what they are of."""
    if stage in (INDEX, SECOND):
        from data_server.files.index.cache import index_of

        meter = Meter()
        index = index_of(path, lambda _: None)
        size = sum(column.stat().st_size for column in index.columns.folder.iterdir())
        return {stage: meter.read() | {"size": size / _MEGABYTE}}
    config = {
        "type": "CocoDataset",
        "ann_file": str(path),
        "data_prefix": {"img": str(path.parent / IMAGES)},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "with_bbox": True},
            {"type": "Resize", "scale": (192, 144), "keep_ratio": True},
            {"type": "PackDetInputs"},
        ],
    }
    if stage != THEIRS:  # which has what its users have
        import_mmdetection()
    import torch
    from mmdet.registry import DATASETS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    from data_server.datasets.parts import Datasets

    DefaultScope.get_instance("scale", scope_name="mmdet")
    cv2.setNumThreads(0)  # a fork has none of the threads that OpenCV and torch would wait for
    torch.set_num_threads(1)
    if stage == PROPOSE:
        datasets = Datasets({"dataset": whole(config), "training": False, "custom_imports": None}, lambda _: None)
        return {stage: _kept(datasets, path.with_suffix(""))}
    meter = Meter()
    if stage == OURS:
        datasets = Datasets({"dataset": config, "training": True, "custom_imports": None}, lambda _: None)
        dataset, load = datasets.parts[0].dataset, datasets.parts[0].results
    else:
        classes = tuple(one["name"] for one in json.loads(path.read_bytes())["categories"])
        dataset = DATASETS.build(ConfigDict({**config, "metainfo": {"classes": classes}}))
        load = dataset.__getitem__
    found = {stage: meter.read()}
    meter = Meter()
    for place in range(BATCH):
        load(place)
    found[f"{stage}, first batch"] = meter.read()
    found[f"{stage}, worker"] = {"held": _worker(load, len(dataset))}
    return found


def _kept(datasets: Any, folder: Path) -> Figures:
    """What keeping proposals of all images costs; those that are kept are made beside the clock."""
    from data_server.workers.metrics import proposal_file

    images, spent = len(datasets), np.zeros(TENTHS)
    order = {"folder": str(folder), "model": "0" * 32, "about": "", "boxes": BOXES}
    began = time.process_time()
    proposal_file.evaluate(datasets, {**order, "first": 0}, [])
    beginning = time.process_time() - began
    for first in range(0, images, TOUCHED):
        record = _found(datasets.image_ids[first : first + TOUCHED])
        began = time.process_time()
        proposal_file.evaluate(datasets, {**order, "first": first}, [record])
        spent[first * TENTHS // images] += time.process_time() - began
    shutil.rmtree(folder)
    first_tenth, *_, last_tenth = spent / images * TENTHS * 1e3
    return {"cpu": beginning + spent.sum(), "first": first_tenth, "last": last_tenth}


def _found(image_ids: np.ndarray) -> Record:
    """Boxes in some images, as a trainer sends them."""
    images, boxes = len(image_ids), len(image_ids) * BOXES
    arrays = {
        "image_ids": image_ids,
        "counts": np.full(images, BOXES, np.int32),
        "original_shapes": np.full((images, 2), 480, np.int32),
        "boxes": np.tile(np.array([10, 10, 60, 60], np.float32), (boxes, 1)),
        "scores": np.linspace(1, 0, boxes, dtype=np.float32),
        "labels": np.zeros(boxes, np.int32),
    }
    layout = Layout.of(arrays)
    return layout.wire, memoryview(layout.filled(arrays))


def _worker(load: Any, images: int) -> float:
    """Memory in MB of its own of a fork that has loaded some images."""
    read, written = os.pipe()
    if (child := os.fork()) == 0:
        for place in np.linspace(0, images - 1, TOUCHED).astype(int).tolist():
            load(place)
        os.write(written, str(private_bytes()).encode())
        os._exit(0)
    os.close(written)
    with open(read) as answer:
        held = float(answer.read()) / _MEGABYTE
    os.waitpid(child, 0)
    return held


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(stage: str, path: Path, cache: Path) -> dict[str, Figures]:
    """Has a stage run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "--stage", stage, "--file", str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {stage: {"failed": done.returncode}}
    figures: dict[str, Figures] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(folder: Path, sizes: list[int], most_theirs: int) -> dict[int, dict[str, Figures]]:
    """The figures of all stages, by size; what is written in `folder` is removed."""
    make_photographs(folder)
    found: dict[int, dict[str, Figures]] = {}
    for images in sizes:
        path = folder / f"{images}.json"
        boxes = write(path, images)
        time.sleep(FRESH_NS / 1e9)  # a file that has just been written is hashed at every start
        print(f"\n{images:,} images, {boxes:,} boxes, {path.stat().st_size / _MEGABYTE:,.0f} MB of JSON")
        found[images] = {}
        for stage in (INDEX, SECOND, OURS, PROPOSE, *([THEIRS] if images <= most_theirs else [])):
            figures = measured(stage, path, folder / "cache")
            found[images] |= figures
            shown(figures)
        path.unlink()
    return found


def exponents(found: dict[int, dict[str, Figures]]) -> dict[str, float]:
    """How the figures that grow with the images do: the power of their number."""
    few, many = min(found), max(found)
    return {
        f"{name}, {figure}": math.log(found[many][name][figure] / value) / math.log(many / few)
        for name, figures in found[few].items()
        if name in (INDEX, OURS, PROPOSE)
        for figure, value in figures.items()
        if figure in ("cpu", "size") and value > 0 and few < many
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=list(SIZES), help="sizes (default: %(default)s)")
    parser.add_argument("--most-theirs", type=int, default=MOST_THEIRS, help="MMDetection is left out above that")
    parser.add_argument("--folder", type=Path, help="where files are written; 8 GB for the largest size")
    parser.add_argument("--stage", help=argparse.SUPPRESS)  # of a process of its own
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        with contextlib.redirect_stdout(sys.stderr):
            figures = measure(options.stage, options.file)
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-scale-", dir=options.folder) as folder:
        found = compare(Path(folder), options.images, options.most_theirs)
    growth = exponents(found)
    for name, exponent in growth.items():
        print(f"growth of {name}: images^{exponent:.2f}")
    write_results(RESULTS / "scale.json", {"machine": machine(), "sizes": found, "growth": growth})


if __name__ == "__main__":
    main()

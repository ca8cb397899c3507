"""What an evaluation costs: the data server's evaluator beside MMDetection's metric, over the same predictions.

    python -m benchmarks.evaluation [--kind coco|lvis] [--images N] [--boxes N] [--classes N] [--folder DIR]

An annotation file is written (`benchmarks.annotation_file`), and detections are drawn for it, as many for every image:
most near an object, many with equal scores. Each side judges them in a process of its own; ours twice, as an evaluator
does that stays for its trainer's next evaluation:

    ours           the evaluator of a stream, over the index of the annotation file, which is there already
    ours again     the same process, the same predictions
    MMDetection    its CocoMetric or LVISMetric, from the annotation file

`cpu` is the process' own seconds; `peak` is its anonymous memory at its largest, beyond what it had when its libraries,
the data set and the predictions were there. Every number of both is compared, to 1e-6.

LVISMetric over the 19,809 images and 1,203 classes of LVIS v1 needs more than 15 GB. With ``--classes 40`` it judges 40
classes after the others (`benchmarks.lvis_by_classes`): `cpu` is the sum, `peak` the largest; all of them at once would
need more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import ConfigDict

from benchmarks.annotation_file import COCO, LVIS, Form, write
from benchmarks.rounds import REPOSITORY, RESULTS, machine, shown, write_results
from benchmarks.scale import Figures, Meter
from shared.layout import Layout
from shared.predictions import arrays_of

IMAGES, BOXES = 5_000, 300
LVIS_BOXES = 300  # of an image, the best of which LVIS takes
OURS, AGAIN, THEIRS = "ours", "ours again", "MMDetection"
_AT_A_TIME = 16  # images of a message
_SIDES = 600, 400


@dataclass(frozen=True)
class Kind:
    """A data set that is judged, and how."""

    form: Form
    dataset: str
    metric: str

    @property
    def evaluator(self) -> dict[str, Any]:
        """The entry of ``val_evaluator``."""
        return {"type": self.metric, "metric": "bbox", "classwise": True}


KINDS = {"coco": Kind(COCO, "CocoDataset", "CocoMetric"), "lvis": Kind(LVIS, "LVISV1Dataset", "LVISMetric")}
Detections = tuple[np.ndarray, np.ndarray, np.ndarray]


def detections(path: Path, boxes: int) -> Iterator[tuple[int, Detections]]:
    """The id of each image, and what is found there: boxes f32 (N, 4) x1, y1, x2, y2, scores f32 (N,), labels (N,)."""
    random, content = np.random.default_rng(0), json.loads(path.read_bytes())
    label_of = {one["id"]: label for label, one in enumerate(content["categories"])}
    truth: dict[int, list[list[float]]] = {one["id"]: [] for one in content["images"]}
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        truth[one["image_id"]].append([x, y, x + width, y + height, label_of[one["category_id"]]])
    for identity, objects in truth.items():
        corners = random.uniform(0, _SIDES, (boxes, 2))
        found = np.column_stack([corners, corners + random.uniform(4, 200, (boxes, 2)), np.zeros(boxes)])
        found[:, 4] = random.integers(len(label_of), size=boxes)
        if objects:
            near = random.random(boxes) < 0.3
            some = np.array(objects)[random.integers(len(objects), size=boxes)]
            some[:, :4] += random.normal(0, 4, (boxes, 4))
            found[near] = some[near]
        scores = random.random(boxes).round(3).astype(np.float32)
        yield identity, (found[:, :4].astype(np.float32), scores, found[:, 4].astype(np.int32))


def measure(side: str, kind: Kind, path: Path, boxes: int, classes: int | None) -> dict[str, Figures]:
    """Runs a side in this process; its figures, and under `numbers` its metrics."""
    with contextlib.redirect_stdout(sys.stderr):
        return _ours(kind, path, boxes) if side == OURS else _theirs(kind, path, boxes, classes)


def _ours(kind: Kind, path: Path, boxes: int) -> dict[str, Figures]:
    from data_server.datasets.parts import Datasets
    from data_server.workers import evaluator

    config = {
        "type": kind.dataset,
        "ann_file": str(path),
        "pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}],
    }
    datasets = Datasets({"dataset": config, "training": False, "custom_imports": None}, lambda _: None)
    records = [*_records(detections(path, boxes))]
    found = {}
    for name in (OURS, AGAIN):
        meter = Meter()
        numbers = evaluator.evaluate(datasets, [kind.evaluator], records)
        found[name] = {**meter.read(), "numbers": numbers}
    return found


def _records(found: Iterator[tuple[int, Detections]]) -> Iterator[tuple[bytes, memoryview]]:
    """PREDICTIONS messages."""
    images = [*found]
    for start in range(0, len(images), _AT_A_TIME):
        identities, some = zip(*images[start : start + _AT_A_TIME], strict=True)
        arrays = arrays_of(identities, [_SIDES[::-1]] * len(some), some)
        layout = Layout.of(arrays)
        yield layout.wire, layout.filled(arrays).data


def _theirs(kind: Kind, path: Path, boxes: int, classes: int | None) -> dict[str, Figures]:
    import torch
    from mmdet.registry import METRICS

    vars(np).setdefault("float", float)  # lvis 0.5.3 says np.float; numpy no longer does
    names = [one["name"] for one in json.loads(path.read_bytes())["categories"]]
    found = [*detections(path, boxes)]
    figures: Figures = {"cpu": 0.0, "peak": 0.0, "held": 0.0}

    def run(file: Path, some: list[str], labels: range) -> dict[str, float]:
        meter = Meter()
        metric = METRICS.build(ConfigDict(kind.evaluator, ann_file=str(file)))
        metric.dataset_meta = {"classes": some}
        for identity, arrays in found:
            of_them = (arrays[2] >= labels.start) & (arrays[2] < labels.stop)
            box, score, label = (torch.tensor(array[of_them]) for array in arrays)
            instances = {"bboxes": box, "scores": score, "labels": label - labels.start}
            metric.process({}, [{"img_id": identity, "ori_shape": _SIDES[::-1], "pred_instances": instances}])
        said = {name: float(value) for name, value in metric.evaluate(len(found)).items()}
        del metric
        now = meter.read()
        figures["cpu"] += now.pop("cpu")
        figures.update({key: max(figures[key], value) for key, value in now.items()})
        return said

    if classes is None:
        numbers = run(path, names, range(len(names)))
    else:
        from benchmarks import lvis_by_classes

        numbers = lvis_by_classes.numbers(path, classes, run)
    return {THEIRS: {**figures, "numbers": numbers}}


def compare(kind: str, path: Path, boxes: int, classes: int | None, cache: Path) -> dict[str, Figures]:
    """The figures of both sides. Raises SystemExit as `equal` does."""
    found: dict[str, Figures] = {}
    for side in (OURS, THEIRS):
        options = {"--side": side, "--kind": kind, "--file": path, "--boxes": boxes}
        if classes:
            options["--classes"] = classes
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.evaluation"]
            + [str(word) for option in options.items() for word in option],
            cwd=REPOSITORY,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found |= json.loads(done.stdout.splitlines()[-1])
    ours, again, theirs = (found[name].pop("numbers") for name in (OURS, AGAIN, THEIRS))
    found["equal numbers"] = {"count": equal(ours, theirs)}
    equal(again, theirs)
    return found


def equal(ours: dict[str, float], theirs: dict[str, float]) -> int:
    """How many numbers there are.

    Raises:
        SystemExit: they are not the same, to 1e-6.
    """
    if ours.keys() != theirs.keys():
        raise SystemExit(f"not both have {sorted(ours.keys() ^ theirs.keys())}")
    for name, value in ours.items():
        if not np.isclose(value, theirs[name], rtol=0, atol=1e-6, equal_nan=True):
            raise SystemExit(f"{name} is {value}, MMDetection's is {theirs[name]}")
    return len(ours)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=KINDS, default="coco", help="of data set and metric (default: %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="of the data set (default: %(default)s)")
    parser.add_argument("--boxes", type=int, default=BOXES, help="that are found in each (default: %(default)s)")
    parser.add_argument("--classes", type=int, help="MMDetection judges so many of LVIS at a time (default: all)")
    parser.add_argument("--folder", type=Path, help="where the annotation file is written")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # of a process of its own
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.classes and (options.kind != "lvis" or options.boxes > LVIS_BOXES):
        parser.error(f"--classes is for --kind lvis with {LVIS_BOXES} boxes in an image at most")
    if options.side:
        figures = measure(options.side, KINDS[options.kind], options.file, options.boxes, options.classes)
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-evaluation-", dir=options.folder) as folder:
        path = Path(folder) / "annotations.json"
        truth = write(path, options.images, KINDS[options.kind].form)
        print(f"{options.images:,} images, {truth:,} objects, {options.boxes} boxes found in each image")
        load = os.getloadavg()[0]
        found = compare(options.kind, path, options.boxes, options.classes, Path(folder) / "cache")
    shown(found)
    print(f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    write_results(
        RESULTS / "evaluation.json",
        {"machine": machine(), "kind": options.kind, "images": options.images, "boxes": options.boxes, "sides": found},
    )


if __name__ == "__main__":
    main()

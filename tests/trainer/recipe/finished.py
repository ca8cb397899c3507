"""A recipe that has come to its end, without a step having been run: what its steps leave, made up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from trainer.recipe.state import DONE, Entry
from trainer.recipe.steps import Recipe, Step

NAMES = ["cat", "dog", "red star"]
IMAGES = 6
SIZE = (90, 120)  # height, width


def write(folder: Path) -> tuple[Recipe, dict[str, Entry]]:
    """Two trainings, a calibration and two evaluations below `folder`, and their data set in ``folder/data``."""
    _data_set(folder / "data")
    dataset = {"ann_file": "val.json", "data_prefix": {"img": "val"}, "data_root": str(folder / "data")}
    evaluated = Config(
        {
            "model": {"roi_head": {"bbox_head": {"gamma": 0.3}}},
            "val_evaluator": {"type": "CocoMetric"},
            "val_dataloader": {"dataset": dataset},
            "randomness": {"seed": 7},
        }
    )
    steps = [
        _step("cln", "train", evaluated),
        _step("stage_2", "train", evaluated),
        _step("counts", "calibrate", evaluated),
        _step("both", "evaluate", evaluated, ("counts",), "two stages"),
        _step("recall", "evaluate", evaluated, (), "proposals"),
    ]
    recipe = Recipe(
        *(folder / "recipe.py", "Open-world detection", steps, {"bbox_mAP_50": "AP50"}, {"val": "seen names"}),
        *("Evaluated on names that were seen in training.", "The largest of a column is bold.", folder),
    )
    for name, rate in (("cln", 900.0), ("stage_2", 300.0)):
        _training(folder / name, rate)
    made = {"counts": [40, 3, 0], "gamma": 0.3, "images": IMAGES, "names": NAMES}
    _put(folder / "counts" / "calibration.json", made)
    results = {"val": {"bbox_mAP_50": 0.61}, "val, calibrated": {"bbox_mAP_50": 0.72}}
    _put(folder / "both" / "results.json", {"results": results})
    _put(folder / "recall" / "results.json", {"results": {"val": {"AR@10": 0.4, "AR@100": 0.7}}})
    _predictions(folder / "both" / "predictions_val.npz")
    entries = {step.name: Entry(DONE, "", f"python -m trainer {step.task}", 12.3) for step in steps}
    return recipe, entries


def _step(name: str, task: str, config: Config, needs: tuple[str, ...] = (), title: str = "") -> Step:
    return Step(name, task, config, None, needs, (), title or name)


def _put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _training(folder: Path, rate: float) -> None:
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for step in range(10, 2010, 10):
        losses = {"loss": 2 * math.exp(-step / rate) + 0.2, "loss_cls": math.exp(-step / rate) + 0.1}
        lines.append({"kind": "train", "step": step, "epoch": 1, **losses, "lr": 0.01 if step < 1500 else 0.001})
    for name in ("val_base", "val_never_seen"):
        lines.append({"kind": "val", "step": 2000, "epoch": 1, "name": name, "AR@10": 0.3, "AR@100": 0.6})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _boxes(image: int) -> np.ndarray:
    """x1,y1,x2,y2 (2,4) of the objects in an image: a cat and a dog."""
    return np.array([[10, 20, 50, 60], [60, 10, 110, 70]], float) + image


def _data_set(folder: Path) -> None:
    """`IMAGES` grey pictures; the last one has a crowd, a category that no vocabulary has, and nothing else."""
    annotations: list[dict[str, Any]] = []
    images = []
    for number in range(IMAGES):
        path = folder / "val" / f"image_{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SIZE, 3), 90 + 10 * number, np.uint8)).save(path)
        images.append({"id": 100 + number, "file_name": path.name, "width": SIZE[1], "height": SIZE[0]})
        for category, (x1, y1, x2, y2) in enumerate(_boxes(number)):
            crowd = {"iscrowd": 1} if number == IMAGES - 1 else {}
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"image_id": 100 + number, "category_id": 10 + category, "bbox": box, **crowd})
    categories = [{"id": 10 + number, "name": name} for number, name in enumerate(NAMES)]
    _put(folder / "val.json", {"images": images, "annotations": annotations, "categories": categories})


def _predictions(path: Path) -> None:
    """Image 0 has its objects, the others have less and less of them."""
    boxes = np.concatenate([_boxes(number) + 12 * number for number in range(IMAGES)]).astype(np.float32)
    np.savez_compressed(
        path,
        image_ids=np.arange(100, 100 + IMAGES),
        counts=np.full(IMAGES, 2, np.int32),
        boxes=boxes,
        scores=np.tile(np.array([0.9, 0.6], np.float32), IMAGES),
        labels=np.tile(np.array([0, 1], np.int32), IMAGES),
    )

"""What counts in the report is what the evaluation's own metric counts: against pycocotools and lvis-api."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainer.recipe.judged import judged_by
from trainer.recipe.steps import Step
from trainer.reporting.curve_parts import curve_parts
from trainer.reporting.judged import Judged
from trainer.reporting.mistakes import find
from trainer.reporting.parts.curves import Curves

IMAGES, CLASSES = 6, 5
LVIS_HOST = "http://images.cocodataset.org/"
Found = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def boxes_of(random: np.random.Generator, count: int) -> np.ndarray:
    """x, y, width, height (count,4), of all three sizes."""
    sides = random.choice([14.0, 50.0, 120.0], (count, 1)) * random.uniform(0.8, 1.2, (count, 2))
    return np.hstack([random.uniform(0, 60, (count, 2)), sides])


def content_of(seed: int) -> dict[str, Any]:
    """An annotation file with crowds, areas that are less than the boxes', and what LVIS says of its images."""
    random = np.random.default_rng(seed)
    ids = [3 * number + 1 for number in range(CLASSES)]
    annotations = []
    for number, box in enumerate(boxes_of(random, 40).tolist()):
        one = {"id": number + 1, "image_id": int(random.integers(IMAGES)) + 1, "bbox": box, "segmentation": []}
        one |= {"area": box[2] * box[3] * random.uniform(0.4, 1), "iscrowd": int(random.random() < 0.1)}
        annotations.append(one | {"category_id": int(random.choice(ids[:-1]))})
    images = []
    for number in range(1, IMAGES + 1):
        one = {"id": number, "width": 200, "height": 200, "coco_url": f"{LVIS_HOST}val2017/{number}.jpg"}
        one |= {"file_name": f"{number}.jpg", "neg_category_ids": random.choice(ids, 2, replace=False).tolist()}
        images.append(one | {"not_exhaustive_category_ids": random.choice(ids, 1).tolist()})
    categories = [{"id": one, "name": f"class {one}", "frequency": "f"} for one in ids]
    return {"images": images, "annotations": annotations, "categories": categories}


def found_in(content: dict[str, Any], seed: int, count: int) -> Found:
    """Corners, scores and labels in each image, many of them near an object."""
    random = np.random.default_rng(seed + 1000)
    found = []
    for image in content["images"]:
        boxes, labels = boxes_of(random, count), random.integers(0, CLASSES, count)
        own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        for row in np.flatnonzero(random.random(count) < 0.6) if own else ():
            one = own[random.integers(len(own))]
            boxes[row] = np.array(one["bbox"]) + random.normal(0, 3, 4)
            labels[row] = (one["category_id"] - 1) // 3
        boxes[:, 2:] += boxes[:, :2]
        scores = random.permutation(10 * count)[:count] / (10 * count)
        found.append((boxes.astype(np.float32), scores.astype(np.float32), labels.astype(np.int32)))
    return found


def evaluated(folder: Path, found: list[Found], image_ids: list[int], evaluator: Any, *parts: dict[str, Any]) -> Judged:
    """What `judged_by` makes of detections in all images of the data sets `parts`."""
    every = [one for of_part in found for one in of_part]
    counts = np.array([len(scores) for _, scores, _ in every])
    arrays = dict(zip(("boxes", "scores", "labels"), map(np.concatenate, zip(*every, strict=True)), strict=True))
    np.savez(folder / "predictions_val.npz", image_ids=np.array(image_ids), counts=counts, **arrays)
    dataset = {"type": "ConcatDataset", "datasets": list(parts)} if len(parts) > 1 else parts[0]
    config = Config(
        {"val_dataloader": {"dataset": dataset}, "val_evaluator": evaluator, "data_root": str(folder)},
    )
    judged = judged_by(Step("both", "evaluate", config, None, (), (), "both"), folder)
    assert judged is not None
    return judged


def put(folder: Path, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Writes an annotation file, for a data set of MMDetection's."""
    (folder / f"{name}.json").write_text(json.dumps(content))
    return {"type": "CocoDataset", "ann_file": f"{name}.json"}


def rows_of(judged: Judged, title: str) -> dict[tuple, float]:
    """AP50 by a row's name."""
    parts = curve_parts(find(judged.results), replace(judged, load=lambda _: np.zeros((200, 200, 3), np.uint8)))
    (rows,) = [part.rows for part in parts if isinstance(part, Curves) and part.title == title]
    names = len(rows[0].cells) - 4
    return {tuple(row.cells[:names]): row.cells[names] for row in rows}  # type: ignore[misc]


def as_coco(content: dict[str, Any], found: Found) -> list[dict[str, Any]]:
    ids = [one["id"] for one in content["categories"]]
    return [
        {
            "image_id": image["id"],
            "category_id": ids[label],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
        }
        for image, (boxes, scores, labels) in zip(content["images"], found, strict=True)
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
    ]


def pycocotools(file: Path, found: Found, nums: tuple[int, ...]) -> np.ndarray:
    """AP50 by class and size (classes, 4): of all sizes, then of small, medium and large; NaN where there is none."""
    with contextlib.redirect_stdout(None):
        truth = COCO(str(file))
        judged = COCOeval(truth, truth.loadRes(as_coco(truth.dataset, found)), "bbox")
        judged.params.maxDets = list(nums)
        judged.evaluate()
        judged.accumulate()
    return _means(judged.eval["precision"][0, :, :, :, -1])


def _means(precisions: np.ndarray) -> np.ndarray:
    """Of precisions (101, classes, sizes), -1 where there is no ground truth."""
    return np.where((precisions < 0).any(0), np.nan, precisions.mean(0))


@pytest.mark.parametrize("nums", [(100, 300, 1000), (1, 2, 3)])
def test_each_of_several_data_sets_is_counted_as_pycocotools_counts_it_alone(
    nums: tuple[int, ...], tmp_path: Path
) -> None:
    contents = {"cars": content_of(0), "shop": content_of(1)}
    parts = [put(tmp_path, name, content) for name, content in contents.items()]
    found = [found_in(content, seed, 40) for seed, content in enumerate(contents.values())]
    evaluator = {"type": "mmdet.CocoMetric", "proposal_nums": nums}
    # Both have images 1 to 6, so predictions say which place an image has.
    judged = evaluated(tmp_path, found, list(range(2 * IMAGES)), evaluator, *parts)
    expected = [pycocotools(tmp_path / f"{name}.json", own, nums) for name, own in zip(contents, found, strict=True)]
    rows = rows_of(judged, "By data set")
    means = [np.nanmean(one[:, 0]) for one in expected]
    assert list(rows.items()) == [(("cars",), pytest.approx(means[0])), (("shop",), pytest.approx(means[1]))]
    by_class = rows_of(judged, "By class")
    for name, one in zip(contents, expected, strict=True):
        for label, category in enumerate(contents[name]["categories"]):
            assert by_class[category["name"], name] == pytest.approx(one[label, 0], nan_ok=True)
    sizes = list(rows_of(judged, "By size").values())
    assert sizes == [pytest.approx(np.nanmean([one[:, size] for one in expected])) for size in (1, 2, 3)]
    assert np.isnan(by_class["class 13", "cars"])  # detected, and annotated nowhere


def test_what_lvis_leaves_out_is_left_out(tmp_path: Path) -> None:
    api = pytest.importorskip("lvis")
    content = content_of(2)
    for one in content["annotations"]:
        del one["iscrowd"]
    part = put(tmp_path, "lvis", content) | {"type": "LVISV1Dataset"}
    found = found_in(content, 2, 400)
    judged = evaluated(tmp_path, [found], list(range(1, IMAGES + 1)), {"type": "LVISMetric"}, part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(np), "float", float)  # which its last release says, and numpy no longer does
        truth = api.LVIS(str(tmp_path / "lvis.json"))
        their = api.LVISEval(truth, api.LVISResults(truth, as_coco(content, found), max_dets=300), "bbox")
        their.evaluate()
        their.accumulate()
    expected = _means(their.eval["precision"][0])
    by_class = rows_of(judged, "By class")
    for label, category in enumerate(content["categories"]):
        if (category["name"],) in by_class:
            assert by_class[category["name"],] == pytest.approx(expected[label, 0], nan_ok=True)
    assert sum(0 < value < 1 for value in by_class.values()) == CLASSES - 1
    assert list(rows_of(judged, "By size").values()) == pytest.approx(np.nanmean(expected[:, 1:], 0).tolist())
    for result, (_, scores, _) in zip(judged.results, found, strict=True):
        assert result.scores.min() >= np.sort(scores)[-300]
    # By COCO's metric the same detections are other mistakes.
    by_coco = evaluated(tmp_path, [found], list(range(1, IMAGES + 1)), {"type": "CocoMetric"}, part)
    assert rows_of(by_coco, "By class") != by_class
    assert "As LVISMetric does" in judged.rule and "LVIS" not in by_coco.rule
    assert judged.results[0].title == "1.jpg"


@pytest.mark.parametrize(
    ("evaluator", "rule"),
    [
        ({"type": "mmdet.VOCMetric"}, "The evaluation's own VOCMetric counts in another way."),
        ([{"type": "VOCMetric"}, {"type": "CocoMetric"}], "it is their mean."),
        ({"type": "CocoMetric"}, "it is their mean."),
    ],
)
def test_another_metric_than_cocos_is_said_to_count_otherwise(evaluator: Any, rule: str, tmp_path: Path) -> None:
    content = content_of(3)
    part, found = put(tmp_path, "voc", content), found_in(content, 3, 10)
    judged = evaluated(tmp_path, [found], list(range(1, IMAGES + 1)), evaluator, part)
    assert judged.rule.endswith(rule) and "IoU 0.5" in judged.rule
    assert judged.sources == ["voc"]


def test_data_sets_are_called_as_their_metrics_call_them(tmp_path: Path) -> None:
    content = content_of(4)
    part, found = put(tmp_path, "val", content), found_in(content, 4, 10)
    ids = list(range(2 * IMAGES))
    judged = evaluated(tmp_path, [found, found], ids, {"type": "CocoMetric"}, part, part)
    assert judged.sources == ["val_0", "val_1"]
    several = {
        "type": "MultiDatasetsEvaluator",
        "metrics": [{"type": "CocoMetric"}] * 2,
        "dataset_prefixes": ["x", "y"],
    }
    assert evaluated(tmp_path, [found, found], ids, several, part, part).sources == ["x", "y"]


def test_a_detector_that_tells_no_classes_apart_has_one(tmp_path: Path) -> None:
    content = content_of(5)
    part = put(tmp_path, "val", content) | {"class_agnostic": True}
    found: Found = [(boxes, scores, labels * 0) for boxes, scores, labels in found_in(content, 5, 10)]
    judged = evaluated(tmp_path, [found], list(range(1, IMAGES + 1)), {"type": "CocoMetric"}, part)
    assert list(rows_of(judged, "By class")) == [("object",)]

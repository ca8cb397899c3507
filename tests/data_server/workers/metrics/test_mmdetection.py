"""The numbers of the data server's metrics are those of pycocotools, and of the rules of VOC and OpenImages, computed
here from the files without any of the data server's code."""

import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shared.errors import UserError
from tests.photos import (
    CLASSES,
    CROWD,
    IMAGES,
    VAL_PIPELINE,
    annotations_of,
    config_of,
    write_annotations,
    write_open_images,
)

ROUNDING = 0.5e-3 + 1e-6  # MMDetection's CocoMetric and VOCMetric give three decimals


@pytest.fixture(scope="module")
def detections(photos):
    """COCO results: true boxes shifted, some missed, some of another class, and nonsense; unequal scores."""
    random = np.random.default_rng(5)
    found = []
    for one in annotations_of(photos)["annotations"]:
        for _ in range(int(random.integers(0, 4))):
            box = np.array(one["bbox"]) + random.normal(0, 2.5, 4)
            category = one["category_id"] if random.random() < 0.8 else int(random.integers(1, 4))
            found.append({"image_id": one["image_id"], "category_id": category, "bbox": box})
    for image in annotations_of(photos)["images"]:
        box = np.array([*random.uniform(0, 30, 2), *random.uniform(5, 25, 2)])
        found.append({"image_id": image["id"], "category_id": int(random.integers(1, 4)), "bbox": box})
    for one in found:
        x, y, w, h = np.asarray(one["bbox"], np.float32)
        corners = np.array([x, y, x + max(w, 2), y + max(h, 2)], np.float32)  # as they travel
        one["bbox"] = [*map(float, corners[:2]), *map(float, corners[2:] - corners[:2])]
        one["corners"] = corners
        one["score"] = float(np.float32(random.uniform(0.05, 0.95)))
    return found


def as_predictions(photos, detections):
    """The same as a trainer sends them, in two messages."""
    images = annotations_of(photos)["images"]
    for part in (images[:5], images[5:]):
        rows = [[one for one in detections if one["image_id"] == image["id"]] for image in part]
        flat = [one for of_image in rows for one in of_image]
        yield {
            "image_ids": np.array([image["id"] for image in part], np.int64),
            "counts": np.array([len(of_image) for of_image in rows], np.int32),
            "original_shapes": np.array([(image["height"], image["width"]) for image in part], np.int32),
            "boxes": np.array([one["corners"] for one in flat], np.float32).reshape(-1, 4),
            "scores": np.array([one["score"] for one in flat], np.float32),
            "labels": np.array([one["category_id"] - 1 for one in flat], np.int32),
        }


def evaluated(cluster, photos, detections, metric, **dataset):
    client = cluster.open(config_of(photos, "val", **dataset), epochs=1)
    return client.evaluate(as_predictions(photos, detections), [metric])


def coco_stats(photos, detections, agnostic, numbers):
    truth = COCO(str(photos / "all.json"))
    keys = ("image_id", "category_id", "bbox", "score")
    judged = COCOeval(truth, truth.loadRes([{key: one[key] for key in keys} for one in detections]), "bbox")
    judged.params.maxDets = list(numbers)
    judged.params.useCats = int(not agnostic)
    judged.evaluate()
    judged.accumulate()
    return judged


def precision(judged, threshold=None):
    values = judged.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
    values = values if threshold is None else values[judged.params.iouThrs == threshold]
    return values[values > -1].mean()


def test_average_precision_is_that_of_pycocotools(cluster, photos, detections):
    metric = {"type": "CocoMetric", "metric": "bbox", "classwise": True}
    values = evaluated(cluster, photos, detections, metric)
    judged = coco_stats(photos, detections, False, (100, 300, 1000))
    expected = {
        "coco/bbox_mAP": precision(judged),
        "coco/bbox_mAP_50": precision(judged, 0.5),
        "coco/bbox_mAP_75": precision(judged, 0.75),
    }
    for number, name in enumerate(CLASSES):
        of_class = judged.eval["precision"][:, :, number, 0, -1]
        expected[f"coco/{name}_precision"] = of_class[of_class > -1].mean()
    for name, value in expected.items():
        assert 0.02 < value < 0.98, "too easy to tell anything"
        assert values[name] == pytest.approx(round(float(value), 3), abs=1e-6), name
        assert values[name] == pytest.approx(value, abs=ROUNDING), name


def test_class_agnostic_recall_and_precision_are_those_of_pycocotools(cluster, photos, detections):
    metric = {
        "type": "CocoMetric",
        "metric": "proposal",
        "proposal_nums": [1, 2, 5],
        "metric_items": ["AR@100", "AR@300", "AR@1000"],
    }
    values = evaluated(cluster, photos, detections, metric, class_agnostic=True, metainfo=None)
    judged = coco_stats(photos, detections, True, (1, 2, 5))
    recalls = judged.eval["recall"][:, 0, 0, :].mean(0)
    assert len(set(recalls.round(3))) == 3 and 0.1 < recalls[0] < recalls[2] < 0.98
    for number, recall in zip((1, 2, 5), recalls, strict=True):
        assert values[f"coco/AR@{number}"] == pytest.approx(round(float(recall), 3), abs=1e-6)


def voc_ap(truth, found, overlap):
    """The area under the precision envelope of one class.

    Args:
        truth: {image: (boxes (n,4), ignored (n,))}; found: [(score, image, box)].
        overlap: (box, boxes) -> overlaps.
    """
    taken = {image: np.zeros(len(boxes), bool) for image, (boxes, _) in truth.items()}
    hits = []
    for _, image, box in sorted(found, key=lambda one: -one[0]):
        boxes, ignored = truth.get(image, (np.zeros((0, 4)), np.zeros(0, bool)))
        overlaps = overlap(box, boxes)
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best >= 0 and overlaps[best] >= 0.5 and not ignored[best]:
            hits.append(not taken[image][best])
            taken[image][best] = True
        elif best < 0 or overlaps[best] < 0.5:
            hits.append(False)
    total = sum(int((~ignored).sum()) for _, ignored in truth.values())
    hits = np.array(hits, bool)
    recalls = np.concatenate([[0], hits.cumsum() / total, [1]])
    precisions = np.concatenate([[0], hits.cumsum() / (np.arange(len(hits)) + 1), [0]])
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(((recalls[1:] - recalls[:-1]) * envelope[1:]).sum())


def overlaps_of(box, boxes, extra):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low + extra, 0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2] + extra).prod(1)
    return shared / ((box[2:] - box[:2] + extra).prod() + areas - shared)


def test_voc_average_precision_follows_vocs_rules(cluster, photos, detections):
    values = evaluated(cluster, photos, detections, {"type": "VOCMetric", "metric": "mAP", "eval_mode": "area"})
    content, precisions = annotations_of(photos), []
    for category in (1, 2, 3):
        truth = {image["id"]: ([], []) for image in content["images"]}
        for one in content["annotations"]:
            if one["category_id"] == category:
                x, y, w, h = one["bbox"]
                truth[one["image_id"]][0].append([x, y, x + w, y + h])
                truth[one["image_id"]][1].append(bool(one["iscrowd"]))
        arrays = {
            image: (np.array(boxes, float).reshape(-1, 4), np.array(marks, bool))
            for image, (boxes, marks) in truth.items()
        }
        found = [
            (one["score"], one["image_id"], one["corners"]) for one in detections if one["category_id"] == category
        ]
        precisions.append(voc_ap(arrays, found, lambda box, boxes: overlaps_of(box, boxes, 1)))
    assert 0.05 < np.mean(precisions) < 0.95
    assert values["pascal_voc/mAP"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert values["pascal_voc/AP50"] == pytest.approx(np.mean(precisions), abs=ROUNDING)
    assert {one["image_id"] for one in content["annotations"] if one["iscrowd"]} == {100 + CROWD}


def recall(photos, detections, number, threshold):
    """The share of all boxes that the first `number` detections of each image, of whatever class, find one to one."""
    content = annotations_of(photos)
    found = total = 0
    for image in content["images"]:
        boxes = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"] and not one["iscrowd"]]
        best = [one for one in detections if one["image_id"] == image["id"]][:number]
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], float).reshape(-1, 4)
        table = np.array([overlaps_of(one["corners"].astype(float), corners, 0) for one in best])
        total += len(boxes)
        for _ in range(min(table.shape) if table.size else 0):  # the closest pair first, as MMDetection does it
            row, column = np.unravel_index(table.argmax(), table.shape)
            found += table[row, column] >= threshold
            table[row], table[:, column] = -1, -1
    return found / total


def test_recalls_that_mmdetection_computes_itself_work_with_this_numpy(cluster, photos, detections):
    fast = {"type": "CocoMetric", "metric": "proposal_fast", "proposal_nums": (1, 100), "iou_thrs": [0.5, 0.7]}
    values = evaluated(cluster, photos, detections, fast)
    for number in (1, 100):
        expected = np.mean([recall(photos, detections, number, threshold) for threshold in (0.5, 0.7)])
        assert 0.05 < expected < 0.95
        assert values[f"coco/AR@{number}"] == pytest.approx(expected, abs=ROUNDING)
    values = evaluated(cluster, photos, detections, {"type": "VOCMetric", "metric": "recall"})
    assert len(values) > 1 and all(0 < value < 1 for value in values.values()), values


def test_a_metric_that_needs_iscrowd_says_what_to_write(cluster, photos, detections, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    content = annotations_of(photos)
    for one in content["annotations"]:
        del one["iscrowd"]
    write_annotations(tmp_path / "set", content)
    with pytest.raises(
        UserError, match=r"^metric 'CocoMetric': annotations have no 'iscrowd'; write \"iscrowd\": 0 into"
    ):
        evaluated(cluster, tmp_path / "set", detections, {"type": "CocoMetric", "metric": "bbox"})


def test_openimages_metric_counts_parents_of_what_is_found(cluster, photos, tmp_path):
    dataset = write_open_images(photos, tmp_path)
    content = annotations_of(photos)
    client = cluster.open(config_of(photos, "val", **dataset), epochs=1)
    assert client.welcome.images == IMAGES - 1
    perfect = []
    for index, image in enumerate(image for image in content["images"] if image["id"] != 111):
        boxes = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in boxes)]
        names = client.welcome.classes[0]
        perfect.append(
            {
                "image_ids": np.array([int(image["file_name"][:2]) if index >= 0 else 0], np.int64),
                "counts": np.array([len(boxes)], np.int32),
                "original_shapes": np.array([[image["height"], image["width"]]], np.int32),
                "boxes": np.array(corners, np.float32),
                "scores": np.full(len(boxes), 0.9, np.float32),
                "labels": np.array([names.index(CLASSES[one["category_id"] - 1]) for one in boxes], np.int32),
            }
        )
    metric = {"type": "OpenImagesMetric"}
    assert client.evaluate(perfect, [metric])["openimages/mAP"] == 1.0
    client = cluster.open(config_of(photos, "val", **dataset), epochs=1)
    without_parents = client.evaluate(perfect, [{**metric, "get_supercategory": False}])
    assert without_parents["openimages/mAP"] == 1.0
    client = cluster.open(config_of(photos, "val", **dataset), epochs=1)
    half = client.evaluate([one | {"labels": 0 * one["labels"]} for one in perfect], [metric])["openimages/mAP"]
    assert half == pytest.approx(1 / 4, abs=1e-6)  # all found, as things alone


def test_a_test_pipeline_without_boxes_is_judged_all_the_same(cluster, photos, detections):
    without = tuple(step for step in VAL_PIPELINE if step["type"] != "LoadAnnotations")
    metric = {"type": "VOCMetric", "metric": "mAP"}
    one, other = (evaluated(cluster, photos, detections, metric, pipeline=steps) for steps in (without, VAL_PIPELINE))
    assert one == other

"""The metrics over arrays give MMDetection's numbers, all of them, whatever the annotations, detections and options."""

import contextlib
import copy
import json
import os

import numpy as np
import pytest
import torch
from mmdet.evaluation.metrics import CocoMetric, LVISMetric, lvis_metric
from pycocotools.cocoeval import COCOeval

from data_server.datasets import ground_truth
from data_server.datasets.ground_truth import Unusual
from data_server.workers.array_metrics import over_arrays
from data_server.workers.metrics import mmdetection
from shared.errors import UserError
from tests.data_server.judging import built, detections, judge, mmdetections
from tests.photos import annotations_of, config_of

CASES = int(os.environ.get("METRIC_CASES", "40"))  # 2,500 were equal when this was written
COCO = {"type": "CocoMetric", "metric": ["bbox", "proposal"], "classwise": True}
SIDE = 200


def scene(random, lvis):
    """A file's content with crowds, touching and empty boxes, areas on the edges of small, medium and large, and ids in
    any order."""
    images, classes, boxes = random.integers(1, 8), random.integers(1, 6), random.integers(0, 30)
    category_ids = random.permutation(20)[:classes].tolist()
    image_ids = random.permutation(50)[:images].tolist()
    if not lvis and random.random() < 0.2:
        image_ids = [f"{'' if random.random() < 0.5 else 'x'}{one}" for one in image_ids]
    content = {
        "images": [{"id": one, "width": SIDE, "height": SIDE, "file_name": ""} for one in image_ids],
        "categories": [
            {"id": one, "name": f"class {one}", "frequency": "rcf"[random.integers(3)]} for one in category_ids
        ],
        "annotations": [],
    }
    numbers = random.permutation(100)[:boxes] + 1
    for number, box in zip(numbers.tolist(), boxes_like_objects(random, boxes).tolist(), strict=True):
        edges = [0, 32**2, 96**2, 32**2 + 1e-4, 1e10, 2e10]
        content["annotations"].append(
            {
                "id": number,
                "image_id": image_ids[random.integers(images)],
                "category_id": category_ids[random.integers(classes)],
                "bbox": box,
                "area": box[2] * box[3] if random.random() < 0.6 else random.choice(edges),
                "iscrowd": int(random.random() < 0.15),
                "segmentation": [[1, 1, 2, 2, 3, 3]],
            }
        )
    if lvis:
        for image in content["images"]:
            image["neg_category_ids"] = random.permutation(category_ids)[: random.integers(0, 3)].tolist()
            image["not_exhaustive_category_ids"] = random.permutation(category_ids)[: random.integers(0, 3)].tolist()
            image["coco_url"] = ""
    return content


def boxes_like_objects(random, count):
    sides = random.choice([8, 32, 96, 150], (count, 1)) * random.choice([1, 1, 0.9, 1.2], (count, 2))
    boxes = np.column_stack([random.uniform(0, 100, (count, 2)), sides])
    if random.random() < 0.5:
        boxes = np.round(boxes / 8) * 8  # many overlaps are equal, or exactly at a threshold
    boxes[random.random(count) < 0.05, 2] = 0
    return boxes


def results(random, content, many):
    """What a detector finds in each image: arrays of corners, scores (many of them equal) and labels."""
    truth = np.array([one["bbox"] for one in content["annotations"]]).reshape(-1, 4)
    for image in content["images"]:
        count = random.integers(0, 400 if many else 25)
        boxes = boxes_like_objects(random, count)
        if len(truth):
            near = random.random(count) < 0.7
            moved = random.choice([0, 0, 3, -8], (count, 4))
            boxes = np.where(near[:, None], truth[random.integers(len(truth), size=count)] + moved, boxes)
        boxes[:, 2:] += boxes[:, :2]
        scores = random.random(count).round(1 if random.random() < 0.5 else 6)
        labels = random.integers(len(content["categories"]), size=count)
        yield image["id"], boxes.astype(np.float32), scores.astype(np.float32), labels


def options(random, content, lvis):
    wanted = {"metric": [["bbox"], ["bbox", "proposal"], "proposal", "bbox"][random.integers(4)]}
    if random.random() < 0.5:
        wanted["classwise"] = True
    if not lvis and random.random() < 0.5:
        wanted["proposal_nums"] = random.choice([1, 2, 3, 10, 100, 300], 3, replace=False).tolist()
    if not lvis and random.random() < 0.3:
        wanted["iou_thrs"] = random.choice([0.1, 0.5, 0.75, 0.9, 1.0], 3, replace=False).tolist()
        wanted["classwise"] = False  # MMDetection takes the threshold at index 5
    if not lvis and random.random() < 0.3:
        wanted["sort_categories"] = True
    if random.random() < 0.2:
        wanted["metric_items"] = ["AP50", "AR@300"] if lvis else ["mAP_50", "AR_s@1000"]
    judged = [one["id"] for one in content["images"]]
    names = [one["name"] for one in content["categories"]]
    if not lvis and random.random() < 0.3:
        judged = judged[: random.integers(1, len(judged) + 1)]
    if not lvis and random.random() < 0.3 and wanted["metric"] != "proposal":
        names = names[: random.integers(1, len(names) + 1)]
    return wanted, judged, names


def values(metric_class, wanted, file, judged, names, found):
    with contextlib.redirect_stdout(None):
        metric = metric_class(ann_file=str(file), **wanted)
        metric.dataset_meta, metric.img_ids = {"classes": names}, list(judged)
        for identity, boxes, scores, labels in found:
            kept = labels < len(names)
            instances = {"bboxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}
            instances = {name: torch.tensor(array) for name, array in instances.items()}
            metric.process({}, [{"img_id": identity, "ori_shape": (SIDE, SIDE), "pred_instances": instances}])
        return {name: float(value) for name, value in metric.evaluate(len(found)).items()}


def compared(tmp_path, seed, lvis, many=False):
    random = np.random.default_rng(seed)
    content = scene(random, lvis)
    found = list(results(random, content, many))
    wanted, judged, names = options(random, content, lvis)
    file = tmp_path / f"{seed}.json"
    file.write_text(json.dumps(content))
    own = LVISMetric if lvis else CocoMetric
    theirs = values(own, wanted, file, judged, names, found)
    ours = values(over_arrays(own, wanted), wanted, file, judged, names, found)
    if theirs:  # they have no numbers where nothing is found
        assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True), (seed, wanted)
    return theirs


@pytest.fixture
def numpy_float(monkeypatch):
    """lvis-api's last release says ``np.float``, which numpy no longer does."""
    monkeypatch.setitem(vars(np), "float", float)


def test_of_random_files_of_coco_every_number_is_mmdetections(tmp_path):
    found = [compared(tmp_path, seed, lvis=False) for seed in range(CASES)]
    assert sum(any(0 < value < 1 for value in one.values()) for one in found) > CASES // 2


@pytest.mark.usefixtures("numpy_float")
def test_of_random_files_of_lvis_every_number_is_mmdetections(tmp_path):
    found = [compared(tmp_path, seed, lvis=True) for seed in range(CASES)]
    assert sum(any(0 < value < 1 for value in one.values()) for one in found) > CASES // 2


@pytest.mark.usefixtures("numpy_float")
def test_lvis_counts_the_best_300_detections_of_an_image(tmp_path):
    for seed in range(1000, 1000 + CASES // 8):
        compared(tmp_path, seed, lvis=True, many=True)


@pytest.fixture(scope="module")
def datasets(photos):
    return built(config_of(photos, "val"))


@pytest.fixture
def judged_by(photos, tmp_path):
    """A metric that judges by the photographs' annotations, changed by a function."""

    def changed(change):
        content = copy.deepcopy(annotations_of(photos))
        change(content)
        file = tmp_path / f"{change.__name__}.json"
        file.write_text(json.dumps(content))
        return {**COCO, "ann_file": str(file)}

    return changed


def unchanged(_content):
    """Ordinary."""


def without_crowds(content):
    for one in content["annotations"]:
        del one["iscrowd"]


def one_id_for_two(content):
    content["annotations"][1]["id"] = content["annotations"][0]["id"]


def the_id_0(content):
    content["annotations"][0]["id"] = 0


def ids_that_are_text(content):
    for one in content["annotations"]:
        one["id"] = f"a{one['id']}"


def test_ordinary_files_are_not_judged_by_loops(datasets, judged_by, monkeypatch):
    metric = judged_by(unchanged)
    expected = mmdetections(datasets.parts[0], metric, False)
    monkeypatch.delattr(COCOeval, "evaluateImg")
    assert judge(datasets, [metric]) == pytest.approx(expected, nan_ok=True)
    with pytest.raises(UserError, match="evaluateImg"):
        judge(datasets, [metric | {"metric": ["bbox", "proposal_fast"]}])


@pytest.mark.parametrize("change", [one_id_for_two, the_id_0])
def test_what_pycocotools_takes_in_a_way_of_its_own_is_judged_by_mmdetection(datasets, judged_by, change):
    metric = judged_by(change)
    expected = mmdetections(datasets.parts[0], metric, False)
    assert judge(datasets, [metric]) == pytest.approx(expected, nan_ok=True)
    assert expected != pytest.approx(mmdetections(datasets.parts[0], judged_by(unchanged), False), nan_ok=True)
    with pytest.raises(Unusual):
        ground_truth.read(metric["ann_file"])


@pytest.mark.parametrize("change", [without_crowds, ids_that_are_text])
def test_what_mmdetection_cannot_judge_fails_with_its_words(datasets, judged_by, change):
    metric = judged_by(change)
    with pytest.raises((KeyError, ValueError)) as theirs:
        mmdetections(datasets.parts[0], metric, False)
    with pytest.raises(UserError) as ours:
        judge(datasets, [metric])
    assert str(theirs.value) in str(ours.value)


def test_numbers_of_detections_that_mmdetection_cannot_take_fail_with_its_words(datasets, judged_by):
    metric = judged_by(unchanged) | {"proposal_nums": (1.5, 10, 100)}
    with pytest.raises(TypeError) as theirs:
        mmdetections(datasets.parts[0], metric, False)
    with pytest.raises(UserError) as ours:
        judge(datasets, [metric])
    assert str(theirs.value) in str(ours.value)


def test_detections_that_are_no_numbers_are_judged_by_mmdetection(datasets, monkeypatch):
    def found(part, index):
        boxes, scores, labels = detections(part, index, False)
        scores[:1] = np.nan
        return boxes, scores, labels

    ours = judge(datasets, [COCO], detect=found)
    monkeypatch.setattr(mmdetection, "over_arrays", lambda *_: None)
    assert ours == pytest.approx(judge(datasets, [COCO], detect=found), nan_ok=True)


def test_metrics_of_one_data_set_read_its_annotations_once(datasets, judged_by):
    metric = judged_by(unchanged)
    before = ground_truth._read.cache_info()
    for _reading in range(2):
        judge(datasets, [metric, {**metric, "metric": "proposal", "prefix": "recall"}])
    after = ground_truth._read.cache_info()
    assert after.misses - before.misses == 1 and after.hits - before.hits == 3


def test_without_lvis_api_lvis_is_judged_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(lvis_metric, "lvis", None)
    random = np.random.default_rng(3)
    content = scene(random, True)
    file = tmp_path / "lvis.json"
    file.write_text(json.dumps(content))
    names = [one["name"] for one in content["categories"]]
    found = list(results(random, content, False))
    assert "lvis/bbox_APr" in values(over_arrays(LVISMetric, {}), {}, file, [], names, found)
    with pytest.raises(RuntimeError, match="Package lvis is not installed"):
        LVISMetric(ann_file=str(file))


@pytest.mark.usefixtures("numpy_float")
def test_nothing_found_gives_zeros_under_every_name(tmp_path):
    for lvis, own in ((False, CocoMetric), (True, LVISMetric)):
        random = np.random.default_rng(7)
        content = scene(random, lvis)
        file = tmp_path / "empty.json"
        file.write_text(json.dumps(content))
        names = [one["name"] for one in content["categories"]]
        judged = [one["id"] for one in content["images"]]
        found = list(results(random, content, False))
        nothing = [(image, *(array[:0] for array in arrays)) for image, *arrays in found]
        wanted = {"metric": ["bbox", "proposal"], "classwise": True}
        something = values(own, wanted, file, judged, names, found)
        zeros = values(over_arrays(own, wanted), wanted, file, judged, names, nothing)
        assert zeros.keys() == something.keys()
        assert {name: value for name, value in zeros.items() if value == 0}.keys() == {
            name for name, value in something.items() if value >= 0
        }


@pytest.mark.parametrize("format_only", [False, True])
def test_files_of_results_are_mmdetections(tmp_path, format_only):
    random = np.random.default_rng(11)
    content = scene(random, False)
    found = list(results(random, content, False))
    file = tmp_path / "some.json"
    file.write_text(json.dumps(content))
    names, judged = [one["name"] for one in content["categories"]], [one["id"] for one in content["images"]]
    written = []
    for metric_class in (CocoMetric, over_arrays(CocoMetric, {})):
        wanted = {"outfile_prefix": str(tmp_path / "out"), "format_only": format_only}
        assert bool(values(metric_class, wanted, file, judged, names, found)) != format_only
        written.append((tmp_path / "out.bbox.json").read_bytes())
        (tmp_path / "out.bbox.json").unlink()
    assert written[0] == written[1] and len(json.loads(written[0])) == sum(len(one[2]) for one in found)

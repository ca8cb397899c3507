"""A detector that finds nothing gets zeros, under the names of the metrics of one that finds something."""

import copy
import json

import numpy as np
import pytest

from tests.data_server.judging import built, detections, judge, nothing
from tests.photos import annotations_of, config_of, write_open_images

COCO = {"type": "CocoMetric", "metric": "bbox"}
VOC = {"type": "VOCMetric", "metric": "mAP"}
METRICS = [
    COCO,
    {**COCO, "classwise": True},
    {**COCO, "metric": ["bbox", "proposal"]},
    {**COCO, "metric": "proposal", "proposal_nums": [1, 2, 5]},
    {**COCO, "use_mp_eval": True},  # which MMDetection's own class judges
    VOC,
]


@pytest.fixture(scope="module")
def datasets(photos):
    return built(config_of(photos, "val"))


def assert_zeros(found, other):
    """`other` are the metrics of a detector that finds something; what is not to be measured is -1, or NaN."""
    assert found.keys() == other.keys() and found
    for name, value in found.items():
        measurable = other[name] >= 0
        assert value == 0 if measurable else not value >= 0, name
    assert any(value > 0 for value in other.values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: f"{metric['type']} {metric['metric']}")
def test_metrics_of_no_detection_are_zeros(datasets, metric):
    assert_zeros(judge(datasets, [metric], detect=nothing), judge(datasets, [metric], perfect=True))


@pytest.mark.parametrize("metric", ["bbox", ["bbox", "proposal_fast"]], ids=["over arrays", "lvis-api's own"])
def test_lvis_metrics_of_no_detection_are_zeros(photos, tmp_path, monkeypatch, metric):
    pytest.importorskip("lvis")
    monkeypatch.delitem(vars(np), "float", raising=False)  # as in a process that has judged nothing before
    content = copy.deepcopy(annotations_of(photos))
    for image in content["images"]:
        image |= {
            "not_exhaustive_category_ids": [],
            "neg_category_ids": [1, 2, 3],
            "coco_url": "x/" + image["file_name"],
        }
    for category in content["categories"]:
        category |= {"frequency": "f", "image_count": 2, "instance_count": 3}
    for annotation in content["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    datasets = built(config_of(photos, "val"))
    metric = {"type": "LVISMetric", "metric": metric, "ann_file": str(tmp_path / "lvis.json")}
    assert_zeros(judge(datasets, [metric], detect=nothing), judge(datasets, [metric], perfect=True))


def test_openimages_metrics_of_no_detection_are_zeros(photos, tmp_path):
    datasets = built(config_of(photos, "val", **write_open_images(photos, tmp_path)))
    metric = {"type": "OpenImagesMetric"}
    assert_zeros(judge(datasets, [metric], detect=nothing), judge(datasets, [metric], perfect=True))


def test_a_tiny_object_at_the_corner_is_not_found_by_a_detector_that_finds_nothing(photos, tmp_path):
    content = copy.deepcopy(annotations_of(photos))
    for annotation in content["annotations"]:
        annotation |= {"bbox": [0, 0, 1, 1], "area": 1}
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(content))
    datasets = built(config_of(photos, "val", ann_file=str(file)))
    assert judge(datasets, [COCO], detect=nothing)["coco/bbox_mAP"] == 0


def test_of_several_data_sets_the_one_without_a_detection_gets_zeros(photos):
    one = config_of(photos, "val")
    several = {**one, "dataset": {"type": "ConcatDataset", "datasets": [one["dataset"], copy.deepcopy(one["dataset"])]}}
    datasets = built(several)

    def in_the_first(part, index):
        return detections(part, index, True) if part is datasets.parts[0] else nothing(part, index)

    found = judge(datasets, [COCO], detect=in_the_first)
    assert found["all_0/coco/bbox_mAP"] == 1 and found["all_1/coco/bbox_mAP"] == 0


def test_files_of_results_hold_no_made_up_detection(datasets, tmp_path):
    judge(datasets, [{**COCO, "outfile_prefix": str(tmp_path / "out")}], detect=nothing)
    assert json.loads((tmp_path / "out.bbox.json").read_text()) == []

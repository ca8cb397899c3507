"""A class-agnostic data set is judged without classes by metrics that get the truth with each sample."""

from tests.data_server.judging import built, judge
from tests.photos import config_of

VOC = {"type": "VOCMetric", "metric": "mAP", "eval_mode": "area"}


def test_detections_of_every_object_as_one_class_are_perfect(photos):
    datasets = built(config_of(photos, "val", class_agnostic=True))
    assert {one["bbox_label"] for k in range(len(datasets)) for one in truths(datasets, k)} == {0, 1, 2}
    assert judge(datasets, [VOC], perfect=True)["pascal_voc/mAP"] == 1.0


def truths(datasets, k):
    return datasets.parts[0].dataset.get_data_info(k)["instances"]

"""OpenImages' labels of whole images: what was looked for and is not there is a false detection."""

import csv

import numpy as np

from tests.data_server.judging import built, detections, judge
from tests.photos import CLASSES, config_of, write_open_images

METRIC = {"type": "OpenImagesMetric"}


def with_false_ones(part, index):
    """Perfect detections, and before them a thing of every class where none is."""
    boxes, scores, labels = detections(part, index, perfect=True)
    classes = np.arange(len(part.classes), dtype=np.int32)
    nowhere = np.tile(np.array([[0, 0, 2, 2]], np.float32), (len(classes), 1))
    first = np.full(len(classes), 0.99, np.float32)
    return np.concatenate([nowhere, boxes]), np.concatenate([first, scores]), np.concatenate([classes, labels])


def test_detections_of_a_class_count_where_a_label_of_the_whole_image_says_it_was_looked_for(photos, tmp_path):
    files = write_open_images(photos, tmp_path)
    plain = built(config_of(photos, "val", **files))
    names = [plain.parts[0].dataset.get_data_info(index)["img_id"] for index in range(len(plain))]
    with (tmp_path / "of_images.csv").open("w", newline="") as file:
        rows = [[name, "verification", f"/m/{label}", 0] for name in names for label in CLASSES]
        csv.writer(file).writerows([["header"], *rows])
    labelled = built(config_of(photos, "val", **files, image_level_ann_file=str(tmp_path / "of_images.csv")))
    assert judge(labelled, [METRIC], perfect=True)["openimages/mAP"] == 1
    unlabelled = judge(plain, [METRIC], detect=with_false_ones)["openimages/mAP"]
    assert judge(labelled, [METRIC], detect=with_false_ones)["openimages/mAP"] < unlabelled - 0.05

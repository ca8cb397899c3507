"""MMDetection's metrics that write files of detections: DumpProposals and DumpDetResults."""

import pickle

import numpy as np

from tests.data_server.judging import built, detections, judge
from tests.photos import config_of


def read(path):
    return pickle.loads(path.read_bytes())


def test_dumped_proposals_are_the_best_detections_by_folder_and_name(photos, tmp_path):
    datasets = built(config_of(photos, "val"))
    metric = {"type": "DumpProposals", "output_dir": str(tmp_path), "proposals_file": "p.pkl", "num_max_proposals": 2}
    assert judge(datasets, [metric]) == {}
    found, part = read(tmp_path / "p.pkl"), datasets.parts[0]
    assert len(found) == len(datasets) == 12
    for index in range(len(datasets)):
        boxes, scores, _ = detections(part, index, perfect=False)
        best = np.argsort(-scores)[:2]
        dumped = found[f"images/{index:02}.jpg"]
        np.testing.assert_array_equal(dumped.bboxes, boxes[best])
        np.testing.assert_array_equal(dumped.scores, scores[best])


def test_dumped_detections_are_those_of_every_image(photos, tmp_path):
    datasets = built(config_of(photos, "val"))
    assert judge(datasets, [{"type": "DumpDetResults", "out_file_path": str(tmp_path / "r.pkl")}]) == {}
    found = {one["img_id"]: one["pred_instances"] for one in read(tmp_path / "r.pkl")}
    assert list(found) == list(range(100, 112))
    for index in range(len(datasets)):
        boxes, scores, labels = detections(datasets.parts[0], index, perfect=False)
        for name, array in (("bboxes", boxes), ("scores", scores), ("labels", labels)):
            np.testing.assert_array_equal(np.asarray(found[100 + index][name]), array)

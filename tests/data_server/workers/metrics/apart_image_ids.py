"""Whatever the images of an annotation file are called, metrics are those of the same file with ordinary ids."""

import copy
import json
import shutil

import pytest

from shared.errors import UserError
from tests.data_server.judging import built, judge, mmdetections
from tests.photos import IMAGES, annotations_of, config_of, write_annotations

COCO = {"type": "CocoMetric", "metric": ["bbox", "proposal"]}
VOC = {"type": "VOCMetric", "metric": "mAP", "eval_mode": "area"}
KINDS = {
    "text": lambda k: f"img_{k}",
    "text of digits": lambda k: str(k),
    "padded digits": lambda k: f"{k:012d}",
    "the place of another as text": lambda k: str(IMAGES - 1 - k),
    "text among text of digits": lambda k: "x" if k == 0 else str(k - 1),
    "negative": lambda k: -k,
    "above 2**63": lambda k: 2**63 + k,
    "above 2**64": lambda k: 2**64 + k,
    "descending": lambda k: 500 - k,
}
NOT_MMDETECTIONS = {  # which fails, or judges some images by nothing
    "numbers among text": lambda k: k if k % 2 else f"img_{k}",
    "a number and the same as text": lambda k: k // 2 if k % 2 else str(k // 2),
    "negative and above 2**63": lambda k: 2**63 + k if k % 2 else -k,
}


def renamed(photos, folder, rename):
    """The data set with other image ids."""
    shutil.copytree(photos, folder)
    content = copy.deepcopy(annotations_of(photos))
    for image in content["images"]:
        image["id"] = rename(image["id"] - 100)
    for annotation in content["annotations"]:
        annotation["image_id"] = rename(annotation["image_id"] - 100)
    write_annotations(folder, content)
    return built(config_of(folder, "val"))


@pytest.fixture(scope="module")
def ordinary(photos):
    datasets = built(config_of(photos, "val"))
    return {
        (metric["type"], perfect): judge(datasets, [metric], perfect) for metric in (COCO, VOC) for perfect in (0, 1)
    }


@pytest.mark.parametrize("kind", [*KINDS, *NOT_MMDETECTIONS])
def test_metrics_do_not_depend_on_what_images_are_called(photos, tmp_path, ordinary, kind):
    datasets = renamed(photos, tmp_path / "set", (KINDS | NOT_MMDETECTIONS)[kind])
    for metric in (COCO, VOC):
        for perfect in (0, 1):
            assert judge(datasets, [metric], perfect) == pytest.approx(ordinary[metric["type"], perfect], nan_ok=True)
    assert ordinary["CocoMetric", 1]["coco/bbox_mAP"] == ordinary["VOCMetric", 1]["pascal_voc/mAP"] == 1.0
    assert ordinary["CocoMetric", 0]["coco/bbox_mAP"] < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_mmdetections_own(photos, tmp_path, kind):
    datasets = renamed(photos, tmp_path / "set", KINDS[kind])
    (part,) = datasets.parts
    theirs = mmdetections(part, COCO | {"ann_file": part.annotation_file}, perfect=False)
    assert judge(datasets, [COCO], perfect=False) == pytest.approx(theirs, nan_ok=True)


def test_no_two_images_of_a_stream_are_called_alike_and_no_id_is_taken_for_a_place(photos, tmp_path):
    from data_server.datasets import samples

    for number, rename in enumerate((*KINDS.values(), *NOT_MMDETECTIONS.values())):
        datasets = renamed(photos, tmp_path / str(number), rename)
        called = [samples.load(datasets, index, 0).image_id for index in range(IMAGES)]
        plain = all(isinstance(rename(k), int) and 0 <= rename(k) < 2**63 for k in range(IMAGES))
        assert called == [rename(k) if plain else k for k in range(IMAGES)]


def test_files_of_results_have_the_files_own_ids(photos, tmp_path):
    datasets = renamed(photos, tmp_path / "set", KINDS["text"])
    judge(datasets, [COCO | {"outfile_prefix": str(tmp_path / "found")}], perfect=True)
    found = json.loads((tmp_path / "found.bbox.json").read_text())
    assert {one["image_id"] for one in found} == {f"img_{k}" for k in range(IMAGES - 1)}  # the last has no box
    datasets = renamed(photos, tmp_path / "mixed", NOT_MMDETECTIONS["numbers among text"])
    with pytest.raises(UserError, match="leave outfile_prefix out"):
        judge(datasets, [COCO | {"outfile_prefix": str(tmp_path / "mixed")}], perfect=True)

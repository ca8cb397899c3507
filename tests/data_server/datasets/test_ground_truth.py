"""Columns of a COCO or LVIS file, and what is left to pycocotools."""

import contextlib
import json
import random

import numpy as np
import pytest
from pycocotools.coco import COCO

from data_server.datasets import ground_truth
from data_server.datasets.ground_truth import Unusual
from tests.data_server import annotation_files

SIDES = {"width": 40, "height": 30}
BOX = {"bbox": [1, 2, 3.5, 4], "area": 14.0, "iscrowd": 0}


def content():
    return {
        "info": {"anything": [1, {}]},
        "images": [{"id": 7, "file_name": "a", **SIDES}, {"id": 3, **SIDES}],
        "categories": [{"id": 9, "name": "b"}, {"id": 2, "name": "a", "supercategory": "x"}],
        "annotations": [
            {**BOX, "id": 5, "image_id": 7, "category_id": 2, "segmentation": [[1, 2, 3]]},
            {**BOX, "id": 4, "image_id": 3, "category_id": 9, "iscrowd": 1},
            {**BOX, "id": 6, "image_id": 8, "category_id": 1},
        ],
    }


@pytest.fixture
def file(tmp_path):
    def written(change=lambda _: None):
        changed = content()
        change(changed)
        path = tmp_path / "file.json"
        path.write_text(json.dumps(changed))
        return str(path)

    return written


def test_images_and_categories_are_numbered_by_id_and_annotations_stay_in_order(file):
    truth = ground_truth.read(file())
    assert truth.images == {3: 0, 7: 1} and truth.classes == {2: 0, 9: 1}
    assert truth.image.tolist() == [1, 0, -1] and truth.category.tolist() == [0, 1, -1]
    np.testing.assert_array_equal(truth.box, [[1, 2, 3.5, 4]] * 3)
    assert truth.area.tolist() == [14] * 3 and truth.crowd.tolist() == [False, True, False]
    assert [one.name for one in truth.categories] == ["b", "a"]
    assert truth.federated is None and not truth.ignored


def test_ids_that_numpy_would_change_are_numbered_in_the_files_order(file):
    def texts(content):
        content["images"] = [{"id": one, **SIDES} for one in ("x", "b\0", "a")]
        content["annotations"] = [BOX | {"id": 1, "image_id": "x", "category_id": 2}]

    assert list(ground_truth.read(file(texts)).images) == ["x", "b\0", "a"]
    assert not ground_truth.fits_numpy([1, "1"]) and not ground_truth.fits_numpy([-1, 2**63 + 1])
    assert ground_truth.fits_numpy(["1", "x"]) and ground_truth.fits_numpy([2**63, 2**63 + 1])


def test_the_lists_of_lvis_follow_the_images_numbers(file):
    def federated(content):
        content["categories"][0]["frequency"] = "r"
        content["images"][0] |= {"neg_category_ids": [1], "not_exhaustive_category_ids": []}
        content["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": [2]}

    assert ground_truth.read(file(federated)).federated == [([], [2]), ([1], [])]


def quirks(seed):
    """A file of every quirk, with ids of annotations that pycocotools finds; of LVIS, more or less, for some seeds."""
    content, draw = annotation_files.content(seed), random.Random(seed)
    for one in content["annotations"]:
        one["id"] += seed % 7 != 0
        if seed % 3:
            one.setdefault("iscrowd", 0)
    for one in content["categories"] if draw.random() < 0.5 else ():
        one["frequency"] = draw.choice("rcf")
    for one in content["images"] if draw.random() < 0.8 else ():
        one |= {"neg_category_ids": draw.sample(range(9), 2), "not_exhaustive_category_ids": [draw.randrange(9)]}
    return content


def by_image(truth):
    """Box, area, category (id) and crowd of the annotations of each image, by its id."""
    ids = {number: identity for identity, number in truth.classes.items()} | {-1: None}
    rows = zip(
        truth.box.tolist(),
        truth.area.tolist(),
        [ids[number] for number in truth.category.tolist()],
        [None] * len(truth.box) if truth.crowd is None else truth.crowd.tolist(),
        strict=True,
    )
    found = {number: [] for number in truth.images.values()} | {-1: []}
    for number, row in zip(truth.image.tolist(), rows, strict=True):
        found[number].append(row)
    return {identity: found[number] for identity, number in truth.images.items()}


def by_pycocotools(path):
    with contextlib.redirect_stdout(None):
        coco = COCO(path)
    crowds = all("iscrowd" in one for one in coco.dataset["annotations"])
    return {
        identity: [
            (
                one["bbox"],
                one["area"],
                one["category_id"] if one["category_id"] in coco.cats else None,
                bool(one["iscrowd"]) if crowds else None,
            )
            for one in coco.loadAnns(coco.getAnnIds(imgIds=[identity]))
        ]
        for identity in coco.getImgIds()
    }


@pytest.mark.slow
def test_of_every_file_that_is_not_unusual_it_holds_what_pycocotools_reads(tmp_path):
    same = federated = 0
    for seed in range(200):
        path, content = tmp_path / f"{seed}.json", quirks(seed)
        path.write_text(json.dumps(content))
        try:
            truth = ground_truth.read(str(path))
        except Unusual:
            continue
        assert by_image(truth) == by_pycocotools(path), seed
        if truth.federated is not None:
            lists = {
                one["id"]: (one["neg_category_ids"], one["not_exhaustive_category_ids"]) for one in content["images"]
            }
            assert truth.federated == [lists[one] for one in truth.images], seed
            federated += len(lists) > 2
        same += 1
    assert 100 < same < 200 and federated > 20


@pytest.mark.parametrize(
    "broken",
    [
        {"id": 5},
        {"id": 0},
        {"id": "4"},
        {"id": None},
        {"category_id": 1.5},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, None]},
        {"area": "14"},
        {"area": None},
        {"image_id": None},
        {"iscrowd": "0"},
    ],
    ids=str,
)
def test_an_annotation_that_is_not_cocos_is_unusual(file, broken):
    with pytest.raises(Unusual):
        ground_truth.read(file(lambda content: content["annotations"][1].update(broken)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "annotations": []}', "{", '{"images": NaN}'])
def test_a_file_that_is_not_cocos_is_unusual(tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(Unusual):
        ground_truth.read(str(tmp_path / "file.json"))


def test_a_file_without_crowds_says_so(file):
    assert ground_truth.read(file(lambda content: content["annotations"][2].pop("iscrowd"))).crowd is None


def test_a_file_is_read_again_when_it_has_changed(file):
    assert ground_truth.read(file()).area[0] == 14
    path = file(lambda content: content["annotations"][0].update(area=15.0))
    assert ground_truth.read(path).area[0] == 15
    assert ground_truth.read(path) is ground_truth.read(path)

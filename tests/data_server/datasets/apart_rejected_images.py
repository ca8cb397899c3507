"""Where a transform rejects an image, MMDetection takes another: everything that arrives is that one's."""

import shutil

import cv2
import numpy as np
import pytest

from shared.errors import UserError
from tests.cluster import digests
from tests.data_server.judging import built
from tests.data_server.proposals import true_boxes, write
from tests.photos import EMPTY, IMAGES, TRAIN_PIPELINE, annotations_of, config_of, write_annotations

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
PROPOSALS = {"type": "LoadProposals", "load_score": True}
IMPORTS = {"imports": ["tests.data_server.transforms"]}
REJECTED = (*range(100, 105), *map(str, range(100, 105)))
REJECTING = {
    "a transform of the user's": {"type": "Rejecting", "images": REJECTED},
    "RandomCrop": {"type": "RandomCrop", "crop_size": (16, 16), "allow_negative_crop": False},
    "FilterAnnotations": {"type": "FilterAnnotations", "min_gt_bbox_wh": (24, 24)},
}


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("step", REJECTING)
@pytest.mark.parametrize("text_ids", [False, True])
def test_proposals_and_id_are_those_of_the_image_that_was_taken(folder, step, text_ids):
    """Each image has one proposal, whose score tells it, and its own shade of grey."""
    from data_server.datasets import samples

    marks = {100 + k: np.array([[0, 0, 10, 10, k / 16]], np.float32) for k in range(IMAGES)}
    if text_ids:
        content = annotations_of(folder)
        for image in content["images"]:
            image["id"] = str(image["id"])
        for annotation in content["annotations"]:
            annotation["image_id"] = str(annotation["image_id"])
        write_annotations(folder, content)
        marks = {str(identity): rows for identity, rows in marks.items()}
    for image in annotations_of(folder)["images"]:
        shade = np.full((image["height"], image["width"], 3), 20 * int(image["file_name"][:2]), np.uint8)
        cv2.imwrite(str(folder / "images" / image["file_name"]), shade)
    pipeline = (LOAD, PROPOSALS, BOXES, REJECTING[step], FLIP, PACK)
    file = write(folder, marks)
    datasets = built(config_of(folder, pipeline=pipeline, proposal_file=str(file), custom_imports=IMPORTS))
    others = 0
    for index in range(len(datasets)):
        for seed in range(3):
            made, again = samples.load(datasets, index, seed), samples.load(datasets, index, seed)
            assert (made.image == again.image).all() and made.image_id == again.image_id
            number = round(float(made.image.mean()) / 20)  # what it shows
            assert made.proposals[0, 4] * 16 == number
            assert made.image_id == (number if text_ids else 100 + number)
            assert made.original_shape == made.image.shape[:2] or step == "RandomCrop"
            others += number != index
    assert others


def test_boxes_and_proposals_stay_together(folder):
    from data_server.datasets import samples

    pipeline = (LOAD, PROPOSALS, BOXES, REJECTING["a transform of the user's"], RESIZE, FLIP, PACK)
    datasets = built(config_of(folder, pipeline=pipeline, proposal_file=str(write(folder)), custom_imports=IMPORTS))
    for index in range(len(datasets)):
        made = samples.load(datasets, index, index)
        np.testing.assert_array_equal(made.proposals[:, :4], made.boxes)
        assert len(made.boxes) == len(true_boxes(folder)[made.image_id]) and made.image_id not in REJECTED


def test_a_bad_image_that_was_taken_instead_is_named_itself(folder):
    from data_server.datasets import samples

    for number in range(5, IMAGES):
        (folder / "images" / f"{number:02}.jpg").write_text("no picture")
    pipeline = (LOAD, BOXES, REJECTING["a transform of the user's"], FLIP, PACK)
    datasets = built(config_of(folder, pipeline=pipeline, custom_imports=IMPORTS))
    with pytest.raises(samples.BadSample) as caught:
        samples.load(datasets, 0, 0)
    assert any(f"images/{number:02}.jpg'" in str(caught.value) for number in range(5, IMAGES))


def test_a_killer_that_was_taken_instead_is_blamed_itself(cluster, folder):
    deadly = tuple(100 + number for number in range(5, IMAGES))
    rejecting = {"type": "Rejecting", "images": REJECTED}
    pipeline = (LOAD, {"type": "Deadly", "images": deadly}, BOXES, rejecting, PACK)
    config = config_of(folder, pipeline=pipeline, custom_imports=IMPORTS, batch_size=1)
    with pytest.raises(UserError) as caught:
        digests(cluster.open(config), 12)
    (sample,) = cluster.quarantined
    assert sample.image in str(caught.value)
    assert sample.image in {str(folder / "images" / f"{number:02}.jpg") for number in range(5, EMPTY)}

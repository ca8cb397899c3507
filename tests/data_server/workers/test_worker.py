"""Batches in slots: padding, room for boxes, what does not fit; and another pipeline from an epoch on."""

import pytest

from shared.data_part import TUPLE
from shared.errors import UserError
from tests.cluster import digests
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, draw, write_annotations

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE


def crowded(tmp_path, boxes):
    """The data set with one image of many boxes."""
    folder = draw(tmp_path / "set")
    content = annotations_of(folder)
    one = content["annotations"][0]
    content["annotations"] += [{**one, "id": 1000 + number} for number in range(boxes)]
    write_annotations(folder, content)
    return folder


def test_images_and_boxes_are_padded_to_the_largest_of_the_batch(cluster, photos):
    lease = cluster.open(config_of(photos, "val", batch_size=12)).next()
    arrays = lease.arrays
    assert arrays["images"].shape == (12, 128, 128, 3)  # 60x90 becomes 85x128, 80x50 becomes 128x80
    assert arrays["boxes"].shape == (12, 8, 4)
    for row, (height, width) in enumerate(arrays["image_shapes"]):
        assert arrays["images"][row, :height, :width].any()
        assert not arrays["images"][row, height:].any() and not arrays["images"][row, :, width:].any()


def test_what_an_older_and_larger_batch_left_in_a_slot_is_gone(cluster, tmp_path):
    client = cluster.open(config_of(crowded(tmp_path, 90), feed={"slots": 1}, batch_size=1), credits=1)
    for _ in range(24):
        lease = client.next()
        arrays = lease.arrays
        count = int(arrays["box_counts"][0]) + int(arrays["ignored"][0].sum())
        assert not arrays["boxes"][0, count:].any() and not arrays["labels"][0, count:].any()
        lease.release()


def test_too_small_a_slot_for_the_images_names_the_setting(cluster, photos):
    config = config_of(photos, feed={"max_image_size": (32, 32)})
    with pytest.raises(
        UserError, match=r"\(2 images padded to \d+x\d+, 8 boxes each\) needs .*; set feed.max_image_size=\("
    ):
        digests(cluster.open(config), 6)


def test_too_small_a_slot_for_the_boxes_names_the_setting(cluster, tmp_path):
    config = config_of(crowded(tmp_path, 900), feed={"max_boxes": 4})
    with pytest.raises(
        UserError, match=r"90\d boxes each\) needs \d+ bytes, a slot holds \d+; set feed.max_boxes=90\d or"
    ):
        digests(cluster.open(config), 6)


def test_a_plan_beyond_the_machines_memory_is_refused_and_shown(cluster, photos):
    with pytest.raises(
        UserError, match=r"too little memory: the plan is 10000000 slots x .* MiB \+ 2 workers x .* MiB = "
    ):
        cluster.open(config_of(photos, feed={"slots": 10_000_000}))


def test_fewer_slots_than_credits_are_refused(cluster, photos):
    with pytest.raises(UserError, match=r"config key 'feed.slots' is 2; expected feed.credits=3 or more"):
        cluster.open(config_of(photos, feed={"slots": 2}), credits=3)


def test_without_a_resize_the_largest_annotated_image_bounds_a_batch(cluster, photos):
    client = cluster.open(config_of(photos, pipeline=(LOAD, BOXES, PACK)))
    assert len(digests(client, 6)) == 6


FLIPPED = [LOAD, BOXES, {"type": "Resize", "scale": {TUPLE: [64, 64]}}, {"type": "RandomFlip", "prob": 0.5}, PACK]
MOSAIC = {"type": "Mosaic", "img_scale": {TUPLE: [64, 48]}, "pad_val": 114.0}
MIXED = {"type": "MultiImageMixDataset", "pipeline": [MOSAIC, {"type": "RandomFlip", "prob": 0.5}, PACK]}
EPOCH = 6  # batches: of 7 wide and 4 high images, two each


def switched(photos, to):
    """A training stream with another pipeline from its second epoch on."""
    config = config_of(photos)
    if "skip" in to:
        config["dataset"] = mixed(config["dataset"])
    return {**config, "switch": {"epoch": 1, **to}}


def mixed(dataset, **settings):
    resize = {"type": "Resize", "scale": {TUPLE: [90, 60]}}
    return {**MIXED, **settings, "dataset": {**dataset, "pipeline": [LOAD, BOXES, resize]}}


SWITCHES = {"another pipeline": {"pipeline": FLIPPED}, "without Mosaic": {"skip": ["Mosaic"]}}


@pytest.mark.parametrize("name", SWITCHES)
def test_from_an_epoch_on_batches_are_those_of_the_other_pipeline(name, cluster, photos):
    config = switched(photos, SWITCHES[name])
    found = digests(cluster.open(config), 3 * EPOCH)
    first = {**config, "switch": None}
    later = {**first, "dataset": {**config["dataset"], "pipeline": FLIPPED}}
    if "skip" in SWITCHES[name]:
        later["dataset"] = mixed(config_of(photos)["dataset"], skip_type_keys=["Mosaic"])
    first, later = (digests(cluster.open(one), 3 * EPOCH) for one in (first, later))
    assert found == first[:EPOCH] + later[EPOCH:] and found not in (first, later)

"""How large a slot is made, for pipelines of every kind: exactly as large as the largest batch that they can yield."""

import pytest

from shared.arena import slot_bytes_for
from shared.batch import layout_of
from shared.errors import UserError
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, draw, write_annotations

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
CHOICE = {"type": "RandomChoiceResize", "scales": [(200, 100), (150, 140)], "keep_ratio": True}

EITHER_WAY = {"type": "RandomChoiceResize", "scales": [(90, 60), (60, 90)], "keep_ratio": False}


@pytest.mark.parametrize(
    ("step", "batch_size", "feed", "height", "width"),
    [
        (RESIZE, 2, {}, 96, 128),
        ({"type": "Resize", "scale": (300, 40), "keep_ratio": False}, 2, {}, 64, 320),
        ({"type": "RandomResize", "scale": (100, 50), "ratio_range": (0.5, 2.0), "keep_ratio": True}, 2, {}, 128, 224),
        (CHOICE, 2, {}, 160, 224),
        (FLIP, 2, {}, 64, 96),  # no resizing: the largest annotated image, 60x90
        (RESIZE, 2, {"max_image_size": (64, 1024)}, 64, 1024),
        (EITHER_WAY, 2, {}, 96, 96),
    ],
    ids=["keep_ratio", "fixed", "range", "choice", "none", "given", "either way"],
)
def test_a_slot_holds_the_largest_batch_of_a_pipeline(cluster, photos, step, batch_size, feed, height, width):
    config = config_of(photos, batch_size=batch_size, feed=feed, pipeline=(LOAD, BOXES, step, PACK))
    largest = layout_of(batch_size, height, width, 8)
    assert cluster.open(config).welcome.slot_bytes == slot_bytes_for(largest.nbytes)


@pytest.mark.parametrize(
    ("step", "feed"),
    [
        ({"type": "Rejecting", "images": tuple(range(100, 104))}, {}),  # wide ones
        ({"type": "FilterAnnotations", "min_gt_bbox_wh": (25, 1)}, {}),
        (FLIP, {"on_bad_sample": "replace"}),
    ],
    ids=["a user's transform rejects", "mmdetection's does", "bad samples are replaced"],
)
def test_with_grouping_too_where_another_image_may_take_the_place_of_one(cluster, photos, step, feed):
    imports = {"imports": ["tests.data_server.transforms"]}
    config = config_of(photos, pipeline=(LOAD, BOXES, step, RESIZE, PACK), feed=feed, custom_imports=imports)
    client = cluster.open(config)
    assert client.welcome.slot_bytes == slot_bytes_for(layout_of(2, 128, 128, 8).nbytes)
    shapes = set()
    for _ in range(24):
        lease = client.next()
        shapes.add(lease.arrays["images"].shape[1:3])
        lease.release()
    assert ((128, 128) in shapes) == (step is not FLIP)  # both, a wide and a high one


def test_without_grouping_a_batch_may_hold_wide_and_high_images_together(cluster, photos):
    client = cluster.open(config_of(photos, "val", batch_size=3))
    assert client.welcome.slot_bytes == slot_bytes_for(layout_of(3, 128, 128, 8).nbytes)


def test_a_batch_of_one_image_has_room_for_a_wide_or_a_high_one_and_not_for_both(cluster, photos):
    client = cluster.open(config_of(photos, "val", batch_size=1))
    assert client.welcome.slot_bytes == slot_bytes_for(layout_of(1, 96, 128, 8).nbytes)


def test_room_for_boxes_is_that_of_the_image_with_the_most_or_what_the_config_says(cluster, photos):
    for feed, room in (({}, 8), ({"max_boxes": 100}, 104)):
        client = cluster.open(config_of(photos, batch_size=1, feed=feed))
        assert client.welcome.slot_bytes == slot_bytes_for(layout_of(1, 96, 128, room).nbytes)


def test_sizes_that_nothing_tells_are_asked_for(cluster, tmp_path):
    folder = draw(tmp_path / "set")
    content = annotations_of(folder)
    for image in content["images"]:
        image["width"] = image["height"] = 0
    write_annotations(folder, content)
    config = config_of(folder, "val", pipeline=(LOAD, BOXES, PACK))
    with pytest.raises(UserError, match=r"cannot tell how large a batch may get: .*; set feed.max_image_size=\(height"):
        cluster.open(config)

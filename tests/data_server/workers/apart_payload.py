"""Samples in the arrays of a slot that holds an older and larger batch."""

from dataclasses import replace

import numpy as np

from data_server.datasets.samples import Sample
from data_server.workers.payload import lay_out, write
from shared.checksum import Checksum


def sample(height, width, boxes, crowds, number, proposals=None):
    random = np.random.default_rng(number)
    return Sample(
        image=random.integers(1, 256, (height, width, 3), dtype=np.uint8),
        boxes=random.uniform(1, 50, (boxes, 4)).astype(np.float32),
        labels=random.integers(1, 9, boxes).astype(np.int32),
        ignored=np.array([0] * (boxes - crowds) + [1] * crowds, np.uint8),
        image_id=1000 + number,
        dataset_id=number,
        original_shape=(7 + number, 9 + number),
        scale_factor=(0.5, 0.25, 0.5, 0.25),
        flipped=number,
        proposals=proposals,
    )


def written(samples, proposals=0, divisor=32):
    feed = {"image_dtype": samples[0].image.dtype.name}
    layout = lay_out(samples, {"size_divisor": divisor, "feed": feed}, proposals)
    payload = np.full(layout.nbytes, 0xFF, np.uint8)  # of the older batch
    arrays = layout.views(payload)
    write(samples, arrays, Checksum(payload))
    return arrays


def test_a_batch_is_as_large_as_its_largest_image_and_has_room_for_the_most_boxes():
    samples = [sample(33, 20, 9, 0, 1), sample(10, 65, 2, 0, 2)]
    shapes = {name: array.shape for name, array in written(samples).items()}
    assert shapes["images"] == (2, 64, 96, 3) and shapes["boxes"] == (2, 16, 4) and "proposals" not in shapes
    assert written(samples, divisor=1)["images"].shape == (2, 33, 65, 3)
    assert written([sample(8, 8, 0, 0, 1)])["boxes"].shape == (1, 8, 4)


def test_every_field_of_every_sample_is_there_and_nothing_of_the_batch_before():
    samples = [sample(33, 20, 3, 1, 1), sample(10, 65, 0, 0, 2), sample(20, 20, 5, 5, 3)]
    arrays = written(samples)
    for row, one in enumerate(samples):
        height, width, _ = one.image.shape
        count = len(one.boxes)
        assert (arrays["images"][row, :height, :width] == one.image).all()
        assert arrays["images"][row].astype(int).sum() == one.image.astype(int).sum()
        assert arrays["image_shapes"][row].tolist() == [height, width]
        assert arrays["original_shapes"][row].tolist() == list(one.original_shape)
        assert arrays["scale_factors"][row].tolist() == list(one.scale_factor)
        assert (arrays["flipped"][row], arrays["dataset_ids"][row]) == (one.flipped, one.dataset_id)
        assert arrays["image_ids"][row] == one.image_id
        for name in ("boxes", "labels", "ignored"):
            assert (arrays[name][row, :count] == getattr(one, name)).all() and not arrays[name][row, count:].any()
    assert arrays["box_counts"].tolist() == [2, 0, 0]


def test_floats_are_written_as_they_are_with_zeros_around_them():
    wholes = [sample(33, 20, 1, 0, 1), sample(9, 65, 1, 0, 2)]
    samples = [replace(one, image=one.image / np.float32(3)) for one in wholes]
    images = written(samples)["images"]
    assert images.dtype == np.float32 and images.shape == (2, 64, 96, 3)
    for image, one in zip(images, samples, strict=True):
        height, width, _ = one.image.shape
        assert (image[:height, :width] == one.image).all()
        assert np.count_nonzero(image) == one.image.size


def test_proposals_are_followed_by_zeros_up_to_the_most_of_the_stream():
    rows = np.arange(10, dtype=np.float32).reshape(2, 5) + 1
    arrays = written([sample(8, 8, 1, 0, 1, rows), sample(8, 8, 1, 0, 2, rows[:1])], proposals=11)
    assert arrays["proposals"].shape == (2, 16, 5) and arrays["proposal_counts"].tolist() == [2, 1]
    assert (arrays["proposals"][0, :2] == rows).all() and not arrays["proposals"][0, 2:].any()
    assert (arrays["proposals"][1, :1] == rows[:1]).all() and not arrays["proposals"][1, 1:].any()

"""What the server learns of a data set, and whether another one has taken its place."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest

from data_server.handover.facts import DatasetFacts
from shared.batch import layout_of
from shared.messages import Facts

FACTS = DatasetFacts(
    wide=np.array([1, 0, 1], np.uint8),
    max_boxes=9,
    max_proposals=4,
    height=96,
    width=128,
    fingerprint="2-aa",
    sizes=[2, 1],
    classes=[["a"], ["b"]],
)


@pytest.mark.parametrize("by_class", [[], [[]], [[0, 2], [], [1 << 40]]])
def test_facts_come_through_a_message_and_its_memory_and_leave_no_descriptor(by_class: list[list[int]]) -> None:
    message = Facts(
        classes=FACTS.classes,
        images=3,
        sizes=FACTS.sizes,
        fingerprint=FACTS.fingerprint,
        max_boxes=9,
        max_proposals=4,
        batch_height=96,
        batch_width=128,
        nursery_bytes=1,
        worker_bytes=2,
    )
    memory = replace(FACTS, by_class=[np.array(images, np.int64) for images in by_class]).to_memory()
    found = DatasetFacts.received(message, memory)
    assert found.wide.tolist() == [1, 0, 1]
    assert [images.tolist() for images in found.by_class] == by_class
    assert replace(found, wide=FACTS.wide, by_class=[]) == FACTS
    with pytest.raises(OSError):
        os.fstat(memory)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sizes": [2, 2]}, r"it has 2 \+ 2 images, it had 2 \+ 1"),
        ({"classes": [["a"], ["c"]]}, "it has other classes"),
        ({"fingerprint": "2-bb"}, r"its annotations are others \(fingerprint 2-bb, was 2-aa\)"),
        ({"wide": np.array([1, 1, 1], np.uint8)}, "its images have other sizes or its pipeline other bounds"),
        ({"max_boxes": 8}, "its images have other sizes or its pipeline other bounds"),
        ({"max_proposals": 5}, "its images have other sizes or its pipeline other bounds"),
        ({"height": 64}, "its images have other sizes or its pipeline other bounds"),
        ({"width": 64}, "its images have other sizes or its pipeline other bounds"),
    ],
)
def test_every_change_is_told(change: dict, says: str) -> None:
    text = replace(FACTS, **change).change_since(FACTS)
    assert re.search(rf"^changed while it was in use: {says}; put the files back, or start again", text), text


def test_no_change_is_no_text() -> None:
    assert replace(FACTS, wide=FACTS.wide.copy()).change_since(FACTS) == ""


@pytest.mark.parametrize(("most", "max_boxes", "boxes"), [(None, 9, 16), (None, 8, 8), (None, 0, 8), (20, 9, 24)])
def test_a_batch_has_room_for_the_most_boxes_or_what_the_config_says(most, max_boxes: int, boxes: int) -> None:
    facts = replace(FACTS, max_boxes=max_boxes)
    for dtype in ("uint8", "float32"):
        config = {"batch_size": 3, "feed": {"max_boxes": most, "image_dtype": dtype}}
        assert facts.payload_bytes(config) == layout_of(3, 96, 128, boxes, 4, dtype).nbytes

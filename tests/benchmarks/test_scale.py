"""The scale benchmark in its smallest form: all stages run, and what it says of memory and growth holds."""

from __future__ import annotations

import hashlib
import json

import pytest

from benchmarks import scale
from benchmarks.annotation_file import COCO, LVIS, OBJECTS365, OPEN_IMAGES, write
from data_server.files.index.cache import index_of


@pytest.mark.parametrize("form", [COCO, OBJECTS365, OPEN_IMAGES, LVIS], ids=["coco", "objects365", "oid", "lvis"])
def test_a_file_is_the_same_every_time_as_large_as_asked_and_taken_in(tmp_path, form):
    boxes = [write(tmp_path / name, 300, form) for name in ("a", "b")]
    content = json.loads((tmp_path / "a").read_text())
    assert boxes == [len(content["annotations"])] * 2 and len(content["images"]) == 300
    assert len({hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in "ab"}) == 1
    assert {one["image_id"] for one in content["annotations"]} == set(range(1, 301))
    assert all(("segmentation" in one) is form.outlined for one in content["annotations"])
    assert index_of(tmp_path / "a", print).columns.facts["annotations"] == boxes[0]


@pytest.mark.slow
def test_at_ten_thousand_images_an_index_costs_a_fraction_of_mmdetections_memory(tmp_path):
    many = scale.compare(tmp_path, [10_000], most_theirs=10_000)[10_000]
    assert many[scale.THEIRS]["held"] > 10 * many[scale.OURS]["held"]
    assert many[scale.SECOND]["held"] < 30 and many[scale.SECOND]["cpu"] < many[scale.INDEX]["cpu"]
    write(tmp_path / "few.json", 1_000)
    few = scale.measured(scale.INDEX, tmp_path / "few.json", tmp_path / "cache")
    assert few[scale.INDEX]["size"] < many[scale.INDEX]["size"] < 11 * few[scale.INDEX]["size"]
    growth = scale.exponents({1_000: few, 10_000: many})
    assert growth[f"{scale.INDEX}, size"] < 1.05

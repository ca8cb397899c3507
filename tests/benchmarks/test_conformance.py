"""The conformance benchmark in its short form: the pipelines that most of MMDetection's configs have are delivered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmengine.config import Config

from benchmarks import compatibility, conformance, zoo
from benchmarks.conformance import CRASH, DIFFERENT, IDENTICAL, REFUSED, ROUNDED, Feeders, compared
from benchmarks.standard_data import make_photographs
from benchmarks.zoo import Photographs, fed_of
from shared.errors import UserError
from tests.cluster import ROOT

LOAD, BOXES, RESIZE, PACK = (
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "Resize", "scale": (64, 48), "keep_ratio": True},
    {"type": "PackDetInputs"},
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, own = tmp_path_factory.mktemp("photographs"), tmp_path_factory.mktemp("own")
    make_photographs(folder, 6)
    return Photographs.of(folder, own)


def config(*pipeline, **wrapper):
    leaf = {"type": "LVISV1Dataset", "ann_file": "nowhere.json", "pipeline": list(pipeline), "indices": 3}
    dataset = {**wrapper, "dataset": leaf} if wrapper else leaf
    return Config({"train_dataloader": {"batch_size": 16, "dataset": dataset}, "model": {}})


def test_a_box_without_a_polygon_has_one_and_folders_without_photographs_are_named(photographs, tmp_path):
    content = json.loads(photographs.annotations.read_text())
    x, y, w, h = content["annotations"][0]["bbox"]
    assert content["annotations"][0]["segmentation"] == [[x, y, x + w, y, x + w, y + h, x, y + h]]
    with pytest.raises(UserError, match=r"expected a folder images/ and a COCO annotation file"):
        Photographs.of(tmp_path, tmp_path)


def test_configs_that_differ_in_files_alone_are_fed_once_and_wrappers_stay(photographs):
    plain = config(LOAD, BOXES, RESIZE, PACK)
    other = config(LOAD, BOXES, RESIZE, PACK)
    other.train_dataloader.dataset.ann_file = "elsewhere.json"
    repeated = config(LOAD, BOXES, RESIZE, PACK, type="RepeatDataset", times=3)
    first, second = fed_of([("c", repeated), ("a", plain), ("b", other)], photographs)
    assert first.configs == ["a", "b"] and second.configs == ["c"]
    assert second.part["dataset"]["times"] == 3
    leaf = second.part["dataset"]["dataset"]
    assert leaf == first.part["dataset"] and leaf["ann_file"] == str(photographs.annotations) and "indices" not in leaf


def test_a_training_set_whose_pipeline_is_switched_is_fed_with_both(photographs):
    plain = config(LOAD, BOXES, RESIZE, PACK)
    later = [LOAD, BOXES, PACK]
    plain.custom_hooks = [{"type": "PipelineSwitchHook", "switch_epoch": 3, "switch_pipeline": later}]
    mixed = config(LOAD, BOXES, type="MultiImageMixDataset", pipeline=[{"type": "Mosaic"}, PACK])
    mixed.custom_hooks = [{"type": "YOLOXModeSwitchHook"}]
    found = {(fed.configs[0], fed.split): fed.part for fed in fed_of([("plain", plain), ("mixed", mixed)], photographs)}
    assert len(found) == 4
    assert found["plain", "later"]["dataset"]["pipeline"] == later
    assert "Mosaic" in found["mixed", "later"]["dataset"]["skip_type_keys"]
    assert all("switch_pipeline" not in json.dumps(part) and part["training"] for part in found.values())


@pytest.mark.parametrize(
    ("steps", "boxes_only"),
    [
        ((LOAD, BOXES, PACK), True),
        ((LOAD, BOXES, {"type": "FilterAnnotations"}, PACK), True),
        ((LOAD, {**BOXES, "with_mask": True}, PACK), False),
        ((LOAD, {"type": "LoadPanopticAnnotations"}, PACK), False),
        ((LOAD, {"type": "RandomChoice", "transforms": [[{**BOXES, "with_seg": True}]]}, PACK), False),
    ],
)
def test_what_loads_masks_anywhere_is_not_of_boxes_only(photographs, steps, boxes_only):
    (fed,) = fed_of([("a", config(*steps))], photographs)
    assert fed.boxes_only is boxes_only


def test_a_difference_in_any_array_is_found(photographs):
    (fed,) = fed_of([("a", config(LOAD, BOXES, RESIZE, PACK))], photographs)
    here = {
        "images": np.zeros((4, 6, 3), np.uint8),
        "boxes": np.arange(12, dtype=np.float32).reshape(3, 4),
        "box_counts": np.int32(2),
        "ignored": np.array([0, 0, 1], np.uint8),
        "labels": np.array([4, 5, 0], np.int32),
        "image_shapes": np.array([3, 5]),
        "original_shapes": np.array([6, 10]),
        "scale_factors": np.full(4, 0.5, np.float32),
    }
    there = {
        "image": np.zeros((3, 5, 3), np.uint8),
        "boxes": here["boxes"][:2].copy(),
        "crowds": here["boxes"][2:].copy(),
        "labels": np.array([4, 5]),
        "shape": np.array([6, 10]),
        "scale": np.array([0.5, 0.5]),
    }
    assert compared([here], [there], fed) == (IDENTICAL, "")
    floats = there["image"].astype(np.float32) + 0.25
    assert compared([here], [{**there, "image": floats}], fed) == (ROUNDED, "")
    as_floats = {**here, "images": here["images"].astype(np.float32)}
    as_floats["images"][:3, :5] = 0.25
    assert compared([as_floats], [{**there, "image": floats.astype(np.float64)}], fed) == (IDENTICAL, "")
    assert compared([as_floats], [there], fed) == (DIFFERENT, "pictures of sample 0")
    for name, array in there.items():
        assert compared([here], [{**there, name: array + 1}], fed)[0] == DIFFERENT, name
    beyond = {**here, "images": here["images"].copy()}
    beyond["images"][3, 5] = 1
    assert compared([beyond], [there], fed) == (DIFFERENT, "padding of sample 0")


@pytest.fixture(scope="module")
def checked():
    """The configs of the installed zoo, and what is said of those that do not pass the check."""
    return conformance.check(zoo.files(zoo.installed()), zoo.installed())


@pytest.mark.slow
def test_the_page_about_every_key_of_the_zoo_is_what_its_generator_prints_now(checked):
    text = (ROOT / "docs" / "compatibility.md").read_text()
    assert compatibility.page(*checked) == text, "python -m benchmarks.compatibility > docs/compatibility.md"


def test_a_key_is_counted_by_what_becomes_of_its_value():
    plain = config(LOAD, BOXES, PACK)
    plain.merge_from_dict({"val_cfg": {"type": "MyLoop"}, "optim_wrapper": {"type": "ApexOptimWrapper", "acumulat": 2}})
    other = config(LOAD, BOXES, PACK)
    other.merge_from_dict({"val_cfg": {"fp16": True}, "custom_hooks": [{"type": "Mine"}], "log_level": "INFO"})
    other.merge_from_dict({"lr_config": {}})
    text = compatibility.page({"a": plain, "b": other}, {"a": "config key 'val_cfg.type' is 'MyLoop', which is not su"})
    for line in (
        "| all that resolve | 2 | 1 (50.0%) |",
        "| `'val_cfg.type' is 'MyLoop'` | 1 |",
        "| `val_cfg.type` | 1 |  |  | 1 |",
        "| `val_cfg.fp16` | 1 | 1 |  |  |",
        "| `log_level` | 1 |  | 1 |  |",
        "| `optim_wrapper type=ApexOptimWrapper` | 1 |  |  | 1 |",
        "| `optim_wrapper.acumulat` | 1 |  |  | 1 |",
        "| `hook type=Mine` | 1 |  |  | 1 |",
        "| `lr_config` | 1 |  |  | 1 |",
        "| `*_dataloader.batch_size` | 2 | 2 |  |  |",
    ):
        assert line in text.splitlines()


@pytest.mark.long
def test_the_forty_most_frequent_data_sets_of_the_zoo_are_delivered_as_mmdetection_makes_them(photographs, checked):
    configs, _ = checked
    with Feeders(images=2) as feeders:
        found = [(fed, *feeders.verdict(fed)) for fed in list(fed_of(configs.items(), photographs))[:40]]
    wrong = [
        f"{fed.split} {fed.configs[0]}: {verdict}, {says}"
        for fed, verdict, says in found
        if verdict in (DIFFERENT, CRASH, REFUSED)
    ]
    assert not wrong, "\n".join(wrong)
    delivered = [fed for fed, verdict, _ in found if verdict in (IDENTICAL, ROUNDED)]
    assert len(delivered) > 25 and {fed.split for fed in delivered} >= {"train", "val"}

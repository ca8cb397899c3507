"""What lies in a slot is, byte for byte, what MMDetection's unmodified pipeline packs for the same image and seed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_server.handover.facts import DatasetFacts
from data_server.serving.plan import Plan
from shared.data_part import TUPLE
from tests.cluster import ROOT
from tests.photos import CROWD, EMPTY, HIGH, IMAGES, TRAIN_PIPELINE, annotations_of, config_of, write_annotations

SEED = 7
STEPS = 24
PHOTOGRAPHS = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data")) / "coco_photos"
SAMPLES = 104


def compare(client, config, wide, steps, folder):
    """Yields (our arrays of one image, MMDetection's) for the first `steps` batches of a stream of single images."""
    plan = Plan.of(config, DatasetFacts(wide, 1, 0, 64, 64, "", [len(wide)], []), SEED)
    batches = [plan.batch(step) for step in range(steps)]
    request = {"dataset": config["dataset"], "samples": [[batch.indices[0], batch.seeds[0]] for batch in batches]}
    file = folder / "arrays.npz"
    command = [sys.executable, "-m", "tests.data_server.reference", str(file)]
    subprocess.run(command, input=json.dumps(request), text=True, cwd=ROOT, check=True)
    with np.load(file) as theirs:
        names = {key.split()[0] for key in theirs}
        for step in range(steps):
            lease = client.next()
            ours = {name: array[0].copy() for name, array in lease.arrays.items()}
            yield ours, {name: theirs[f"{name} {step}"] for name in names}
            lease.release()
    file.unlink()


@pytest.fixture(scope="module")
def pairs(photos, long_lived_cluster, tmp_path_factory):
    """For two epochs of a training stream."""
    config = config_of(photos, batch_size=1)
    kept = [number for number in range(IMAGES) if number != EMPTY]
    wide = np.array([not 6 <= number <= 9 for number in kept], np.uint8)
    client = long_lived_cluster.open(config, seed=SEED)
    found = list(compare(client, config, wide, STEPS, tmp_path_factory.mktemp("reference")))
    long_lived_cluster.close_streams()
    return found


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs in {PHOTOGRAPHS}; set DATA_DIR")
def test_every_byte_of_104_photographs_is_that_of_mmdetection(cluster, tmp_path):
    resize = {"type": "Resize", "scale": (1333, 800), "keep_ratio": True}
    pipeline = (*TRAIN_PIPELINE[:2], resize, *TRAIN_PIPELINE[3:])
    config = config_of(
        PHOTOGRAPHS, batch_size=1, pipeline=pipeline, ann_file="instances_train.json", metainfo=None, filter_cfg=None
    )
    content = json.loads((PHOTOGRAPHS / "instances_train.json").read_text())
    wide = np.array([image["width"] > image["height"] for image in content["images"]], np.uint8)
    compared = 0
    for ours, theirs in compare(cluster.open(config, seed=SEED), config, wide, SAMPLES, tmp_path):
        height, width = theirs["image"].shape[:2]
        np.testing.assert_array_equal(ours["images"][:height, :width], theirs["image"])
        count = ours["box_counts"]
        np.testing.assert_array_equal(ours["boxes"][:count], theirs["boxes"])
        np.testing.assert_array_equal(ours["labels"][:count], theirs["labels"])
        compared += 1
    assert compared == SAMPLES


def test_the_pictures_are_those_of_mmdetection_and_zero_around(pairs):
    for ours, theirs in pairs:
        height, width = theirs["image"].shape[:2]
        assert (ours["images"][:height, :width] == theirs["image"]).all()
        assert not ours["images"][height:].any() and not ours["images"][:, width:].any()
        assert ours["images"].shape[0] % 32 == ours["images"].shape[1] % 32 == 0


def test_boxes_and_labels_are_those_of_mmdetection(pairs):
    for ours, theirs in pairs:
        count = ours["box_counts"]
        assert count == len(theirs["boxes"])
        np.testing.assert_array_equal(ours["boxes"][:count], theirs["boxes"])
        np.testing.assert_array_equal(ours["labels"][:count], theirs["labels"])


def test_crowds_follow_the_boxes_and_are_marked(pairs):
    seen = 0
    for ours, theirs in pairs:
        count, crowds = ours["box_counts"], len(theirs["crowds"])
        np.testing.assert_array_equal(ours["boxes"][count : count + crowds], theirs["crowds"])
        assert ours["ignored"].tolist() == [0] * count + [1] * crowds + [0] * (len(ours["ignored"]) - count - crowds)
        assert not ours["boxes"][count + crowds :].any()
        seen += crowds
        assert bool(crowds) == (ours["image_ids"] == 100 + CROWD)
    assert seen == 2  # once in each epoch


def test_the_records_of_an_image_are_those_of_mmdetection(pairs):
    for ours, theirs in pairs:
        assert [*ours["image_shapes"], *ours["original_shapes"]] == theirs["shapes"].tolist()
        np.testing.assert_array_equal(ours["scale_factors"], np.tile(theirs["scale"].astype(np.float32), 2))
        assert ours["image_ids"] == theirs["id"] and ours["dataset_ids"] == 0
        assert bool(ours["flipped"]) == bool(theirs["flip"])
    assert {bool(ours["flipped"]) for ours, _ in pairs} == {True, False}
    assert {tuple(ours["original_shapes"]) == HIGH for ours, _ in pairs} == {True, False}


PHOTOMETRIC = {"type": "PhotoMetricDistortion", "contrast_range": (0.4, 1.9)}


@pytest.mark.parametrize("loader", [{}, {"to_float32": True}], ids=["bytes", "to_float32"])
@pytest.mark.parametrize("distorted", [(), (PHOTOMETRIC,)], ids=["plain", "distorted"])
def test_floats_are_those_of_mmdetection_rounded_and_cut(loader, distorted, cluster, photos, tmp_path):
    load = {**TRAIN_PIPELINE[0], **loader}
    config = config_of(photos, batch_size=1, pipeline=(load, TRAIN_PIPELINE[1], *distorted, *TRAIN_PIPELINE[2:]))
    wide = np.array([not 6 <= number <= 9 for number in range(IMAGES) if number != EMPTY], np.uint8)
    beyond = fractions = 0
    for ours, theirs in compare(cluster.open(config, seed=SEED), config, wide, STEPS, tmp_path):
        height, width = theirs["image"].shape[:2]
        expected = np.clip(theirs["image"].astype(np.float64), 0, 255)
        assert abs(ours["images"][:height, :width] - expected).max() <= 0.5
        np.testing.assert_array_equal(ours["images"][:height, :width], np.rint(expected))
        np.testing.assert_array_equal(ours["boxes"][: ours["box_counts"]], theirs["boxes"])
        beyond += int((theirs["image"] > 255).sum())
        fractions += int((theirs["image"] % 1 != 0).sum())
    assert bool(beyond) == bool(distorted) and bool(fractions) == bool(distorted or loader)


def test_floats_are_mmdetections_to_the_last_bit_where_the_config_asks_for_floats(cluster, photos, tmp_path):
    steps = (TRAIN_PIPELINE[0], TRAIN_PIPELINE[1], PHOTOMETRIC, *TRAIN_PIPELINE[2:])
    config = config_of(photos, batch_size=1, pipeline=steps, feed={"image_dtype": "float32"})
    wide = np.array([not 6 <= number <= 9 for number in range(IMAGES) if number != EMPTY], np.uint8)
    for ours, theirs in compare(cluster.open(config, seed=SEED), config, wide, 6, tmp_path):
        height, width = theirs["image"].shape[:2]
        assert ours["images"].dtype == theirs["image"].dtype == np.float32
        np.testing.assert_array_equal(ours["images"][:height, :width], theirs["image"])
        assert (theirs["image"] % 1 != 0).any()


def one_of(cluster, config):
    lease = cluster.open(config).next()
    return {name: array.copy() for name, array in lease.arrays.items()}


def test_class_agnostic_data_sets_have_one_label_and_count_every_category(cluster, photos):
    config = config_of(photos, batch_size=8, metainfo=None, class_agnostic=True)
    arrays = one_of(cluster, config)
    assert arrays["box_counts"].sum() > 8 and not arrays["labels"].any()


def test_every_data_set_of_several_has_its_own_number_and_classes(cluster, photos):
    """And its images have ids that those of no other have, though they are the same file's."""
    part = config_of(photos, "val")["dataset"]
    both = {**config_of(photos, "val", batch_size=24)}
    other = {**part, "metainfo": {"classes": ["shoe", "cup"]}}
    both["dataset"] = {"type": "ConcatDataset", "datasets": [part, other]}
    client = cluster.open(both)
    assert client.welcome.classes == [["cup", "lamp", "shoe"], ["cup", "shoe"]] and client.welcome.images == 2 * IMAGES
    arrays = client.next().arrays
    assert arrays["dataset_ids"].tolist() == [0] * IMAGES + [1] * IMAGES
    assert arrays["image_ids"].tolist() == list(range(2 * IMAGES))


def test_labels_follow_the_annotation_files_list_of_categories_and_so_do_the_names(cluster, photos, tmp_path):
    """MMDetection keeps the file's order, whatever metainfo.classes says; embeddings are checked by these names."""
    shutil.copytree(photos, tmp_path / "set")
    content = annotations_of(photos)
    content["categories"] = content["categories"][::-1]
    write_annotations(tmp_path / "set", content)
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    for named, classes in ((["cup", "shoe"], ["shoe", "cup"]), (None, ["shoe", "lamp", "cup"])):
        metainfo = named and {"classes": named}
        client = cluster.open(config_of(tmp_path / "set", "val", batch_size=IMAGES, metainfo=metainfo))
        assert client.welcome.classes == [classes]
        arrays = client.next().arrays
        for row, identity in enumerate(arrays["image_ids"]):
            count = int(arrays["box_counts"][row]) + int(arrays["ignored"][row].sum())
            found = [classes[label] for label in arrays["labels"][row, :count]]
            truth = [name_of[one["category_id"]] for one in content["annotations"] if one["image_id"] == identity]
            assert found == [name for name in truth if name in classes]


def test_images_that_are_flipped_both_ways_are_recorded_as_such(cluster, photos):
    flips = {"type": "RandomFlip", "prob": [0.25, 0.25, 0.25], "direction": ["horizontal", "vertical", "diagonal"]}
    pipeline = (*TRAIN_PIPELINE[:3], flips, TRAIN_PIPELINE[-1])
    client = cluster.open(config_of(photos, batch_size=4, pipeline=pipeline))
    seen = set()
    for _ in range(12):
        lease = client.next()
        seen |= set(lease.arrays["flipped"].tolist())
        lease.release()
    assert seen == {0, 1, 2, 3}


def test_boxes_lie_in_pixels_of_the_picture_even_when_a_pipeline_loads_them_after_resizing(cluster, photos):
    """MMDetection's validation pipelines do, and leave them in pixels of the file."""
    arrays = one_of(cluster, config_of(photos, "val", batch_size=IMAGES))
    annotations = annotations_of(photos)["annotations"]
    scaled = 0
    for row, image_id in enumerate(arrays["image_ids"]):
        boxes = [one["bbox"] for one in annotations if one["image_id"] == image_id and not one["iscrowd"]]
        expected = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
        expected = expected * arrays["scale_factors"][row]
        np.testing.assert_allclose(arrays["boxes"][row, : len(expected)], expected, rtol=1e-6)
        scaled += bool((arrays["scale_factors"][row] > 1.1).all())
    assert scaled == IMAGES


MIXES = {
    "Mosaic and MixUp": (
        {"type": "Mosaic", "img_scale": {TUPLE: [96, 64]}, "pad_val": 114.0},
        {"type": "RandomAffine", "scaling_ratio_range": {TUPLE: [0.5, 1.5]}, "border": {TUPLE: [-48, -32]}},
        {"type": "MixUp", "img_scale": {TUPLE: [96, 64]}, "ratio_range": {TUPLE: [0.8, 1.6]}, "pad_val": 114.0},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "Resize", "scale": {TUPLE: [128, 96]}, "keep_ratio": True},
    ),
    "CopyPaste": ({"type": "CopyPaste", "max_num_pasted": 4},),
}


def mixed(folder, steps, sets=1, **changes):
    """A stream of single images, each mixed with others; of `sets` data sets, which are the same."""
    load = {"type": "LoadAnnotations", "with_bbox": True, "with_mask": steps == MIXES["CopyPaste"]}
    resize = {"type": "Resize", "scale": (90, 60), "keep_ratio": False}
    config = config_of(folder, batch_size=1, pipeline=(TRAIN_PIPELINE[0], load, resize), **changes)
    inner = config["dataset"]
    inner = inner if sets == 1 else {"type": "ConcatDataset", "datasets": [inner] * sets}
    pipeline = [*steps, TRAIN_PIPELINE[-1]]
    return {**config, "dataset": {"type": "MultiImageMixDataset", "pipeline": pipeline, "dataset": inner}}


@pytest.fixture
def with_polygons(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    content = annotations_of(tmp_path / "set")
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotation["iscrowd"] = 0
    write_annotations(tmp_path / "set", content)
    return tmp_path / "set"


@pytest.mark.parametrize(("name", "sets"), [*((name, 1) for name in MIXES), ("Mosaic and MixUp", 2)])
def test_images_that_are_mixed_are_those_of_mmdetection_whoever_makes_them(
    name, sets, cluster, with_polygons, tmp_path
):
    config = mixed(with_polygons, MIXES[name], sets)
    wide = np.array([not 6 <= number <= 9 for number in range(IMAGES) if number != EMPTY] * sets, np.uint8)
    more, numbers = 0, set()
    for ours, theirs in compare(cluster.open(config, seed=SEED), config, wide, STEPS, tmp_path):
        height, width = theirs["image"].shape[:2]
        np.testing.assert_array_equal(ours["images"][:height, :width], theirs["image"])
        count = ours["box_counts"]
        np.testing.assert_array_equal(ours["boxes"][:count], theirs["boxes"])
        np.testing.assert_array_equal(ours["labels"][:count], theirs["labels"])
        assert ours["image_ids"] == theirs["id"]
        numbers.add(int(ours["dataset_ids"]))
        more += int(count > 3)  # more than any image has
    assert more and numbers == set(range(sets))


MOSAIC = {"type": "CachedMosaic", "img_scale": {TUPLE: [96, 64]}, "max_cached_images": 6}
MIX_UP = {"type": "CachedMixUp", "img_scale": {TUPLE: [96, 64]}, "max_cached_images": 3, "random_pop": False}


def test_what_is_mixed_in_from_caches_is_mmdetections_given_the_same_caches(cluster, photos, tmp_path):
    """Half of what is cropped has no box and is rejected, on the way to a cache, too."""
    crop = {"type": "RandomCrop", "crop_size": {TUPLE: [24, 24]}, "allow_negative_crop": False}
    resize = {"type": "RandomResize", "scale": {TUPLE: [128, 96]}, "ratio_range": {TUPLE: [0.5, 1.0]}}
    steps = (MOSAIC, {**resize, "keep_ratio": True}, crop, {"type": "RandomFlip", "prob": 0.5}, MIX_UP)
    config = config_of(photos, batch_size=1, pipeline=(*TRAIN_PIPELINE[:2], *steps, TRAIN_PIPELINE[-1]))
    wide = np.array([not 6 <= number <= 9 for number in range(IMAGES) if number != EMPTY], np.uint8)
    mixed_up = 0
    for ours, theirs in compare(cluster.open(config, seed=SEED), config, wide, STEPS, tmp_path):
        np.testing.assert_array_equal(ours["images"][:24, :24], theirs["image"])
        count = ours["box_counts"]
        np.testing.assert_array_equal(ours["boxes"][:count], theirs["boxes"])
        np.testing.assert_array_equal(ours["labels"][:count], theirs["labels"])
        assert ours["image_ids"] == theirs["id"]
        mixed_up += int(count > 1)
    assert mixed_up


def test_an_image_that_is_mixed_in_and_cut_short_is_named(cluster, with_polygons):
    path = with_polygons / "images" / "03.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    client = cluster.open(mixed(with_polygons, MIXES["Mosaic and MixUp"], feed={"on_bad_sample": "replace"}))
    for _ in range(STEPS):
        client.next().release()
    named = [notice for notice in cluster.notices if notice.startswith(f"image '{path}': ")]
    assert len(named) > STEPS / IMAGES, "it is one of five in every sample"

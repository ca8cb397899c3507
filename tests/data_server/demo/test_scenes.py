import hashlib
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from data_server.demo.scenes import MIN_VISIBLE, _background, draw_scene, generate
from data_server.demo.vocabulary import TRAINING_SETS, VALIDATION_SETS
from shared.embeddings import read_names
from shared.errors import UserError

ROOT = Path(__file__).parents[3]
SETS = TRAINING_SETS + VALIDATION_SETS
SMALL = {"train_images": 30, "val_images": 10}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "demo"
    generate(out, seed=0, **SMALL)
    return out


@pytest.fixture(scope="module")
def scenes() -> list[tuple]:
    """200 scenes on a grey wall: (picture, objects)."""
    rng = np.random.default_rng(7)
    names = itertools.cycle(["red star", "white ring", "green cross", "yellow drop", "blue square"])
    return [draw_scene(rng, [np.full((300, 300, 3), 120, np.uint8)], names) for _ in range(200)]


def document(folder: Path, dataset: str) -> dict:
    return json.loads((folder / f"{dataset}.json").read_text())


def hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_same_seed_gives_the_same_bytes_in_every_file(demo, tmp_path):
    generate(tmp_path / "again", seed=0, **SMALL)
    assert hashes(tmp_path / "again") == hashes(demo)


def test_another_seed_gives_other_pictures_of_the_same_vocabularies(demo, tmp_path):
    generate(tmp_path / "other", seed=1, **SMALL)
    here, there = hashes(demo), hashes(tmp_path / "other")
    assert here.keys() == there.keys()
    for file_name in here:
        assert (here[file_name] == there[file_name]) == file_name.endswith((".npy", ".names.json")), file_name


@pytest.mark.parametrize("dataset", SETS)
def test_the_rows_of_the_embeddings_are_named_in_the_order_of_the_categories(demo, dataset):
    names = [category["name"] for category in document(demo, dataset)["categories"]]
    assert read_names(demo / f"{dataset}.npy") == names


def test_the_sets_have_the_asked_number_of_images_and_no_two_are_alike(demo):
    for dataset in SETS:
        count = SMALL["train_images"] if dataset in TRAINING_SETS else SMALL["val_images"]
        assert len(document(demo, dataset)["images"]) == len(list((demo / dataset).glob("*.jpg"))) == count
    pictures = [digest for file_name, digest in hashes(demo).items() if file_name.endswith(".jpg")]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize("dataset", SETS)
def test_pycocotools_loads_the_annotations_and_they_fit_the_pictures(demo, dataset):
    coco = COCO(str(demo / f"{dataset}.json"))
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(demo / dataset / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert 1 <= len(annotations) <= 6
        for annotation in annotations:
            x, y, width, height = annotation["bbox"]
            assert x >= 0 and y >= 0 and x + width <= image["width"] and y + height <= image["height"]
            assert 0 < annotation["area"] <= width * height
            assert annotation["iscrowd"] == 0
            assert annotation["category_id"] in coco.cats


@pytest.mark.parametrize("dataset", SETS)
def test_annotation_ids_are_unique(demo, dataset):
    ids = [annotation["id"] for annotation in document(demo, dataset)["annotations"]]
    assert len(set(ids)) == len(ids)


def test_objects_are_dealt_evenly_over_the_names(demo):
    for dataset in SETS:
        content = document(demo, dataset)
        counts = {category["id"]: 0 for category in content["categories"]}
        for annotation in content["annotations"]:
            counts[annotation["category_id"]] += 1
        # A name comes up once in a round; fewer only where no place was found for it.
        rounds = len(content["annotations"]) / len(counts)
        assert max(counts.values()) <= rounds + 2


def test_embedding_rows_stand_in_the_order_of_the_categories_and_are_shared_between_sets(demo):
    row_of: dict[str, np.ndarray] = {}
    for dataset in SETS:
        rows, categories = np.load(demo / f"{dataset}.npy"), document(demo, dataset)["categories"]
        assert rows.shape == (len(categories), 64) and rows.dtype == np.float32
        for category, row in zip(categories, rows, strict=True):
            np.testing.assert_array_equal(row_of.setdefault(category["name"], row), row)
    assert len(row_of) == 120


def test_pictures_come_wide_tall_and_square(scenes):
    assert {picture.shape[1::-1] for picture, _ in scenes} == {(192, 144), (144, 192), (160, 160)}


def test_a_background_is_as_bright_as_its_photograph():
    grey = np.full((200, 300, 3), 100, np.uint8)
    for seed in range(20):
        background = _background(np.random.default_rng(seed), grey, 100, 80)
        assert np.abs(background - 100).max() <= 18.1  # the tint


def test_a_box_is_tight_around_what_can_be_seen():
    """On a black wall a white object's pixels are the bright ones; half covered ones may fall on either side."""
    rng, compared = np.random.default_rng(3), 0
    names = itertools.cycle(["white star", "white arrow", "white crescent", "white bolt", "white heart"])
    for _ in range(120):
        picture, objects = draw_scene(rng, [np.zeros((300, 300, 3), np.uint8)], names)
        if len(objects) > 1:
            continue
        bright = picture.max(2) > 50
        columns, rows = np.flatnonzero(bright.any(0)), np.flatnonzero(bright.any(1))
        x, y, width, height = objects[0].box
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose([x, y, x + width, y + height], seen, atol=1)
        compared += 1
    assert compared >= 10


def test_a_box_leaves_out_what_another_object_hides(scenes):
    hidden = 0
    for _, objects in scenes:
        for item in objects:
            x, y, width, height = item.box
            outside = item.visible.copy()
            outside[y : y + height, x : x + width] = False
            assert not outside.any()
            for line in (item.visible[y], item.visible[y + height - 1]):
                assert line[x : x + width].any()
            for line in (item.visible[:, x], item.visible[:, x + width - 1]):
                assert line[y : y + height].any()
            hidden += item.visible.sum() < item.pixels
        assert np.sum([item.visible for item in objects], axis=0).max() == 1, "a pixel belongs to two objects"
    assert hidden > 50


def test_every_object_stays_visible_enough(scenes):
    for _, objects in scenes:
        for item in objects:
            assert item.visible.sum() >= MIN_VISIBLE * item.pixels


def test_one_to_six_objects_are_drawn(scenes):
    assert {len(objects) for _, objects in scenes} == {1, 2, 3, 4, 5, 6}


def test_asking_again_for_what_is_there_writes_nothing(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    generate(demo, seed=0, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_another_size_replaces_what_this_generator_made_before(tmp_path):
    out = tmp_path / "demo"
    generate(out, train_images=3, val_images=2)
    generate(out, train_images=2, val_images=1)
    assert len(list(out.glob("*/*.jpg"))) == 2 * 2 + 2 * 1
    assert list(tmp_path.iterdir()) == [out], "something was left beside the data set"


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by the scene generator"):
        generate(tmp_path, train_images=1, val_images=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_existing_empty_folder_is_filled(tmp_path):
    generate(tmp_path, train_images=1, val_images=1)
    assert (tmp_path / "scenes.json").is_file()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"seed": -1}, "the seed is -1, expected at least 0"),
        ({"train_images": 0}, "the number of training images is 0, expected at least 1"),
        ({"val_images": 0}, "the number of validation images is 0, expected at least 1"),
        ({"dimension": 1}, "the embedding dimension is 1, expected at least 2"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(tmp_path, what, message):
    with pytest.raises(UserError, match=message):
        generate(tmp_path / "demo", **what)
    assert not any(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    code = "import sys; from data_server.commands.scenes import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--out", str(tmp_path / "demo"), "--train-images", "3000"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.glob(".demo.partial/fresh/train_a/*.jpg")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    assert not any(tmp_path.iterdir())


def test_the_generator_needs_neither_framework():
    code = (
        "import sys, data_server.demo.scenes; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'mmdet', 'mmcv', 'jittor')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

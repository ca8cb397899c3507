"""`Detector`, as a program of a user's own has it, with all three kinds of detectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT, Cluster
from tests.photos import VAL_PIPELINE, config_of
from tests.trainer.detectors import NAMES, write_clip, write_stage_1, write_table
from trainer.api import Detector, Found
from trainer.batch import Batch
from trainer.device import jit_kernel_count, jt, var
from trainer.feed.loader import BadImage, Loader
from trainer.feed.pipeline import pipeline_of
from trainer.models import build_detector
from trainer.vocabulary.embeddings import NamedEmbeddings, load
from trainer.weights import pretrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detectors")


@pytest.fixture(scope="module")
def stage_1(folder: Path) -> tuple[Path, Path]:
    return write_stage_1(folder)


@pytest.fixture(scope="module")
def end_to_end(folder: Path) -> tuple[Path, Path]:
    return write_clip(folder, "FasterRCNN")


@pytest.fixture(scope="module")
def stage_2(folder: Path) -> tuple[Path, Path]:
    return write_clip(folder, "FastRCNN", "BBoxHeadCLIPInference")


def assert_same(one: Found, name: str, other: Found, other_name: str) -> None:
    """The detections of a name are those of a name elsewhere; equal scores may stand in any order."""
    mine, theirs = (
        np.concatenate([found.boxes, found.scores[:, None] * 100], 1)[found.names == called]
        for found, called in ((one, name), (other, other_name))
    )
    assert len(mine) == len(theirs) > 0
    apart = np.abs(mine[:, None] - theirs[None]).max(2)
    assert apart.min(0).max() < 2e-3 and apart.min(1).max() < 2e-3


def assert_well_formed(found: Found, image: np.ndarray) -> None:
    boxes, scores, names = found
    height, width = image.shape[:2]
    assert len(boxes) == len(scores) == len(names) > 0
    assert boxes.dtype == scores.dtype == np.float32 and names.dtype.kind == "U"
    assert (np.diff(scores) <= 0).all()
    assert (boxes >= 0).all() and (boxes[:, 0::2] <= width + 0.01).all() and (boxes[:, 1::2] <= height + 0.01).all()


def test_stage_1_finds_what_it_finds_in_a_data_servers_batches(stage_1, photos: Path, cluster: Cluster) -> None:
    config = config_of(photos, "val", batch_size=1, pipeline=VAL_PIPELINE, class_agnostic=True)
    detector = Detector(*stage_1)
    model = build_detector(load_config(str(stage_1[0])).model)
    pretrained.load(stage_1[1], model, print, complete=True)
    model.eval()
    client = cluster.open(config, epochs=1)
    for number in range(8):  # wide ones, then two high ones
        lease = client.next()
        (expected,) = model.predict(Batch.from_arrays({name: array.copy() for name, array in lease.arrays.items()}))
        lease.release()
        image = cv2.imread(str(photos / "images" / f"{number:02}.jpg"))
        found = detector.detect(image)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert set(found.names) == {"object"}
        assert_well_formed(found, image)


def test_a_file_and_its_pixels_in_bgr_are_the_same_image(stage_1, photos: Path) -> None:
    detector = Detector(*stage_1)
    path = photos / "images" / "07.jpg"
    for one, other in zip(detector.detect(path), detector.detect(cv2.imread(str(path))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_end_to_end_names_its_boxes(end_to_end, photos: Path) -> None:
    detector = Detector(*end_to_end)
    assert detector.names == NAMES
    image = Loader()(photos / "images" / "00.jpg")
    found = detector.detect(image)
    assert_well_formed(found, image)
    assert len(set(found.names)) > 3


def test_some_of_the_trained_names_are_found_as_among_all_of_them(end_to_end, photos: Path) -> None:
    image = Loader()(photos / "images" / "00.jpg")
    everything = Detector(*end_to_end).detect(image)
    some = Detector(*end_to_end, ["red STAR", "thing 3"])
    assert some.names == ["red STAR", "thing 3"]
    found = some.detect(image)
    assert_same(found, "red STAR", everything, "Red star")
    assert_same(found, "thing 3", everything, "thing 3")


def test_a_vocabulary_of_any_size_takes_the_trained_ones_place(end_to_end, photos: Path, folder: Path) -> None:
    image = Loader()(photos / "images" / "00.jpg")
    table = write_table(folder, "many", [f"kind {number}" for number in range(40)], seed=5)
    many = Detector(*end_to_end, table)
    assert many.names == load(table).names
    found = many.detect(image)
    assert_well_formed(found, image)
    # A checkpoint has its own vocabulary along (zs_weights), which must not come back.
    one = Detector(*end_to_end, ["kind 7"], embeddings=[table]).detect(image)
    assert_same(one, "kind 7", found, "kind 7")
    mixed = Detector(*end_to_end, [table, "Red star"], embeddings=[folder / "vocabulary_FasterRCNN.npy"])
    assert mixed.names == [*many.names, "Red star"]


@pytest.mark.parametrize("kind", ["end_to_end", "stage_2"])
def test_a_detector_of_other_names_shares_the_weights_and_finds_what_one_that_was_loaded_for_them_finds(
    kind: str, request: pytest.FixtureRequest, photos: Path, folder: Path
) -> None:
    files, image = request.getfixturevalue(kind), photos / "images" / "01.jpg"
    stage_1 = {"proposals": request.getfixturevalue("stage_1")} if kind == "stage_2" else {}
    other = load(write_table(folder, "borrowed", ["cat", "dog", "red ring"], seed=9))
    detector = Detector(*files, **stage_1)
    before = detector.detect(image)
    borrowed = detector.with_vocabulary(other)
    loaded = Detector(*files, other, **stage_1)
    assert borrowed.names == loaded.names == other.names and detector.names == NAMES
    for mine, theirs in zip(borrowed.detect(image), loaded.detect(image), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(detector.detect(image), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert detector.embedding_length == other.embeddings.shape[1] and detector.turns
    with pytest.raises(UserError, match=r"rows of 31 numbers, the weights are for rows of 32"):
        detector.with_vocabulary(NamedEmbeddings(["cat"], np.ones((1, 31), np.float32)))


def test_a_detector_that_names_nothing_takes_no_names(stage_1) -> None:
    detector = Detector(*stage_1)
    assert detector.embedding_length is None
    with pytest.raises(UserError, match="finds objects of any class and names none"):
        detector.with_vocabulary(NamedEmbeddings(["cat"], np.ones((1, 32), np.float32)))


def test_the_vocabulary_that_a_config_was_trained_with_is_not_needed_beside_another(
    end_to_end, folder: Path, tmp_path: Path
) -> None:
    own = str(folder / "vocabulary_FasterRCNN.npy")
    (tmp_path / "config.py").write_text(end_to_end[0].read_text().replace(own, "/nowhere.npy"))
    table = write_table(tmp_path, "mine", ["cat", "dog"], seed=6)
    assert Detector(tmp_path / "config.py", end_to_end[1], ["dog"], embeddings=[table]).names == ["dog"]
    with pytest.raises(UserError, match=r"zeroshot_path: cannot read '/nowhere\.npy'"):
        Detector(tmp_path / "config.py", end_to_end[1])


def test_stage_2_classifies_what_stage_1_proposes(stage_1, stage_2, photos: Path) -> None:
    image = Loader()(photos / "images" / "06.jpg")
    found = Detector(*stage_2, proposals=stage_1).detect(image)
    assert_well_formed(found, image)

    # The same by hand: the best 8 boxes of stage 1, in pixels of the image that stage 2 resizes.
    config = load_config(str(stage_2[0]))
    proposed = Detector(*stage_1).detect(image)
    model = build_detector(config.model)
    pretrained.load(stage_2[1], model, print, complete=True)
    model.eval()
    resized, factors = pipeline_of(config)(image)
    height, width = resized.shape[:2]
    padded = np.zeros((1, -(-height // 32) * 32, -(-width // 32) * 32, 3), np.uint8)
    padded[0, :height, :width] = resized
    table = np.concatenate([proposed.boxes * factors, proposed.scores[:, None]], 1)[None, :8]
    with jt.no_grad():
        maps = model.neck(model.backbone(model.preprocessor(var(padded), var([[height, width]], "float32"))))
        (expected,) = model.roi_head.predict(
            maps, var(table), var([[height, width]], "float32"), var(factors[None], "float32")
        )
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
    assert found.names.tolist() == [NAMES[label] for label in expected.labels]


def test_images_of_other_sizes_need_no_more_kernels(stage_1) -> None:
    detector = Detector(*stage_1)
    # Other ones each time: in the machine's cache are the kernels of earlier runs of this test.
    rng = np.random.default_rng()
    for size in ((96, 128), (128, 96), (64, 128), (128, 64), (50, 300), (300, 50)):  # all there is of levels of one row
        detector.detect(rng.integers(0, 255, (*size, 3)).astype(np.uint8))
    compiled = jit_kernel_count()
    for _ in range(8):
        size = rng.integers(40, 700, 2)
        detector.detect(rng.integers(0, 255, (*size, 3)).astype(np.uint8))
    assert jit_kernel_count() == compiled


def test_what_does_not_fit_together_is_told(stage_1, stage_2, end_to_end, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a FastRCNN classifies boxes that another detector proposes"):
        Detector(*stage_2)
    with pytest.raises(UserError, match="finds boxes itself"):
        Detector(*end_to_end, proposals=stage_1)
    with pytest.raises(UserError, match="finds objects of any class and names none"):
        Detector(*stage_1, ["thing 3"], embeddings=[folder / "vocabulary_FasterRCNN.npy"])
    with pytest.raises(UserError, match="'thing three'"):
        Detector(*end_to_end, ["thing three"])
    np.save(tmp_path / "long.npy", np.ones((1, 48), np.float32))
    (tmp_path / "long.names.json").write_text('["cat"]')
    with pytest.raises(UserError, match=r"attnpool\.c_proj.* the vocabulary's rows have 48 numbers"):
        Detector(*end_to_end, tmp_path / "long.npy")


def test_what_is_no_image_is_told(stage_1, tmp_path: Path) -> None:
    detector = Detector(*stage_1)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(BadImage, match=r"text\.jpg"):
        detector.detect(tmp_path / "text.jpg")
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(UserError, match="expected a uint8 array"):
            detector.detect(wrong)


def test_a_program_of_ones_own_needs_three_lines_and_no_torch(stage_1, photos: Path) -> None:
    program = (
        "import sys\nfrom trainer.api import Detector\n"
        "boxes, scores, names = Detector(*sys.argv[1:3]).detect(sys.argv[3])\n"
        "print(boxes.shape, scores.shape, names.shape, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, *map(str, stage_1), str(photos / "images" / "00.jpg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(60, 4) (60,) (60,) False"

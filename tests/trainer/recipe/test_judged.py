"""What was found in which image of an evaluation, with which ground truth, and how its pictures are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from tests.faulty_server import serving
from tests.shared.test_archives import pack
from tests.trainer.recipe.finished import IMAGES, write
from trainer.recipe.judged import judged_by
from trainer.recipe.steps import Step
from trainer.reporting.highlights import galleries
from trainer.reporting.parts.gallery import Gallery


@pytest.fixture
def step(tmp_path: Path) -> Step:
    recipe, _ = write(tmp_path)
    return next(one for one in recipe.steps if one.name == "both")


def pictures(step: Step, folder: Path) -> tuple[Gallery, Gallery]:
    judged = judged_by(step, folder)
    assert judged is not None
    return galleries(judged.results, judged.names, judged.load)


def test_the_best_image_is_first_and_those_without_objects_are_in_neither_gallery(step: Step, tmp_path: Path) -> None:
    best, worst = pictures(step, tmp_path / "both")
    assert best.pictures[0].title == "image_0.jpg"
    assert best.pictures[0].note == "AP50 1.00; 2 of 2 objects among its first 2 detections"
    titles = [picture.title for picture in (*best.pictures, *worst.pictures)]
    assert sorted(titles) == [f"image_{number}.jpg" for number in range(IMAGES - 1)]  # the last one has a crowd only
    assert worst.pictures[0].note.startswith("AP50 0.00; 0 of 2")


def test_labels_follow_the_file_and_count_the_classes_that_are_named(step: Step, tmp_path: Path) -> None:
    step.config.val_dataloader.dataset.metainfo = {"classes": ["dog", "cat"]}
    best, _ = pictures(step, tmp_path / "both")
    assert best.pictures[0].note.startswith("AP50 1.00; 2 of 2 objects")
    step.config.val_dataloader.dataset.metainfo = {"classes": ["red star", "dog"]}  # label 0 is a dog now
    best, _ = pictures(step, tmp_path / "both")
    assert best.pictures[0].note.startswith("AP50 0.00; 0 of 1 objects")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_annotations_of_another_format_have_no_pictures(step: Step, tmp_path: Path, content: str) -> None:
    (tmp_path / "data" / "val.json").write_text(content)
    assert judged_by(step, tmp_path / "both") is None


def test_where_one_of_several_data_sets_has_another_format_there_are_no_pictures(step: Step, tmp_path: Path) -> None:
    own = step.config.val_dataloader.dataset
    other = {**own, "type": "VOCDataset", "ann_file": "val.txt"}
    step.config.val_dataloader.dataset = {"type": "ConcatDataset", "datasets": [own]}
    assert judged_by(step, tmp_path / "both") is not None
    step.config.val_dataloader.dataset = {"type": "ConcatDataset", "datasets": [own, other]}
    assert judged_by(step, tmp_path / "both") is None


def test_an_evaluation_that_kept_no_predictions_has_no_pictures(step: Step, tmp_path: Path) -> None:
    (tmp_path / "both" / "predictions_val.npz").unlink()
    assert judged_by(step, tmp_path / "both") is None


def test_a_picture_that_cannot_be_read_is_named(step: Step, tmp_path: Path) -> None:
    (tmp_path / "data" / "val" / "image_0.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"^image '.*image_0\.jpg': not an image, .*; the report shows it$"):
        pictures(step, tmp_path / "both")


@pytest.mark.parametrize("where", ["set.zip", "http"])
def test_a_data_set_from_elsewhere_is_shown_as_its_folder(where: str, step: Step, tmp_path: Path) -> None:
    def shown() -> list[tuple[str, str, bytes]]:
        galleries = pictures(step, tmp_path / "both")
        return [(one.title, one.note, one.image.tobytes()) for gallery in galleries for one in gallery.pictures]

    expected = shown()
    data = tmp_path / "data"
    files = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    pack(tmp_path / "set.zip", files)
    dataset = step.config.val_dataloader.dataset
    with serving(data) as address:
        dataset.data_root = {"set.zip": f"{tmp_path}/set.zip", "http": address}[where]
        if where == "set.zip":
            shutil.rmtree(data)
        assert expected and shown() == expected


def test_images_of_a_backend_of_mmengines_are_not_shown(step: Step, tmp_path: Path) -> None:
    step.config.val_dataloader.dataset.pipeline = [{"type": "LoadImageFromFile", "backend_args": {"backend": "lmdb"}}]
    assert judged_by(step, tmp_path / "both") is None


@pytest.mark.parametrize(("colours", "turned"), [("color", True), ("color_ignore_orientation", False)])
def test_a_picture_is_shown_as_the_evaluation_has_read_it(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colours: str, turned: bool
) -> None:
    """Turned as EXIF says, where the pipeline's loader does that, since boxes are in its pixels; and however large."""
    path = tmp_path / "data" / "val" / "image_0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64), (250, 0, 0)).save(path, exif=exif)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    step.config.val_dataloader.dataset.pipeline = [{"type": "mmdet.LoadImageFromFile", "color_type": colours}]
    (picture,) = [one for one in pictures(step, tmp_path / "both")[0].pictures if one.title == "image_0.jpg"]
    height, width, _ = picture.image.shape
    assert (height > width) == turned
    assert (np.median(picture.image, (0, 1)) > (200, -1, -1)).all()  # red, and not blue


def test_annotations_with_crowds_only_judge_nothing(step: Step, tmp_path: Path) -> None:
    path = tmp_path / "data" / "val.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": [one | {"iscrowd": 1} for one in content["annotations"]]}))
    assert [gallery.pictures for gallery in pictures(step, tmp_path / "both")] == [[], []]


@pytest.mark.parametrize("rename", [lambda k: f"img_{k}", lambda k: str(IMAGES - 1 - k), lambda k: -k])
@pytest.mark.parametrize("indices", [None, 5, [0, 1, 2, 4, 5]])
def test_pictures_are_the_same_whatever_images_are_called(
    step: Step, tmp_path: Path, rename: Callable[[int], object], indices: int | list[int] | None
) -> None:
    """Predictions then say which place an image has among those that were judged."""
    if indices is not None:
        step.config.val_dataloader.dataset.indices = indices
    judged = list(range(IMAGES))[:indices] if not isinstance(indices, list) else indices
    kept = tmp_path / "both" / "predictions_val.npz"
    with np.load(kept) as file:
        arrays = {name: file[name] for name in file}
    rows = np.repeat(np.isin(np.arange(IMAGES), judged), 2)
    arrays = {name: array[rows if len(array) == len(rows) else judged] for name, array in arrays.items()}
    np.savez(kept, **arrays)
    before = [[(one.title, one.note) for one in gallery.pictures] for gallery in pictures(step, tmp_path / "both")]
    np.savez(kept, **arrays | {"image_ids": np.arange(len(judged))})
    path = tmp_path / "data" / "val.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["id"] = rename(image["id"] - 100)
    for one in content["annotations"]:
        one["image_id"] = rename(one["image_id"] - 100)
    path.write_text(json.dumps(content))
    after = [[(one.title, one.note) for one in gallery.pictures] for gallery in pictures(step, tmp_path / "both")]
    assert after == before and before[0]

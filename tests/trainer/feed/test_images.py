"""Images from files: their pixels are those of a data server, and what is no image is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT, Cluster
from tests.photos import VAL_PIPELINE, config_of
from trainer.feed import images
from trainer.feed.loader import BadImage, Loader
from trainer.feed.pipeline import Pipeline, pipeline_of
from trainer.feed.transforms import Resize

PHOTOGRAPHS = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data")) / "coco_photos"
SCALES = [((128, 96), True), ((1333, 800), True), ((96, 128), True), ((64, 64), False), ((100, 37), True)]


def config(pipeline: list[dict], **more: object) -> Config:
    return Config({"test_dataloader": {"dataset": {"type": "CocoDataset", "pipeline": pipeline}}, **more})


def resize(scale: tuple[int, int], keep_ratio: bool) -> list[dict]:
    return [
        step | ({"scale": scale, "keep_ratio": keep_ratio} if step["type"] == "Resize" else {}) for step in VAL_PIPELINE
    ]


def write_odd_images(folder: Path) -> list[Path]:
    """Files that decoders treat differently: JPEG with EXIF orientation, grey, opacity, 16 bits, palette, narrow."""
    (folder / "images").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)
    pixels = cv2.resize(pixels, (173, 101), interpolation=cv2.INTER_CUBIC)
    picture = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "images" / "0.jpg", exif=turned, quality=90)
    picture.convert("L").save(folder / "images" / "1.png")
    picture.convert("RGBA").save(folder / "images" / "2.png")
    cv2.imwrite(str(folder / "images" / "3.png"), pixels.astype(np.uint16) * 257)
    picture.convert("P").save(folder / "images" / "4.png")
    picture.crop((0, 0, 3, 90)).save(folder / "images" / "5.bmp")
    files = sorted((folder / "images").iterdir())
    sizes = [Image.open(file).size if file.name != "0.jpg" else (101, 173) for file in files]
    content = {
        "images": [
            {"id": number, "file_name": file.name, "width": size[0], "height": size[1]}
            for number, (file, size) in enumerate(zip(files, sizes, strict=True))
        ],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 20, 20], "area": 400, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    return files


def served(cluster: Cluster, folder: Path, count: int, pipeline: list[dict], **dataset: object):
    """Yields each image's arrays of a stream of single images, in the order of the annotation file."""
    client = cluster.open(config_of(folder, "val", batch_size=1, pipeline=tuple(pipeline), **dataset), epochs=1)
    for _ in range(count):
        lease = client.next()
        yield {name: array[0].copy() for name, array in lease.arrays.items()}
        lease.release()


def compare(path: Path, pipeline: Pipeline, arrays: dict[str, np.ndarray]) -> None:
    image = pipeline.read(path)
    assert image.shape[:2] == tuple(arrays["original_shapes"])
    resized, factors = pipeline(image)
    height, width = arrays["image_shapes"]
    np.testing.assert_array_equal(resized, arrays["images"][:height, :width])
    np.testing.assert_array_equal(factors, arrays["scale_factors"])


@pytest.mark.parametrize(("scale", "keep_ratio"), SCALES)
def test_every_pixel_is_that_of_a_data_server(
    scale: tuple[int, int], keep_ratio: bool, cluster: Cluster, tmp_path: Path
) -> None:
    files = write_odd_images(tmp_path / "odd")
    steps = resize(scale, keep_ratio)
    pipeline = pipeline_of(config(steps))
    for path, arrays in zip(
        files, served(cluster, tmp_path / "odd", len(files), steps, metainfo={"classes": ("cup",)}), strict=True
    ):
        compare(path, pipeline, arrays)


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs in {PHOTOGRAPHS}; set DATA_DIR")
def test_every_pixel_of_photographs_is_that_of_a_data_server(cluster: Cluster) -> None:
    steps = resize((1333, 800), True)
    pipeline = pipeline_of(config(steps))
    content = json.loads((PHOTOGRAPHS / "instances_val.json").read_text())["images"]
    options = {"ann_file": "instances_val.json", "metainfo": None}
    for image, arrays in zip(content, served(cluster, PHOTOGRAPHS, len(content), steps, **options), strict=True):
        compare(PHOTOGRAPHS / "images" / image["file_name"], pipeline, arrays)


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    resized, factors = Pipeline(transforms=(Resize((128, 96), keep_ratio=True),))(image)
    assert resized is image and factors.tolist() == [1, 1, 1, 1]


def test_the_pipeline_is_that_of_the_test_split_or_else_of_validation() -> None:
    steps = [{"type": "LoadImageFromFile"}, {"type": "LoadProposals", "num_max_proposals": 100}]
    found = pipeline_of(
        config([*steps, {"type": "Resize", "scale": 64, "keep_ratio": True}, {"type": "PackDetInputs"}])
    )
    assert found == Pipeline(Loader(), (Resize(64, keep_ratio=True),), 100)
    nested = {"type": "ConcatDataset", "datasets": [{"type": "CocoDataset", "pipeline": resize((32, 16), False)}]}
    assert pipeline_of(Config({"val_dataloader": {"dataset": nested}})) == Pipeline(
        Loader(), (Resize((32, 16), keep_ratio=False),)
    )


def test_a_config_without_a_test_pipeline_is_refused() -> None:
    with pytest.raises(UserError, match="no test pipeline"):
        pipeline_of(Config({"model": {}}))


def test_files_folders_and_patterns_are_found_in_order_and_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a.JPG", "deep/c.webp", "notes.txt"):
        (tmp_path / name).write_text("")
    found = images.find([tmp_path / "b.png", tmp_path, f"{tmp_path}/*.png", f"{tmp_path}/**/*.webp"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b.png", "a.JPG", "deep/c.webp"]
    assert images.find([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]  # who names a file means it


def test_links_to_folders_are_followed_and_what_is_hidden_is_not_an_image(tmp_path: Path) -> None:
    hidden = ("photos/._b.jpg", "photos/__MACOSX/._b.jpg", "photos/.c.jpg", "photos/.ipynb_checkpoints/b.jpg")
    for name in ("photos/b.jpg", *hidden, "elsewhere/deep/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "photos" / "0.jpg").symlink_to(tmp_path / "photos" / "b.jpg")
    found = [path.relative_to(tmp_path).as_posix() for path in images.find([tmp_path / "photos"])]
    assert found == ["photos/0.jpg", "photos/b.jpg", "photos/more/deep/a.png"]
    assert len(images.find([tmp_path])) == 3
    assert images.find([f"{tmp_path}/photos/*.jpg"]) == [tmp_path / "photos/0.jpg", tmp_path / "photos/b.jpg"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("empty", "no image in this folder"),
        ("none.jpg", "no such file or folder"),
        ("x" * 300, "no such file or folder"),
        ("*.gif", "no file matches"),
    ],
)
def test_where_there_is_no_image_the_path_is_named(path: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}.*{says}"):
        images.find([f"{tmp_path}/{path}"])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", quality=95)
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "appended.jpg").write_bytes(content + b"camera")
    assert Loader()(tmp_path / "appended.jpg").shape == (60, 90, 3)
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, says in {
        "cut.jpg": "truncated",
        "text.jpg": "not an image",
        "empty.jpg": "not an image",
        "none.jpg": "No such file",
    }.items():
        with pytest.raises(BadImage, match=rf"image '.*{name}': .*{says}"):
            Loader()(tmp_path / name)


def test_what_is_no_regular_file_is_named_and_never_opened(odd: tuple[Path, str]) -> None:
    path, kind = odd
    with pytest.raises(BadImage, match=f"^image '{path}': it is {kind}; expected a regular file$"):
        Loader()(path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("[a-z]*/*.py")), ids=lambda path: path.name)
def test_the_test_pipeline_of_every_shipped_config_is_known(path: Path) -> None:
    loaded = load_config(str(path))
    if not {"test_dataloader", "val_dataloader"} & set(loaded):
        pytest.skip("it only trains, or is a recipe")
    (resize,) = pipeline_of(loaded).transforms
    assert resize.keep_ratio

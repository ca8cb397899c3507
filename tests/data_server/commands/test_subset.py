"""subset: the same images for the same seed as UniDetector's script, and all that belongs to them."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_server.__main__ import main
from data_server.commands import subset as command
from data_server.commands.subset import subset
from data_server.files.index.cache import index_or_none
from shared.errors import UserError
from tests.data_server import annotation_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """40 images with ids 100, 103, ... and two boxes each."""
    images = [{"id": 100 + 3 * i, "file_name": f"{i}.jpg", "width": 10 + i, "height": 10} for i in range(40)]
    boxes = [
        {"id": i, "image_id": images[i % 40]["id"], "category_id": 1 + i % 3, "bbox": [0, 0, i, 1], "area": 1}
        for i in range(80)
    ]
    categories = [{"id": 3, "name": "c"}, {"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = tmp_path / "train.v2.json"
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": boxes, "categories": categories}))
    return path


def test_the_images_are_those_that_numpys_global_shuffle_puts_first_in_their_old_order(source: Path) -> None:
    whole = json.loads(source.read_text())
    part = json.loads(subset(source, 17.9, 3).read_text())
    np.random.seed(3)
    order = np.arange(40)
    np.random.shuffle(order)
    assert part["images"] == [whole["images"][i] for i in range(40) if i in set(order[:7])]
    assert [image["id"] for image in part["images"]] == [112, 127, 148, 154, 181, 184, 187]


def test_all_annotations_of_kept_images_and_all_categories_are_kept(source: Path) -> None:
    whole = json.loads(source.read_text())
    part = json.loads(subset(source, 50, 1).read_text())
    ids = {image["id"] for image in part["images"]}
    assert len(ids) == 20
    assert part["annotations"] == [one for one in whole["annotations"] if one["image_id"] in ids]
    assert len(part["annotations"]) == 40
    assert part["categories"] == whole["categories"]


def test_the_file_is_named_after_seed_and_percent(source: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["subset", "--annotations", str(source), "--percent", "4.5"]) == 0
    assert capsys.readouterr().out.strip() == str(source.with_name("train.v2.1@4.5.json"))
    assert sorted(path.name for path in source.parent.iterdir()) == ["train.v2.1@4.5.json", "train.v2.json"]


@pytest.mark.parametrize(
    "percent, seed, says",
    [
        (0, 1, "--percent 0: expected a number above 0"),
        (101, 1, "--percent 101: expected"),
        (2, 1, "2 percent of the 40 images of .* are none"),
        (0.5, 1, "0.5 percent of the 40 images of .* are none"),
        (50, -1, "--seed -1: expected a number from 0"),
        (50, 2**32, "--seed 4294967296: expected a number from 0 to 4294967295"),
    ],
)
def test_numbers_out_of_range_are_refused(source: Path, percent: float, seed: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        subset(source, percent, seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_smallest_and_the_largest_seed_are_seeds(source: Path, seed: int) -> None:
    assert len(json.loads(subset(source, 50, seed).read_text())["images"]) == 20


@pytest.mark.slow
def test_an_index_gives_the_bytes_that_the_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed = 0
    for seed in range(60):
        source = tmp_path / f"{seed}.json"
        source.write_text(annotation_files.text(seed), encoding="utf-8")
        ours = answer(source, seed)
        indexed += index_or_none(source, print) is not None and isinstance(ours, bytes)
        with monkeypatch.context() as patch:
            patch.setattr(command, "index_or_none", lambda *_: None)
            assert answer(source, seed) == ours, seed
    assert indexed > 15


def answer(source: Path, seed: int) -> str | bytes:
    try:
        return subset(source, 20 + 4 * (seed % 21), seed).read_bytes()
    except UserError as error:
        return str(error)

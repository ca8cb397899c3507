"""``detect``: one command from photos and typed names to a JSON file and pictures; what bad images do to it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT
from tests.trainer.detectors import NAMES, write_clip, write_stage_1, write_table
from trainer.api import Detector
from trainer.feed.loader import BadImage
from trainer.reporting.drawing import colour_of
from trainer.tasks import Request, detect

PHOTOGRAPHS = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data")) / "coco_photos" / "images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detect")


@pytest.fixture(scope="module")
def stage_1(folder: Path) -> tuple[Path, Path]:
    return write_stage_1(folder)


@pytest.fixture(scope="module")
def end_to_end(folder: Path) -> tuple[Path, Path]:
    return write_clip(folder, "FasterRCNN")


def run(detector: tuple[Path, Path], work_dir: Path, cfg_options: dict | None = None, **options: object) -> list[str]:
    """The task in this process; returns what it said."""
    said: list[str] = []
    nothing = {"images": [], "vocabulary": [], "names": [], "embeddings": [], "proposals_from": None}
    defaults = {**nothing, "checkpoint": str(detector[1]), "score_threshold": None, "draw": False, "out": None}
    request = Request(
        config=load_config(str(detector[0]), cfg_options),
        work_dir=work_dir,
        server_handle=None,
        interrupt=None,
        say=said.append,
        options=argparse.Namespace(**{**defaults, **options}),
    )
    assert detect.run(request) == 0
    return said


def written(work_dir: Path) -> dict:
    return json.loads((work_dir / "detections.json").read_text())


def three_photos(photos: Path, folder: Path) -> Path:
    """A folder of three photographs where there are some, else of drawn pictures."""
    source = PHOTOGRAPHS if PHOTOGRAPHS.exists() else photos / "images"
    folder.mkdir()
    for path in sorted(source.glob("*.jpg"))[:3]:
        shutil.copy(path, folder)
    return folder


def test_three_photos_and_typed_names_become_json_and_pictures_in_one_command(
    end_to_end, photos: Path, folder: Path, tmp_path: Path
) -> None:
    pictures = three_photos(photos, tmp_path / "photos")
    table = write_table(folder, "more", ["Cat", "blue ring", "dog"], seed=3)
    command = [
        sys.executable,
        "-m",
        "trainer",
        "detect",
        "--config",
        str(end_to_end[0]),
        "--checkpoint",
        str(end_to_end[1]),
    ]
    command += ["--images", str(pictures), "--names", "blue ring", "cat", "Red star"]
    command += ["--embeddings", str(table), str(folder / "vocabulary_FasterRCNN.npy"), "--draw"]
    command += ["--score-threshold", "0.2", "--work-dir", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr

    content = written(tmp_path / "work")
    assert [category["name"] for category in content["categories"]] == ["blue ring", "cat", "Red star"]
    assert len(content["images"]) == 3 and content["skipped"] == []
    detector = Detector(
        *end_to_end, ["blue ring", "cat", "Red star"], embeddings=[table, folder / "vocabulary_FasterRCNN.npy"]
    )
    for image in content["images"]:
        found = detector.detect(image["file_name"])
        count = int((found.scores >= 0.2).sum())
        mine = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        assert count == len(mine) > 0
        boxes = np.array([one["bbox"] for one in mine])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, found.boxes[:count], rtol=1e-6, atol=1e-3)
        np.testing.assert_allclose([one["score"] for one in mine], found.scores[:count], rtol=1e-6)
        assert [one["name"] for one in mine] == found.names[:count].tolist()
        with Image.open(tmp_path / "work" / "drawn" / f"{Path(image['file_name']).stem}.jpg") as drawn:
            near = np.abs(np.asarray(drawn, int) - np.array(colour_of(mine[0]["name"]))).max(-1) < 60
            assert near.sum() > 50


def test_coco_tools_read_the_file(end_to_end, photos: Path, tmp_path: Path, capsys) -> None:
    run(end_to_end, tmp_path, images=[photos / "images" / "00.jpg", photos / "images" / "07.jpg"])
    coco = COCO(str(tmp_path / "detections.json"))
    capsys.readouterr()
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == NAMES
    assert len(coco.getImgIds()) == 2 and len(coco.getAnnIds()) > 0
    assert coco.imgs[2]["width"] == 50 and coco.imgs[2]["height"] == 80
    one = coco.anns[1]
    assert one["name"] == NAMES[one["category_id"] - 1] and one["area"] == pytest.approx(
        one["bbox"][2] * one["bbox"][3]
    )
    results = json.loads((tmp_path / "detections.json").read_text())["annotations"]
    assert len(coco.loadRes(results).anns) == len(results)


def test_stage_2_is_given_stage_1_on_the_command_line(stage_1, photos: Path, folder: Path, tmp_path: Path) -> None:
    stage_2 = write_clip(folder, "FastRCNN", "BBoxHeadCLIPInference")
    said = run(stage_2, tmp_path, images=[photos / "images" / "01.jpg"], proposals_from=[*map(str, stage_1)])
    assert "1 images" in said[-1]
    assert {one["name"] for one in written(tmp_path)["annotations"]} <= set(NAMES)


def test_an_unreadable_image_stops_the_task_and_what_was_found_is_kept(stage_1, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "images", tmp_path / "images")
    (tmp_path / "images" / "02.jpg").write_text("no image")
    with pytest.raises(BadImage, match=r"02\.jpg.*not an image.*feed\.on_bad_sample=replace.*2 images") as error:
        run(stage_1, tmp_path, images=[tmp_path / "images"])
    assert str(tmp_path / "detections.json") in str(error.value)
    assert [Path(one["file_name"]).name for one in written(tmp_path)["images"]] == ["00.jpg", "01.jpg"]


def test_unreadable_images_are_named_counted_and_left_out_where_the_config_says_so(
    stage_1, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "images", tmp_path / "images")
    (tmp_path / "images" / "02.jpg").write_text("no image")
    (tmp_path / "images" / "05.jpg").write_bytes((photos / "images" / "05.jpg").read_bytes()[:-300])
    said = run(stage_1, tmp_path, {"feed.on_bad_sample": "replace"}, images=[tmp_path / "images"], draw=True)
    left_out = [line for line in said if line.startswith("skipped")]
    assert len(left_out) == 2 and "02.jpg" in left_out[0] and "truncated" in left_out[1]
    assert any("10 images, 2 skipped" in line for line in said)
    content = written(tmp_path)
    assert [Path(one["file_name"]).name for one in content["skipped"]] == ["02.jpg", "05.jpg"]
    assert [one["id"] for one in content["images"]] == list(range(1, 11))
    assert len(list((tmp_path / "drawn").iterdir())) == 10


def test_nothing_but_unreadable_images_is_an_error(stage_1, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(UserError, match="none of the 1 images could be read"):
        run(stage_1, tmp_path, {"feed.on_bad_sample": "replace"}, images=[tmp_path / "a.jpg"])


def test_images_of_the_same_name_have_pictures_of_their_own(stage_1, photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(photos / "images" / "00.jpg", tmp_path / name)
    run(stage_1, tmp_path, images=[f"{tmp_path}/*/00.jpg"], draw=True, out=tmp_path / "results" / "mine.json")
    assert sorted(path.name for path in (tmp_path / "results" / "drawn").iterdir()) == ["00.jpg", "00_2.jpg"]
    assert len(json.loads((tmp_path / "results" / "mine.json").read_text())["images"]) == 2


def test_detections_below_the_threshold_are_left_out(stage_1, photos: Path, tmp_path: Path) -> None:
    image = photos / "images" / "00.jpg"
    run(stage_1, tmp_path / "all", images=[image])
    scores = [one["score"] for one in written(tmp_path / "all")["annotations"]]
    run(stage_1, tmp_path / "some", images=[image], score_threshold=scores[4])
    assert [one["score"] for one in written(tmp_path / "some")["annotations"]] == scores[:5]


def test_what_is_missing_is_said(stage_1, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in this folder"):
        run(stage_1, tmp_path, images=[tmp_path / "empty"])
    with pytest.raises(UserError, match="no checkpoint in"):
        run((stage_1[0], ""), tmp_path, images=[stage_1[0]])

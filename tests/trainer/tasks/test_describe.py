"""``describe``: the model as a table, with nothing but the config."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.config import load_config
from shared.errors import UserError
from tests.configs.shipped import CONFIGS, FILES
from tests.trainer.models.clip_examples import small_clip_model
from trainer.models import build_detector
from trainer.tasks.describe import image_size
from trainer.vocabulary.stand_ins import with_stand_ins

ROOT = Path(__file__).parents[3]


def describe(name: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "trainer", "describe", "--config", str(CONFIGS / FILES[name])]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)


def test_a_shipped_config_is_described_before_there_are_any_data(tmp_path: Path) -> None:
    done = describe("three sets end to end", "--cfg-options", f"data_root={tmp_path}")
    assert done.returncode == 0, done.stderr
    title, _, header, _, *lines, _, total, device = done.stdout.splitlines()
    assert title == "FasterRCNN, in training, with one image of 800x1344:"
    assert header.split() == ["module", "type", "output", "parameters", "trains"]
    table = {line.split()[0]: re.split(r"\s{2,}", line)[1:] for line in lines}
    assert table["backbone.layer1"] == ["Sequential", "1x256x200x336", "215,808", "frozen"]
    assert table["backbone"] == ["CLIPResNet", "1x1024x50x84", "8,562,528", "8,317,952 trainable, rest frozen"]
    assert table["rpn_head.rpn_cls"] == ["Convolution", "-", "15,375", "trainable"]
    assert table["roi_head.bbox_head.attnpool"] == ["AttentionPool2d", "512x1024", "14,789,632", "trainable"]
    assert total.startswith("47,836,079 parameters, 47,591,503 trainable and 244,576 frozen; ")
    assert re.match(r"Jittor 1\.3\.11\.0 on (CPU|GPU) \(", device)
    assert "described as if they were there" in done.stderr
    for missing in ("coco_clip", "objects365_clip", "oid_clip", "1@3.5_cat_info.json", "1@4.5_cat_info.json"):
        assert missing in done.stderr


def test_the_image_has_the_size_that_the_config_tests_with() -> None:
    assert image_size(load_config("configs/demo/cln.py")) == (160, 192)
    assert image_size(load_config("configs/_base_/models/cln_r50_fpn.py")) == (800, 1344)


def test_only_files_that_are_missing_are_stood_in_for(tmp_path: Path) -> None:
    config = small_clip_model(tmp_path, **{"roi_head.bbox_head.cat_freq_path": str(tmp_path / "none.json")})
    given = config["roi_head"]["bbox_head"]
    with with_stand_ins(config) as (model, missing):
        assert missing == [str(tmp_path / "none.json")]
        assert model["roi_head"]["bbox_head"]["zeroshot_path"] == given["zeroshot_path"]
        assert "cat_freq_path" not in model["roi_head"]["bbox_head"]
    assert "cat_freq_path" in given  # the config stays as it is


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"roi_head": {}}, r"^model\.roi_head: a dict with a 'type' is expected"),
        (
            {"roi_head.bbox_head.num_classes": "twelve", "roi_head.bbox_head.zeroshot_path": "none.npy"},
            r"num_classes is 'twelve'; expected a whole number, 1 or more$",
        ),
        ({"roi_head.bbox_head.zeroshot_path": 5}, r"zeroshot_path is 5; expected the path of a file$"),
        ({"roi_head.bbox_head.cat_freq_path": [1]}, r"cat_freq_path is \[1\]; expected the path of a file$"),
    ],
)
def test_what_no_file_can_stand_in_for_is_left_to_the_model(tmp_path: Path, changes: dict, says: str) -> None:
    with with_stand_ins(small_clip_model(tmp_path, **changes)) as (model, missing):
        assert missing == []
        with pytest.raises(UserError, match=says):
            build_detector(model)


@pytest.mark.parametrize("name", ["none.npy", "x" * 300])
def test_a_model_without_a_calibration_file_is_described_uncalibrated(tmp_path: Path, name: str) -> None:
    changes = {
        "roi_head.bbox_head.type": "BBoxHeadCLIPInference",
        "roi_head.bbox_head.beta": 0.3,
        "roi_head.bbox_head.gamma": 0.6,
        "roi_head.bbox_head.detection_counts": str(tmp_path / name),
    }
    with with_stand_ins(small_clip_model(tmp_path, **changes)) as (model, missing):
        assert missing == [str(tmp_path / name)]
        assert (build_detector(model).roi_head.bbox_head.factors == 1).all()


def test_a_config_with_a_mistake_is_refused_as_in_training(tmp_path: Path) -> None:
    done = describe("coco stage 1", "--cfg-options", "model.neck.num_out=5", f"data_root={tmp_path}")
    assert done.returncode == 2
    assert "error: model.neck (FPN): unknown key 'num_out' (did you mean 'num_outs'?)" in done.stderr

"""``python -m data_server check``: a config's data sets, sound and not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.embeddings import names_file
from tests.cluster import ROOT
from tests.photos import CLASSES, annotations_of, draw, write_annotations

pytestmark = pytest.mark.slow  # each imports MMDetection in a process of its own

CONFIG = """
data_root = '{root}'
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 96), keep_ratio=True), dict(type='PackDetInputs')]
part = dict(type='CocoDataset', ann_file='all.json', data_prefix=dict(img='images/'), pipeline=train_pipeline)
named = dict(part, metainfo=dict(classes={classes}))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='ConcatDataset',
        datasets=[dict(named, filter_cfg=dict(filter_empty_gt=True)), dict(part, class_agnostic=True)]))
val_dataloader = dict(batch_size=2, dataset=named)
test_dataloader = dict(batch_size=2, dataset=named)
model = dict(roi_head=dict(bbox_head=dict(zeroshot_path='{{data_root}}/text.npy')))
"""

STRIPES = """
def check(subject, found):
    found.warning("stripes", str(subject))
    return f"{len(subject.whole.dataset)} zebras"
"""
WITH_STRIPES = """
import sys
from data_server import checks
from data_server.__main__ import main

checks.__path__.append(sys.argv.pop(1))
sys.exit(main())
"""


def check(
    folder: Path,
    classes: list[str],
    *arguments: str,
    program: tuple[str, ...] = ("-m", "data_server"),
    config: str = CONFIG,
) -> tuple[int, str]:
    """Exit code and output for a config about the pictures in `folder`."""
    path = folder / "config.py"
    path.write_text(config.format(root=folder, classes=classes))
    command = [sys.executable, "-W", "ignore", *program, "check", "--config", str(path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set and text embeddings of its classes."""
    folder = draw(tmp_path / "set")
    np.save(folder / "text.npy", np.zeros((len(CLASSES), 8), np.float32))
    names_file(folder / "text.npy").write_text(json.dumps(CLASSES))
    return folder


def test_sound_data_are_counted_and_pass(folder: Path) -> None:
    code, output = check(folder, CLASSES, "--images", "5")
    boxes = len(annotations_of(folder)["annotations"]) - 1
    counted = f"12 images, 1 of them without a box; {boxes} boxes and 1 crowds; 3 classes"
    assert code == 0, output
    assert output.splitlines() == [
        "",
        "train 0: all.json",
        f"  {counted}; 11 images to train on; 5 images decoded",
        "",
        "train 1: all.json",
        f"  {counted}; 12 images to train on; 5 images decoded",
        "",
        "val 0: all.json",
        f"  {counted}; 5 images decoded",
        "",
        "test 0: all.json",
        "  the same as val 0: all.json",
        "",
        "0 kinds of errors, 0 of warnings in 3 data sets",
    ]


def test_of_a_data_set_that_is_repeated_the_images_of_an_epoch_are_counted(folder: Path) -> None:
    own = f"dict(type='CocoDataset', data_root='{folder}', ann_file='all.json', data_prefix=dict(img='images/'), "
    own += "filter_cfg=dict(filter_empty_gt=True), pipeline=[dict(type='LoadImageFromFile'), "
    own += "dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')])"
    path = folder / "repeated.py"
    path.write_text(
        "model = dict(type='FasterRCNN')\n"
        f"train_dataloader = dict(batch_size=1, dataset=dict(type='RepeatDataset', times=3, dataset={own}))"
    )
    command = [sys.executable, "-m", "data_server", "check", "--config", str(path), "--images", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Warning" not in done.stderr
    assert "11 images to train on" in done.stdout and "\ntrain: 33 images in an epoch\n" in done.stdout, done.stdout


def test_every_kind_of_fault_is_told_in_one_run_and_the_exit_code_is_3(folder: Path) -> None:
    content = annotations_of(folder)
    content["annotations"][0]["bbox"] = [-5, 0, 20, 20]
    write_annotations(folder, content)
    (folder / "images" / "02.jpg").write_bytes(b"no picture")
    (folder / "images" / "03.jpg").unlink()
    names_file(folder / "text.npy").write_text(json.dumps(CLASSES[::-1]))
    code, output = check(folder, CLASSES, "--images", "all", "--cfg-options", "test_dataloader=None")
    assert code == 3
    for line in (
        "ERROR   1 image files that are not there: ",
        "ERROR   1 image files that cannot be read: ",
        "warning 1 boxes that reach beyond their image; they are cut: annotation 1 of image 100 [-5, 0, 20, 20]",
        "ERROR   2 rows of another name than the class's in ",
    ):
        assert f"  {line}" in output, output


def test_classes_that_the_file_does_not_have_are_told_once(folder: Path) -> None:
    code, output = check(folder, [*CLASSES[:2], "shoes"], "--cfg-options", "train_dataloader=None")
    assert code == 3
    assert output.count("ERROR") == 1
    assert "  ERROR   1 classes that are no categories of the file: 'shoes' (did you mean 'shoe'?)" in output
    assert "  warning 1 categories that no class names; their boxes are left out: 'shoe'" in output


def test_a_data_set_that_cannot_be_read_does_not_hide_the_others(folder: Path) -> None:
    code, output = check(folder, CLASSES, "--cfg-options", "val_dataloader.dataset.ann_file=none.json")
    assert code == 3
    assert "val 0: none.json\n  not readable\n  ERROR   annotation file" in output
    assert output.endswith("1 kinds of errors, 0 of warnings in 4 data sets\n")


def test_a_new_file_is_a_new_check(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "zebras.py").write_text(STRIPES)
    options = ("--cfg-options", "train_dataloader=None", "test_dataloader=None")
    code, output = check(folder, CLASSES, *options, program=("-c", WITH_STRIPES, str(tmp_path / "more")))
    assert code == 0
    assert "; 12 images decoded; 12 zebras\n  warning 1 stripes: val 0: all.json\n" in output
    assert "zebras" not in check(folder, CLASSES, *options)[1]


def test_a_training_set_of_which_no_box_is_left_is_an_error(folder: Path) -> None:
    content = annotations_of(folder)
    for annotation in content["annotations"]:
        annotation["area"] = 0
    write_annotations(folder, content)
    code, text = check(folder, CLASSES, "--images", "0")
    train, negatives, *_ = text.split("\n\n")
    says = "ERROR   no annotated box is left after filtering; there is nothing to train on"
    assert code == 3 and says in train and "whose 'area' is 0 or less" in train
    assert says not in negatives  # one of two, and not filtered: pictures of nothing are to be learnt from as well


@pytest.mark.parametrize(
    "model",
    [
        "model = dict(type='RetinaNet', bbox_head=dict(num_classes=80))",
        "model = dict(type='CascadeRCNN', roi_head=dict(bbox_head=[dict(num_classes=80)] * 3))",
    ],
)
def test_data_are_checked_before_there_is_a_model_of_this_project(folder: Path, model: str) -> None:
    before, *_ = CONFIG.partition("model = ")
    code, text = check(folder, CLASSES, config=before + model)
    assert code == 0 and text.count("12 images decoded") == 3

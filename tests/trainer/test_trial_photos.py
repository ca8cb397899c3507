"""The trial configs of stage 2 on real photographs with genuine CLIP embeddings, their first steps only.

Where the photographs and embeddings lie is DATA_DIR, else a folder beside the checkout; without them nothing is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.embeddings import write_names
from tests.trainer.runs import DEADLINE, ROOT

DATA = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data"))
PHOTOS, EMBEDDINGS = DATA / "coco_photos", DATA / "text_embeddings"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PHOTOS.exists() and EMBEDDINGS.exists()), reason=f"no photographs or embeddings in {DATA}; set DATA_DIR"
    ),
]
FILES = {"coco": "coco_clip_a+cname_rn50_manyprompt.npy", "objects365": "objects365_clip_a+cname_rn50_manyprompt.npy"}
NAMES = "class_names_in_row_order.json"


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Links to the embeddings, with the rows' names beside them."""
    folder, names = tmp_path_factory.mktemp("embeddings"), json.loads((EMBEDDINGS / NAMES).read_text())
    for key, file in FILES.items():
        (folder / f"{key}.npy").symlink_to(EMBEDDINGS / file)
        write_names(folder / f"{key}.npy", names[key])
    return {key: folder / f"{key}.npy" for key in FILES}


@pytest.fixture(scope="module")
def objects365(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs' boxes with the categories of Objects365; those that it lacks are left out."""
    content, names = (
        json.loads((PHOTOS / "instances_train.json").read_text()),
        json.loads((EMBEDDINGS / NAMES).read_text()),
    )
    theirs = {name.strip().lower(): number for number, name in enumerate(names["objects365"], 1)}
    ours = {category["id"]: category["name"].lower() for category in content["categories"]}
    kept = [one for one in content["annotations"] if ours[one["category_id"]] in theirs]
    for one in kept:
        one["category_id"] = theirs[ours[one["category_id"]]]
    assert len(kept) > 100
    categories = [{"id": number, "name": name} for number, name in enumerate(names["objects365"], 1)]
    file = tmp_path_factory.mktemp("objects365") / "instances_objects365.json"
    file.write_text(json.dumps({**content, "annotations": kept, "categories": categories}))
    return file


def run(config: str, work_dir: Path, *options: str) -> subprocess.CompletedProcess:
    """A run of `config` with the photographs."""
    command = [sys.executable, "-m", "trainer", "--config", f"configs/trial/{config}.py", "--work-dir", str(work_dir)]
    settings = [f"data_root={PHOTOS}", "default_hooks.logger.interval=1", *options]
    return subprocess.run(
        [*command, "--cfg-options", *settings], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE
    )


def lines(work_dir: Path, kind: str) -> list[dict]:
    found = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["kind"] == kind]


def text_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Of the text embeddings in a checkpoint, by their last name; columns are the classes, then the background."""
    weights = load_file(checkpoint).items()
    return {name.rpartition(".")[2]: array.shape for name, array in weights if "zs_weights" in name}


@pytest.mark.long
def test_stage_two_begins_to_learn_sixteen_photographs(vocabularies: dict[str, Path], tmp_path: Path) -> None:
    options = [
        f"model.roi_head.bbox_head.zeroshot_path={vocabularies['coco']}",
        "model.test_cfg.rcnn.score_thr=0.0",
        "default_hooks.checkpoint.interval=5",
        "train_cfg.max_epochs=5",
        "train_cfg.val_interval=5",
    ]
    done = run("coco_photos_clip", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    losses = [line["loss_cls"] for line in lines(tmp_path, "train")]
    assert len(losses) == 20 and np.mean(losses[-4:]) < np.mean(losses[:4]) / 2
    (evaluated,) = lines(tmp_path, "val")
    assert 0 <= evaluated["bbox_mAP_50"] <= 1
    assert text_shapes(tmp_path / "epoch_5.safetensors") == {"zs_weights": (1024, 81)}


def test_two_vocabularies_are_trained_over_the_same_photographs_in_the_same_batches(
    vocabularies: dict[str, Path], objects365: Path, tmp_path: Path
) -> None:
    paths = f"[{vocabularies['coco']},{vocabularies['objects365']}]"
    options = [
        f"model.roi_head.bbox_head.zeroshot_path={paths}",
        f"train_dataloader.dataset.datasets.1.ann_file={objects365}",
        *(f"train_dataloader.dataset.datasets.{i}.indices=16" for i in range(2)),
        "train_dataloader.sampler.source_ratio=[1,1]",
        "default_hooks.checkpoint.interval=2",
        "train_cfg.max_epochs=2",
        "train_cfg.val_interval=9",
    ]
    done = run("coco_photos_partitioned", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    losses = [line["loss_cls"] for line in lines(tmp_path, "train")]
    assert len(losses) == 16 and np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:4]) / 2
    shapes = {"zs_weights_0": (1024, 81), "zs_weights_1": (1024, 366)}
    assert text_shapes(tmp_path / "epoch_2.safetensors") == shapes


def test_the_names_of_another_vocabulary_are_refused_before_anything_is_trained(
    vocabularies: dict[str, Path], objects365: Path, tmp_path: Path
) -> None:
    paths = f"[{vocabularies['objects365']},{vocabularies['coco']}]"
    ann_file = f"train_dataloader.dataset.datasets.1.ann_file={objects365}"
    done = run("coco_photos_partitioned", tmp_path, f"model.roi_head.bbox_head.zeroshot_path={paths}", ann_file)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "objects365.npy has 365 rows, data set 0 (counted from 0) has 80 classes; row 0 is for 'Person'" in last

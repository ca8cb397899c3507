"""The configs to start from with one's own data (docs/guide.md): they load, follow ``data.py`` and build."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from shared.config import load_config
from tests.configs.shipped import CONFIGS
from tests.configs.test_sizes import SIZES
from trainer.models import build_detector
from trainer.models.summary import counts
from trainer.recipe import steps

OWN = CONFIGS / "own"
FULL_SIZE = {"stage_1": "coco stage 1", "stage_2": "coco stage 2"}  # as large as upstream's


@pytest.fixture
def data_root(tmp_path: Path) -> str:
    np.save(tmp_path / "names.npy", np.random.default_rng(0).standard_normal((6, 1024)).astype(np.float32))
    return str(tmp_path)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_full_size_is_upstreams(name: str, data_root: str) -> None:
    config = load_config(str(OWN / "full_size" / f"{name}.py"), {"data_root": data_root})
    trainable, frozen, _ = counts(build_detector(config.model))
    assert (trainable + frozen, trainable) == SIZES[FULL_SIZE[name]][:2]


@pytest.mark.parametrize("name", ["stage_1", "stage_2", "full_size/stage_1", "full_size/stage_2"])
def test_three_lines_of_data_py_are_all_that_is_yours(name: str, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    data = configs / "own" / "data.py"
    text = data.read_text()
    for ours, theirs in [
        ("'data/mine'", f"'{tmp_path}'"),
        ("classes = 6", "classes = 3"),
        ("'train.json'", "'a.json'"),
    ]:
        assert ours in text
        text = text.replace(ours, theirs)
    data.write_text(text)
    np.save(tmp_path / "names.npy", np.eye(3, 1024, dtype=np.float32))
    config = load_config(str(configs / "own" / f"{name}.py"))
    assert config.data_root == str(tmp_path) and config.train_dataloader.dataset.ann_file == "a.json"
    assert build_detector(config.model).roi_head.bbox_head.num_classes == (1 if "stage_1" in name else 3)


@pytest.mark.parametrize("folder", [OWN, OWN / "full_size"])
def test_stage_two_reads_what_stage_one_writes(folder: Path) -> None:
    first, second = (load_config(str(folder / f"stage_{number}.py")) for number in (1, 2))
    for loader in (second.train_dataloader, second.val_dataloader):
        assert loader.dataset.proposal_file == f"{first.work_dir}/proposals" and "proposal_dir" not in first
    last = f"{first.work_dir}/epoch_{first.train_cfg.max_epochs}.safetensors"
    begun = [
        part.init_cfg.checkpoint
        for part in (second.model.backbone, second.model.get("neck") or {})
        if "init_cfg" in part
    ]
    assert set(begun) == ({last} if folder == OWN else set())


def test_the_recipe_takes_the_last_weights_of_its_own_stage_one() -> None:
    recipe = steps.read(str(OWN / "recipe.py"), {})
    first, *others = recipe.steps
    expected = f"{{stage_1}}/epoch_{first.config.train_cfg.max_epochs}.safetensors"
    for step in others[1:]:
        assert step.config.model.backbone.init_cfg.checkpoint == step.config.model.neck.init_cfg.checkpoint == expected
        assert {"stage_1", "proposals"} <= set(step.needs)

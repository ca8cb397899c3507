"""Python-style configs are those of the text style with names for classes."""

import os
import subprocess
import sys
from pathlib import Path

from shared import class_names
from shared.config import load_config
from shared.data_part import data_part

ROOT = Path(class_names.__file__).parents[1]

BASE = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=3))
train_dataloader = dict(batch_size=2, sampler=dict(type=DefaultSampler, shuffle=True))
"""
CHILD = """
from mmengine.config import read_base
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset as Coco
import mmdet.datasets.transforms as transforms
from torch.optim import SGD
from my_set import Mine
with read_base():
    from .base import *
default_hooks.checkpoint.interval = 4
pipeline = [dict(type=LoadImageFromFile), dict(type=transforms.Resize, scale=(192, 144)), dict(type=Mine)]
train_dataloader.update(dataset=dict(type=Coco, ann_file="a.json", pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.5))
model = dict(type="FasterRCNN")
"""


def test_classes_become_names_without_importing_anything(tmp_path) -> None:
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "child.py").write_text(CHILD)
    code = (
        "import sys, shared.config\n"
        "shared.config.load_config(sys.argv[1], {'train_dataloader.batch_size': 3})\n"
        "wrong = {'torch', 'mmcv', 'mmdet', 'my_set'} & set(sys.modules)\n"
        "sys.exit(', '.join(wrong) or 0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "child.py")]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    config = load_config(str(tmp_path / "child.py"), {"train_dataloader.batch_size": 3})
    part = data_part(config, "train")
    assert part["batch_size"] == 3 and part["shuffle"] is True
    assert part["dataset"]["type"] == "CocoDataset"
    assert [step["type"] for step in part["dataset"]["pipeline"]] == ["LoadImageFromFile", "Resize", "my_set.Mine"]
    assert config.optim_wrapper.optimizer.type == "SGD" and config.default_hooks.checkpoint.interval == 4
    assert "SGD" not in config and "Coco" not in config  # what a file imports is no key
    config.dump(str(tmp_path / "dumped.py"))
    assert load_config(str(tmp_path / "dumped.py")).to_dict() == config.to_dict()

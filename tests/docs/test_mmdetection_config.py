"""The guide's config of MMDetection's with another model, trained for some steps on COCO's photographs in small size.

Where they lie is DATA_DIR, else a folder beside the checkout; where there are none, generated scenes take their place.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from data_server.demo import scenes
from tests.trainer.runs import ROOT, Run
from trainer.weights import checkpoint

(CONFIG,) = re.findall(
    r"^```python\n# configs/own/lsj.py\n(.*?)^```$", (ROOT / "docs/guide.md").read_text(), re.M | re.S
)
PHOTOGRAPHS = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data")) / "coco_photos"
PIPELINE = "train_dataloader.dataset.dataset.pipeline"
STEPS = 5


def pictures(folder: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
    """Where data are, and the annotation file and the images' folder of each split."""
    if PHOTOGRAPHS.exists():
        return PHOTOGRAPHS, {split: (f"instances_{split}.json", "images/") for split in ("train", "val")}
    scenes.generate(folder, seed=1, train_images=8, val_images=4)
    return folder, {"train": ("train_a.json", "train_a/"), "val": ("val_base.json", "val_base/")}


@pytest.mark.slow
def test_mmdetections_large_scale_jitter_trains_the_model_that_is_put_in(tmp_path: Path) -> None:
    data, splits = pictures(tmp_path / "data")
    config = tmp_path / "lsj.py"
    smaller = {"../_base_/models/cln_r50_fpn.py": f"{ROOT}/configs/_base_/models/cln_small.py"}
    smaller |= {
        "(1024, 1024)": "(144, 192)",
        "max_iters=90000, val_interval=10000": f"max_iters={STEPS}, val_interval=5",
    }
    text = CONFIG
    for ours, theirs in smaller.items():
        assert ours in text, ours
        text = text.replace(ours, theirs)
    config.write_text(text)
    run = Run(
        tmp_path / "work",
        data,
        "--workers",
        "1",
        epochs=None,
        config=str(config),
        **{
            "train_dataloader.dataset.dataset.data_root": data,
            "train_dataloader.dataset.dataset.ann_file": splits["train"][0],
            "train_dataloader.dataset.dataset.data_prefix.img": splits["train"][1],
            "train_dataloader.dataset.dataset.filter_cfg.min_size": 1,
            f"{PIPELINE}.2.scale": "(192,144)",
            f"{PIPELINE}.3.crop_size": "(144,192)",
            "val_dataloader.dataset.data_root": data,
            "val_dataloader.dataset.ann_file": splits["val"][0],
            "val_dataloader.dataset.data_prefix.img": splits["val"][1],
            "val_dataloader.dataset.pipeline.1.scale": "(192,144)",
            "val_evaluator.ann_file": data / splits["val"][0],
        },
    )
    assert run.end() == 0, run.text
    assert run.steps() == list(range(1, STEPS + 1)) and "auto_scale_lr: lr times 1 x 4 / 64" in run.text
    assert "all is in float32, which the half precision of optim_wrapper approximates" in run.text
    lines = [json.loads(line) for line in (run.work_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "val"] == [STEPS], run.text
    saved = checkpoint.load(checkpoint.latest(run.work_dir))
    assert saved.path.name == f"step_{STEPS}.safetensors"
    name = "rpn_head.rpn_conv.weight"
    assert (saved.training[name] != saved.model[name]).any(), "the average is evaluated, other weights are trained"

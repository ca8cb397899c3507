"""Every task and command that writes, on inputs so small that a run takes a second or a few."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from data_server.demo import scenes
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import Writer
from shared import coco
from shared.config import load_config
from tests.cluster import ROOT
from tests.faults.cells import Scenario
from tests.trainer.detectors import NAMES, write_clip
from tests.trainer.models.examples import SMALL_STAGE_1
from trainer.device import seed
from trainer.models import build_detector
from trainer.weights import checkpoint

_WORK = "--work-dir {ground}/work"
_SERVER = "--data-server {server}"
_STAGE_1 = "--config {ground}/stage_1.py"
_CLIP = "--config {ground}/FasterRCNN.py --checkpoint {ground}/FasterRCNN.safetensors"
_WEIGHTS = "--checkpoint {ground}/stage_1.safetensors"

COMMANDS = (
    Scenario("scenes", "data_server", "scenes --out {ground}/new --train-images=1 --val-images=1"),
    Scenario("scenes, anew", "data_server", "scenes --out {ground}/data --seed=5 --train-images=1 --val-images=1"),
    Scenario("subset", "data_server", "subset --annotations {ground}/data/train_a.json --percent=50"),
    Scenario("category-info", "data_server", "category-info --annotations {ground}/data/train_a.json"),
    Scenario(
        "names", "data_server", "names --embeddings {ground}/nameless.npy --annotations {ground}/data/train_a.json"
    ),
    Scenario(
        "embed",
        "data_server",
        "embed --annotations {ground}/data/val_base.json --rows-of {ground}/data/train_a.npy {ground}/data/train_b.npy "
        "--out {ground}/new/rows.npy",
    ),
    Scenario(
        "proposals",
        "data_server",
        "proposals --file {ground}/proposals.safetensors --annotations {ground}/data/val_base.json "
        "--out {ground}/new/list.pkl",
    ),
    Scenario("replay", "data_server", f"replay {_STAGE_1} --step=0 --draw {{ground}}/replayed"),
    Scenario("browse", "data_server", f"browse {_STAGE_1} --html {{ground}}/new/page.html --samples=2"),
)
TASKS = (
    Scenario("train", "trainer", f"train {_STAGE_1} {_WORK} {_SERVER}", again=" --resume"),
    Scenario("evaluate", "trainer", f"evaluate {_STAGE_1} {_WEIGHTS} {_WORK} --draw {_SERVER}"),
    Scenario("propose", "trainer", f"propose {_STAGE_1} {_WEIGHTS} {_WORK} --draw {_SERVER}"),
    Scenario("calibrate", "trainer", f"calibrate {_CLIP} {_WORK} {_SERVER}"),
    Scenario("detect", "trainer", f"detect {_CLIP} {_WORK} --images {{ground}}/data/val_base --draw"),
    Scenario("export", "trainer", f"export {_STAGE_1} {_WEIGHTS} --out {{ground}}/new/weights.pth"),
    Scenario("describe", "trainer", "describe --config {ground}/wordless.py"),
    Scenario("recipe", "trainer", f"--recipe {{ground}}/recipe.py {_WORK} {_SERVER}", alone=True),
)
ALL = COMMANDS + TASKS

_STAGE_1_FILE = """
_base_ = ['{root}/configs/demo/cln.py']
data_root = '{ground}/data'
model = {model!r}
train_dataloader = dict(batch_size=4)
val_dataloader = dict(batch_size=2)
test_dataloader = None
test_evaluator = None
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, by_epoch=False, max_keep_ckpts=1, save_best='auto', rule='greater'))
"""
_RECIPE_FILE = """
steps = [
    dict(
        name='trained', task='train', config='{ground}/stage_1.py',
        options={{'val_evaluator': None, 'default_hooks.checkpoint.save_best': None}}),
    dict(name='judged', task='evaluate', config='{ground}/stage_1.py', weights='trained'),
]
"""
_CLIP_FILE = """
val_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='CocoDataset',
        data_root='{ground}/data',
        ann_file='named.json',
        data_prefix=dict(img='val_base/'),
        metainfo=dict(classes={names!r}),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(128, 96), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs')]))
"""


def lay_out(ground: Path) -> None:
    """Fills a folder with what the scenarios need."""
    data = ground / "data"
    scenes.generate(data, seed=1, train_images=2, val_images=2)
    (ground / "nameless.npy").write_bytes((data / "train_a.npy").read_bytes())
    (ground / "stage_1.py").write_text(_STAGE_1_FILE.format(root=ROOT, ground=ground, model=_nested(SMALL_STAGE_1)))
    seed(3)
    model = build_detector(load_config(str(ground / "stage_1.py"), None).model.to_dict())
    checkpoint.save(ground / "stage_1.safetensors", model, None, {"epoch": 1, "step": 0}, {})
    write_clip(ground, "FasterRCNN", "BBoxHeadCLIPInference")
    with (ground / "FasterRCNN.py").open("a") as file:
        file.write(_CLIP_FILE.format(ground=ground, names=NAMES))
    content = json.loads((data / "val_base.json").read_text())
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    for one in content["annotations"]:
        one["category_id"] = one["category_id"] % len(NAMES) + 1
    (data / "named.json").write_text(json.dumps(content))
    text = (ground / "FasterRCNN.py").read_text()
    (ground / "wordless.py").write_text(text.replace("vocabulary_FasterRCNN", "missing"))
    images = coco.read(data / "val_base.json", images=("id", "file_name"))["images"]
    keys = [(image["id"], f"val_base/{image['file_name']}") for image in images]
    writer = Writer(ground, "made", ImageNames.of(keys), "model", "for a test")
    writer.append(0, np.full(len(keys), 2), np.arange(10 * len(keys), dtype=np.float32).reshape(-1, 5))
    writer.finish()
    writer.path.rename(ground / "proposals.safetensors")
    (ground / "recipe.py").write_text(_RECIPE_FILE.format(ground=ground))


def _nested(changes: dict[str, object]) -> dict:
    nested: dict = {}
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = nested
        for one in parents:
            place = place.setdefault(one, {})
        place[last] = value
    return nested

"""``propose`` as a user starts it: every image has its proposals, what is there is kept, stage 2 reads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_server.demo import scenes
from data_server.files.proposal_file import ProposalFile
from tests.cluster import Cluster
from tests.data_server.proposals import as_killed
from tests.photos import TRAIN_PIPELINE, config_of
from tests.trainer.runs import DEADLINE, ROOT, Run

SETS = {"train_a": 18, "train_b": 18, "val_base": 8, "val_never_seen": 8}
DONE = 8  # a whole number of batches of 8, as after a kill


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data in which two training images have no boxes, which a training stream leaves out."""
    out = tmp_path_factory.mktemp("scenes") / "demo"
    scenes.generate(out, seed=1, train_images=18, val_images=8)
    content = json.loads((out / "train_a.json").read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] not in (3, 7)]
    (out / "train_a.json").write_text(json.dumps(content))
    return out


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """A work dir with a checkpoint and its proposals."""
    work_dir = tmp_path_factory.mktemp("proposed")
    trained = Run(work_dir, data_root, **{"train_cfg.val_interval": 9})
    assert trained.end() == 0, trained.text
    again(work_dir, data_root, "--draw")
    return work_dir


def again(work_dir: Path, data_root: Path, *arguments: str) -> str:
    run = Run(work_dir, data_root, "propose", *arguments)
    assert run.end() == 0, run.text
    run.assert_nothing_left()
    return run.text


def files(work_dir: Path) -> dict[str, ProposalFile]:
    """By data set."""
    paths = (work_dir / "proposals").iterdir()
    return {path.name.rpartition("-")[0].rpartition("-")[0]: ProposalFile.open(path) for path in paths}


def test_every_image_of_the_annotation_files_is_covered(proposed: Path, data_root: Path) -> None:
    found = files(proposed)
    assert {name: len(file.images) for name, file in found.items()} == SETS
    for name, file in found.items():
        images = json.loads((data_root / f"{name}.json").read_text())["images"]
        assert list(file.images) == [(image["id"], f"{name}/{image['file_name']}") for image in images]
        assert (file.counts > 0).all() and np.isfinite(file.rows).all()
        size = {image["id"]: (image["width"], image["height"]) for image in images}
        ends = np.cumsum(file.counts)
        for (identity, _), rows in zip(file.images, np.split(file.rows, ends[:-1]), strict=True):
            assert (np.diff(rows[:, 4]) <= 0).all(), "not by descending score"
            assert rows[:, 0:4:2].max() <= size[identity][0] + 1e-3 and rows[:, 1:4:2].max() <= size[identity][1] + 1e-3
            assert rows[:, :4].min() >= 0
    assert len({file.model for file in found.values()}) == 1


def test_every_image_is_drawn_where_that_was_asked_for(proposed: Path) -> None:
    drawn = {folder.name: len(list(folder.iterdir())) for folder in (proposed / "drawn").iterdir()}
    assert drawn == SETS


def test_proposals_that_are_there_are_kept_and_missing_ones_are_resumed_bit_for_bit(
    proposed: Path, data_root: Path
) -> None:
    (path,) = (proposed / "proposals").glob("train_b-*")
    complete = path.read_bytes()
    as_killed(path, DONE)
    kept = {other: other.stat().st_ino for other in path.parent.glob("*.safetensors")}
    text = again(proposed, data_root)
    assert "train_a: the proposals of all 18 images are already there" in text
    assert f"train_b: continuing after {DONE} of 18 images" in text
    assert path.read_bytes() == complete
    assert {other: other.stat().st_ino for other in kept} == kept
    assert not list(path.parent.glob("*.growing"))


def test_stage_two_finds_them_by_the_folder(proposed: Path, data_root: Path, cluster: Cluster) -> None:
    file = files(proposed)["train_a"]
    pipeline = (TRAIN_PIPELINE[0], {"type": "LoadProposals", "num_max_proposals": 50, "load_score": True})
    config = config_of(
        data_root,
        batch_size=1,
        pipeline=(*pipeline, *TRAIN_PIPELINE[1:]),
        ann_file="train_a.json",
        data_prefix={"img": "train_a/"},
        metainfo=None,
        proposal_file=str(proposed / "proposals"),
    )
    client = cluster.open(config)
    assert client.welcome.images == 16
    starts = np.cumsum(file.counts) - file.counts
    place_of = {identity: place for place, (identity, _) in enumerate(file.images)}
    for _ in range(16):
        lease = client.next()
        arrays = {name: array[0].copy() for name, array in lease.arrays.items()}
        lease.release()
        place = place_of[int(arrays["image_ids"])]
        count = min(50, file.counts[place])
        assert arrays["proposal_counts"] == count
        rows = np.array(file.rows[starts[place] : starts[place] + count])
        np.testing.assert_array_equal(arrays["proposals"][:count, 4], rows[:, 4])
        np.testing.assert_allclose(
            arrays["proposals"][:count, 3], rows[:, 3] * arrays["scale_factors"][3], rtol=1e-4, atol=1e-3
        )


def test_an_image_that_cannot_be_read_is_named_or_left_without_proposals(
    proposed: Path, data_root: Path, tmp_path: Path
) -> None:
    spoiled, work_dir = tmp_path / "demo", tmp_path / "work"
    shutil.copytree(data_root, spoiled)
    shutil.copytree(proposed, work_dir)
    image = spoiled / "val_base" / "000004.jpg"
    image.write_bytes(image.read_bytes()[:900])
    shutil.rmtree(work_dir / "proposals")
    run = Run(work_dir, spoiled, "propose")
    assert run.end() == 2 and f"error: image '{image}': truncated" in run.text
    run = Run(work_dir, spoiled, "propose", **{"feed.on_bad_sample": "replace"})
    assert run.end() == 0, run.text
    file = files(work_dir)["val_base"]
    assert (file.counts == 0).tolist() == [identity == 4 for identity, _ in file.images]


# Everything counts as a detection, however little was learned in a few steps.
STAGE_2 = """
_base_ = ['ROOT/configs/_base_/default_runtime.py', 'ROOT/configs/_base_/models/clip_fpn_small.py']
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='BBoxHeadCLIPPartitioned', num_classes=60, zeroshot_path=['DATA/train_a.npy', 'DATA/train_b.npy'])),
    test_cfg=dict(rcnn=dict(score_thr=0.0)))
train_pipeline, test_pipeline = [[
    dict(type='LoadImageFromFile'),
    dict(type='LoadProposals', num_max_proposals=30),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(192, 144), keep_ratio=True),
    *flip,
    dict(type='PackDetInputs')] for flip in ([dict(type='RandomFlip', prob=0.5)], [])]


def part(name, pipeline):
    return dict(
        type='CocoDataset', data_root='DATA', ann_file=name + '.json', data_prefix=dict(img=name + '/'),
        proposal_file='PROPOSALS', pipeline=pipeline, filter_cfg=dict(filter_empty_gt=True))


train_dataloader = dict(
    batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(type='ConcatDataset', datasets=[part('train_a', train_pipeline), part('train_b', train_pipeline)]))
val_dataloader = dict(batch_size=4, dataset=part('train_a', test_pipeline))
val_evaluator = dict(type='CocoMetric', metric='bbox')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001), clip_grad=dict(max_norm=10))
"""


@pytest.mark.long
def test_stage_two_trains_on_them_over_two_data_sets_and_is_evaluated_on_them(
    proposed: Path, data_root: Path, tmp_path: Path
) -> None:
    text = STAGE_2.replace("ROOT", str(ROOT)).replace("DATA", str(data_root))
    config = tmp_path / "stage_2.py"
    config.write_text(text.replace("PROPOSALS", str(proposed / "proposals")))
    command = [sys.executable, "-m", "trainer", "--config", str(config), "--work-dir", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss_cls"] for line in lines if line["kind"] == "train"]
    assert len(losses) >= 16 and np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:4])
    assert [line["kind"] for line in lines][-1] == "val" and "bbox_mAP_50" in lines[-1]

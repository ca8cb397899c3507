"""Batches resized and padded in training, against MMDetection's own classes, which need torch and run in a process."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.batch import blank_arrays
from shared.errors import UserError
from tests.cluster import ROOT
from tests.trainer.models.examples import random_batch, small_model
from trainer.batch import Batch
from trainer.device import jit_kernel_count, jt, seed, var
from trainer.models import build_detector
from trainer.models.detectors.batch_augments import BatchSyncRandomResize, build_all, resized

HEIGHT, WIDTH = 64, 96
SYNC = {"type": "BatchSyncRandomResize", "random_size_range": (40, 130), "interval": 3, "size_divisor": 16}
RUN_SEED, STEPS = 7, 14
LISTS = {
    "drawn sizes": [SYNC],
    "padded, then drawn": [{"type": "mmdet.BatchFixedSizePad", "size": (80, 100), "img_pad_value": 1}, SYNC],
    "drawn, then padded": [SYNC, {"type": "BatchFixedSizePad", "size": (100, 90), "pad_mask": False}],
    "by the short side": [{"type": "BatchResize", "scale": (200, 50)}],
    "by the long side, padded": [
        {"type": "BatchResize", "scale": (100, 111), "pad_size_divisor": 32, "pad_value": 0.5}
    ],
}

MMDETECTION = """
import json, random, sys, numpy, torch
from benchmarks.networks.mmcv_operators import Uncompiled
try:
    import mmcv._ext
except ImportError:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
import mmdet.models
DefaultScope.get_instance("augments", scope_name="mmdet")
lists, draws, steps, source, answer = json.load(sys.stdin)
arrays, hub, result = numpy.load(source), MessageHub.get_current_instance(), {}
for name, configs in lists.items():
    drawn = iter(draws[name])
    random.randint = lambda *bounds: next(drawn)
    augments = [MODELS.build(config) for config in configs]
    for step in range(steps):
        hub.update_info("iter", step)
        images, samples = torch.tensor(arrays["images"]), []
        for boxes, shape in zip(arrays["boxes"], arrays["shapes"]):
            truths, crowds = (InstanceData(bboxes=torch.tensor(boxes)) for _ in range(2))
            size = tuple(images.shape[-2:])
            meta = dict(img_shape=tuple(shape.tolist()), pad_shape=size, batch_input_shape=size)
            samples.append(DetDataSample(metainfo=meta, gt_instances=truths, ignored_instances=crowds))
        for augment in augments:
            images, samples = augment(images, samples)
        result |= {
            f"{name} {step} images": images.numpy(),
            f"{name} {step} boxes": numpy.stack([one.gt_instances.bboxes for one in samples]),
            f"{name} {step} shapes": numpy.array([one.img_shape for one in samples]),
        }
numpy.savez(answer, **result)
"""


def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    corners = random.uniform(0, 40, (2, 8, 2)).astype(np.float32)
    return {
        "images": random.normal(0, 1.5, (2, 3, HEIGHT, WIDTH)).astype(np.float32),
        "boxes": np.concatenate([corners, corners + random.uniform(1, 20, (2, 8, 2)).astype(np.float32)], -1),
        "shapes": np.array([[HEIGHT, 91], [47, WIDTH]]),
    }


def batch_of(step: int) -> Batch:
    arrays = blank_arrays(2, HEIGHT, WIDTH, proposals=8)
    arrays["image_shapes"][:] = inputs()["shapes"]
    arrays["boxes"][:] = arrays["proposals"][..., :4] = inputs()["boxes"]
    arrays["proposals"][..., 4] = 0.25
    return Batch.from_arrays(arrays, step=step, seed=RUN_SEED)


def draws_of(name: str) -> list[int]:
    """What ours draws, where MMDetection does: after the last step of each interval."""
    (resize, *_) = [one for one in build_all(LISTS[name], "") if isinstance(one, BatchSyncRandomResize)] or [None]
    if resize is None:
        return []
    return [resize.size(RUN_SEED, step, HEIGHT, WIDTH)[0] // 16 for step in range(3, STEPS + 3, 3)]


@pytest.fixture(scope="module")
def mmdetection(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: MMDetection's classes cannot be run")
    folder: Path = tmp_path_factory.mktemp("augments")
    np.savez(folder / "inputs.npz", **inputs())
    files = [str(folder / "inputs.npz"), str(folder / "answers.npz")]
    question = json.dumps([LISTS, {name: draws_of(name) for name in LISTS}, STEPS, *files])
    done = subprocess.run([sys.executable, "-c", MMDETECTION], input=question, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(np.load(files[1]))


@pytest.mark.parametrize("name", LISTS)
def test_images_boxes_and_shapes_of_every_step_are_mmdetections(name: str, mmdetection: dict) -> None:
    sizes = set()
    for step in range(STEPS):
        images, batch = var(inputs()["images"]), batch_of(step)
        for augment in build_all(LISTS[name], "model.data_preprocessor.batch_augments"):
            images, batch = augment(images, batch)
        expected = mmdetection[f"{name} {step} images"]
        # float32 on both sides, up to 6; weights and products are rounded in another order
        np.testing.assert_allclose(images.numpy(), expected, rtol=0, atol=2e-6)
        np.testing.assert_array_equal(batch.boxes.numpy(), mmdetection[f"{name} {step} boxes"])
        np.testing.assert_array_equal(batch.image_shapes.numpy(), mmdetection[f"{name} {step} shapes"])
        sizes.add(expected.shape)
    assert len(sizes) > 2 or not draws_of(name)


def test_host_and_device_agree_and_proposals_are_boxes_with_the_score_that_they_had() -> None:
    before = batch_of(0)
    after = before.scaled(0.5, 1.25)
    for key in ("boxes", "image_shapes"):
        np.testing.assert_array_equal(after.host[key], getattr(after, key).numpy())
    assert after.proposals is not None
    np.testing.assert_array_equal(after.proposals.numpy()[..., :4], after.boxes.numpy())
    assert (after.proposals.numpy()[..., 4] == 0.25).all()
    assert after.host["scale_factors"].tolist() == [[0.5, 1.25, 0.5, 1.25]] * 2
    assert before.host["boxes"].tolist() == inputs()["boxes"].tolist()


def test_the_size_is_a_function_of_seed_and_step_and_every_one_of_the_range_comes() -> None:
    (resize,) = build_all([{"type": "BatchSyncRandomResize", "random_size_range": (480, 800)}], "")
    (again,) = build_all([{"type": "BatchSyncRandomResize", "random_size_range": (480, 800)}], "")
    steps = list(range(4000))
    sizes = [resize.size(5, step, 640, 960) for step in steps]
    assert sizes[::-1] == [again.size(5, step, 640, 960) for step in steps[::-1]]
    assert sizes[:10] == [(640, 960)] * 10
    assert all(sizes[step] == sizes[step // 10 * 10] for step in steps)
    assert set(sizes[10:]) == {(32 * n, 32 * int(960 / 640 * n)) for n in range(15, 26)}
    assert sizes != [resize.size(6, step, 640, 960) for step in steps]


def test_another_size_needs_no_other_kernel() -> None:
    images = var(inputs()["images"])
    resized(images, 50, 70).sync()
    compiled = jit_kernel_count()
    for height, width in ((33, 40), (200, 31), (65, 97)):
        assert resized(images, height, width).numpy().shape == (2, 3, height, width)
    assert jit_kernel_count() == compiled


def test_training_sees_resized_batches_and_prediction_those_that_came() -> None:
    seed(0)
    plain = build_detector(small_model())
    augmented = build_detector(small_model(**{"data_preprocessor.batch_augments": [SYNC | {"size_divisor": 32}]}))
    augmented.load_parameters(plain.state_dict())
    early, late = (dataclasses.replace(random_batch(), step=step, seed=RUN_SEED) for step in (0, 3))

    def losses(model: object, batch: Batch) -> list[float]:
        return [term.item() for term in model.loss(batch).values()]  # type: ignore[attr-defined]

    assert losses(augmented, early) == losses(plain, early)
    assert losses(augmented, late) != losses(plain, late)
    maps, batch = augmented.extract_in_training(late)
    (resize,) = augmented.batch_augments
    height, width = resize.size(RUN_SEED, 3, 96, 128)
    assert maps[0].shape[2:] == [height // 4, width // 4] != [24, 32]
    assert batch.image_shapes.numpy()[0].tolist() == [height, width]
    plain.eval()
    augmented.eval()
    with jt.no_grad():
        for ours, theirs in zip(plain.predict(late), augmented.predict(late), strict=True):
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
            np.testing.assert_array_equal(ours.scores, theirs.scores)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"type": "BatchMixUp"}, r"p\[0\]: unknown type 'BatchMixUp'"),
        ({"type": "BatchFixedSizePad"}, r"p\[0\]\.size: missing"),
        ({"type": "BatchFixedSizePad", "size": 9}, r"p\[0\]\.size is 9; expected two whole numbers, each 1"),
        (
            {"type": "BatchFixedSizePad", "size": (9, 9), "value": 1},
            r"p\[0\] \(BatchFixedSizePad\): unknown key 'value'",
        ),
        ({"type": "BatchResize", "scale": (0, 9)}, r"p\[0\]\.scale is \(0, 9\); expected two whole numbers"),
        (SYNC | {"interval": 0}, r"p\[0\]\.interval is 0; expected a whole number, 1 or more"),
        (SYNC | {"size_divisor": 0}, r"p\[0\]\.size_divisor is 0; expected a whole number, 1 or more"),
        (
            SYNC | {"random_size_range": (7, 90)},
            "expected .smallest, largest., which are 0 and 6 times size_divisor=16",
        ),
        (SYNC | {"random_size_range": (90, 40)}, "expected .smallest, largest., which are 6 and 2 times"),
    ],
)
def test_a_mistake_in_the_config_is_named(augment: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_all([augment], "p")

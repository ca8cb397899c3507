"""Stage 2 and the end-to-end detector, small: they train what they should, their shapes are fixed."""

import gc
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model
from tests.trainer.models.examples import random_batch
from trainer import device
from trainer.device import jt, nn, var
from trainer.models import build_detector
from trainer.training.terms import total_loss

KINDS = ("FastRCNN", "FasterRCNN")


def make(folder: Path, kind: str, **changes: object) -> nn.Module:
    device.seed(0)
    detector = build_detector(small_clip_model(folder, kind, **changes))
    for name, value in detector.named_parameters():
        # The last norm of each block starts at 0, which stops the gradient of the convolutions before it for one step.
        if name.endswith("bn3.weight"):
            value.assign(jt.ones(value.shape))
    return detector


def make_optimizer(detector: nn.Module) -> nn.SGD:
    return nn.SGD([p for p in detector.parameters() if not p.is_stop_grad()], 0.0002, momentum=0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_moves_every_trainable_parameter_and_no_frozen_one(kind: str, tmp_path: Path) -> None:
    detector = make(tmp_path, kind)
    optimizer = make_optimizer(detector)
    before = {name: value.numpy().copy() for name, value in detector.named_parameters()}
    optimizer.step(total_loss(detector.loss(batch_with_proposals())))
    jt.sync_all()
    frozen = ("backbone.conv", "backbone.bn", "backbone.layer1", "roi_head.bbox_head.zs_weights")
    for name, value in detector.named_parameters():
        moved = not np.array_equal(before[name], value.numpy())
        if not name.endswith("k_proj.bias"):  # see AttentionPool2d
            assert moved == (not name.startswith(frozen) and "running" not in name), name
        assert np.isfinite(value.numpy()).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_when_one_batch_is_repeated(kind: str, tmp_path: Path) -> None:
    detector = make(tmp_path, kind)
    batch, optimizer = batch_with_proposals(), make_optimizer(detector)
    history = []
    for _ in range(20):
        total = total_loss(detector.loss(batch))
        optimizer.step(total)
        jt.sync_all()
        history.append(total.item())
    assert np.mean(history[-5:]) < 0.5 * history[0]


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_and_counts_compile_nothing_and_keep_memory_flat(kind: str, tmp_path: Path) -> None:
    gc.collect()  # a detector of an earlier test must not be freed between two counts
    detector = make(tmp_path, kind)
    optimizer = make_optimizer(detector)

    def step(*size: int, **more: object) -> tuple[int, int]:
        optimizer.step(total_loss(detector.loss(batch_with_proposals(*size, **more))))
        jt.sync_all()
        alive = jt.liveness_info()
        return alive["hold_vars"], alive["lived_ops"]

    for size in ((96, 128), (128, 96)):
        for _ in range(2):
            steady = step(*size)
    kernels = device.jit_kernel_count()
    for i, counts in enumerate([(24, 0), (1, 1), (0, 0), (5, 7)]):
        assert step(*((96, 128), (128, 96))[i % 2], counts=counts, seed=i) == steady
    assert device.jit_kernel_count() == kernels


def test_rows_behind_the_last_proposal_are_neither_sampled_nor_detected(tmp_path: Path) -> None:
    detector = make(tmp_path, "FastRCNN")
    batch = batch_with_proposals(counts=(2, 0))
    sampled = detector.roi_head.sample(detector.proposals([], batch), batch)
    used = sampled.samples.weight.numpy() > 0
    # Two proposals and three boxes; no proposal and two boxes.
    assert used.sum(1).tolist() == [5, 2]
    assert not (sampled.boxes.numpy()[used] == [0, 0, 90, 70]).all(1).any()
    assert [len(found.scores) > 0 for found in detector.predict(batch)] == [True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_ordered_and_in_pixels_of_the_original_image(kind: str, tmp_path: Path) -> None:
    detector, batch = make(tmp_path, kind), batch_with_proposals()
    for found, shape in zip(detector.predict(batch), batch.image_shapes.numpy(), strict=True):
        assert 0 < len(found.scores) <= 100
        assert (np.diff(found.scores) <= 0).all()
        assert found.labels.min() >= 0
        assert found.labels.max() < 12
        # The scale factor is 0.5: an image of 128 pixels was one of 256.
        assert found.boxes.min() >= 0
        assert (found.boxes[:, 2:] <= shape[::-1] * 2).all()


def test_images_without_boxes_train_with_a_finite_loss(tmp_path: Path) -> None:
    detector = make(tmp_path, "FastRCNN")
    batch = batch_with_proposals()
    batch.box_counts = var([0, 0], "int32")
    terms = detector.loss(batch)
    assert terms["loss_bbox"].item() == 0
    assert terms["loss_cls"].item() > 0
    gradients = jt.grad(total_loss(terms), [p for p in detector.parameters() if not p.is_stop_grad()])
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


def test_a_batch_without_proposals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a FastRCNN needs proposals with every image"):
        make(tmp_path, "FastRCNN").loss(random_batch())


def test_a_label_that_the_head_has_no_class_for_is_refused(tmp_path: Path) -> None:
    batch = batch_with_proposals()
    batch.host["labels"][1, 0] = 12
    with pytest.raises(UserError, match="has label 12, the box head has 12 classes"):
        make(tmp_path, "FastRCNN").loss(batch)

"""The whole stage-1 detector, small: it trains what it should, its shapes are fixed, its detections are in order."""

import gc
from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.models.examples import random_batch, small_model
from trainer import device
from trainer.device import jt, nn
from trainer.models import build_detector

LOSSES = ("loss_rpn_cls", "loss_rpn_bbox", "loss_rpn_obj", "loss_cls", "loss_bbox", "loss_bbox_score")


def total_of(terms: dict[str, jt.Var]) -> jt.Var:
    return sum(value for key, value in terms.items() if "loss" in key)


def make_optimizer(detector: nn.Module) -> nn.SGD:
    return nn.SGD([p for p in detector.parameters() if not p.is_stop_grad()], 0.02, momentum=0.9)


@pytest.fixture
def detector() -> nn.Module:
    device.seed(0)
    return build_detector(small_model())


def test_every_term_is_there_and_positive_where_it_has_something_to_learn(detector: nn.Module) -> None:
    terms = {key: value.item() for key, value in detector.loss(random_batch()).items()}
    assert tuple(key for key in terms if "loss" in key) == LOSSES
    assert terms["loss_rpn_cls"] == 0
    for key in LOSSES[1:]:
        assert 0 < terms[key] < 20, key
    assert terms["num_positive_anchors"] > 0
    assert terms["num_positive_rois"] >= 5


def test_a_step_moves_every_trainable_parameter_and_no_frozen_one() -> None:
    # All anchors of an image that is large enough for those of stride 32 reach every level that has a convolution.
    device.seed(0)
    detector = build_detector(small_model(**{"train_cfg.rpn.objectness_sampler.num": 100_000}))
    for name, value in detector.named_parameters():
        # The last norm of each block starts at 0, which stops the gradient of the convolution before it for one step.
        if name.endswith("bn2.weight"):
            value.assign(jt.ones(value.shape))
    # Boxes decoded from the initial weights may all have a negative side, whose IoU has no gradient.
    detector.rpn_head.rpn_reg.bias.assign(jt.full((4,), 0.5))
    optimizer = make_optimizer(detector)
    before = {name: value.numpy().copy() for name, value in detector.named_parameters()}
    optimizer.step(total_of(detector.loss(random_batch(320, 320))))
    jt.sync_all()
    for name, value in detector.named_parameters():
        moved = not np.array_equal(before[name], value.numpy())
        dead = name.startswith("rpn_head.rpn_cls")  # trained with weight 0
        assert moved == (not value.is_stop_grad() and not dead), name
        assert np.isfinite(value.numpy()).all(), name


def test_the_loss_falls_when_one_batch_is_repeated(detector: nn.Module) -> None:
    batch, optimizer = random_batch(), make_optimizer(detector)
    history = []
    for _ in range(30):
        total = total_of(detector.loss(batch))
        optimizer.step(total)
        jt.sync_all()
        history.append(total.item())
    assert np.mean(history[-5:]) < 0.85 * history[0]


def test_other_sizes_and_counts_compile_nothing_and_keep_memory_flat(detector: nn.Module) -> None:
    gc.collect()  # a detector of an earlier test must not be freed between two counts
    optimizer = make_optimizer(detector)

    def step(batch: object) -> tuple[int, int]:
        optimizer.step(total_of(detector.loss(batch)))
        jt.sync_all()
        alive = jt.liveness_info()
        return alive["hold_vars"], alive["lived_ops"]

    for height, width in ((96, 128), (128, 96), (160, 128)):
        for _ in range(2):
            steady = step(random_batch(height, width))
    kernels = device.jit_kernel_count()
    for i, counts in enumerate([(8, 0), (1, 1), (0, 0), (5, 7)]):
        assert step(random_batch(*((96, 128), (128, 96))[i % 2], counts=counts, seed=i)) == steady
    assert device.jit_kernel_count() == kernels


@pytest.mark.parametrize(("height", "width"), [(97, 131), (109, 89)])
def test_sizes_that_no_stride_divides_train_and_are_detected_in(detector: nn.Module, height: int, width: int) -> None:
    """As batches are without a pad_size_divisor."""
    batch = random_batch(height, width)
    detector.train()
    assert all(np.isfinite(term.numpy()).all() for term in detector.loss(batch).values())
    detector.eval()
    for found, (rows, columns) in zip(detector.predict(batch), batch.host["original_shapes"], strict=True):
        assert len(found.boxes) and np.isfinite(found.boxes).all()
        assert (found.boxes[:, 2:] <= [2 * columns, 2 * rows]).all()
    detector.train()


def test_an_image_without_boxes_trains_with_zero_box_losses(detector: nn.Module) -> None:
    terms = detector.loss(random_batch(counts=(0, 0)))
    assert [terms[key].item() for key in ("loss_rpn_bbox", "loss_bbox", "loss_bbox_score")] == [0, 0, 0]
    assert terms["loss_rpn_obj"].item() > 0
    assert terms["loss_cls"].item() > 0
    gradients = jt.grad(total_of(terms), [p for p in detector.parameters() if not p.is_stop_grad()])
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


def test_the_same_seed_gives_the_same_weights_and_losses() -> None:
    results = []
    for _ in range(2):
        device.seed(7)
        detector = build_detector(small_model())
        results.append({key: value.item() for key, value in detector.loss(random_batch()).items()})
    assert results[0] == results[1]


def test_a_loss_depends_on_seed_and_step_alone_and_draws_nothing_from_jittors_generator(detector: nn.Module) -> None:
    def losses(seed: int, step: int) -> list[float]:
        terms = detector.loss(replace(random_batch(), seed=seed, step=step))
        return [terms[name].item() for name in ("loss_rpn_obj", "loss_cls")]

    device.seed(5)
    expected = jt.rand(10).numpy()
    device.seed(5)
    first = losses(0, 0)
    np.testing.assert_array_equal(jt.rand(10).numpy(), expected)
    assert losses(0, 0) == first
    for other in (losses(1, 0), losses(0, 1)):
        assert all(one != two for one, two in zip(first, other, strict=True))


def test_detections_are_ordered_and_in_pixels_of_the_original_image(detector: nn.Module) -> None:
    batch = random_batch()
    for detections, shape in zip(detector.predict(batch), batch.image_shapes.numpy(), strict=True):
        count = len(detections.scores)
        assert 0 < count <= 1500
        assert detections.boxes.shape == (count, 4)
        assert (detections.boxes.dtype, detections.scores.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(detections.labels, np.zeros(count, np.int32))
        assert (np.diff(detections.scores) <= 0).all()
        assert detections.boxes.min() >= 0
        # The scale factor is 0.5: an image of 128 pixels was one of 256.
        assert (detections.boxes[:, [2, 3]].max(0) <= shape[::-1] * 2).all()
        assert detections.boxes.max() > 128


def test_prediction_leaves_the_detector_ready_to_train(detector: nn.Module) -> None:
    trainable = [name for name, value in detector.named_parameters() if not value.is_stop_grad()]
    detector.predict(random_batch())
    assert [name for name, value in detector.named_parameters() if not value.is_stop_grad()] == trainable


def test_proposals_of_a_full_size_image_have_the_reference_numbers() -> None:
    detector = build_detector(small_model())
    batch = random_batch(224, 320)
    with jt.no_grad():
        maps = detector.extract(batch)
        proposals = detector.rpn_head.proposals(detector.rpn_head(maps), batch.image_shapes, "test")
    assert [tuple(level.shape[2:]) for level in maps] == [(56, 80), (28, 40), (14, 20), (7, 10), (4, 5)]
    assert proposals.shape == [2, 3490, 5]
    assert [len(found.scores) <= 1500 for found in detector.predict(batch)] == [True, True]

"""Loss terms against their formulas in numpy."""

import numpy as np
import pytest

from shared.errors import UserError
from trainer.device import jt, var
from trainer.models.losses import CrossEntropyLoss, IoULoss, L1Loss, federated_columns
from trainer.models.ops.random_keys import Draw, Use, random_keys

NORMALISER = var([4.0], "float32")
WEIGHT = np.array([[1, 0, 1], [1, 1, 0]], np.float32)


def test_sigmoid_cross_entropy_matches_and_survives_large_logits() -> None:
    logits = np.array([[0.5, -3, 200], [-200, 2, 7]], np.float32)
    target = np.array([[1, 0, 1], [0, 0.25, 1]], np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-(target * np.log(p) + (1 - target) * np.log(1 - p)))
    loss = CrossEntropyLoss(use_sigmoid=True, loss_weight=2.0)(var(logits), var(target), var(WEIGHT), NORMALISER)
    assert loss.item() == pytest.approx((entropy * WEIGHT).sum() / 4 * 2, rel=1e-5)


def test_softmax_cross_entropy_matches_and_survives_large_logits() -> None:
    logits = np.array([[[1, 2], [3, 3], [500, 100]], [[-1, 4], [0, 90], [5, 5]]], np.float32)
    labels = np.array([[0, 1, 1], [0, 1, 0]], np.int32)
    exact = logits.astype(np.float64)
    peak = exact.max(-1, keepdims=True)
    log_share = exact - peak - np.log(np.exp(exact - peak).sum(-1, keepdims=True))
    entropy = -np.take_along_axis(log_share, labels[..., None], -1)[..., 0]
    loss = CrossEntropyLoss()(var(logits), var(labels), var(WEIGHT), NORMALISER)
    assert loss.item() == pytest.approx((entropy * WEIGHT).sum() / 4, rel=1e-5)


def test_l1_matches() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)
    loss = L1Loss(loss_weight=3.0)(var(a), var(b), var(WEIGHT), NORMALISER)
    assert loss.item() == pytest.approx((np.abs(a - b) * WEIGHT).sum() / 4 * 3, rel=1e-5)


@pytest.mark.parametrize("linear", [True, False])
def test_iou_loss_matches_for_overlapping_apart_and_inverted_boxes(linear: bool) -> None:
    prediction = var([[[0, 0, 10, 10], [50, 50, 60, 60], [8, 8, 2, 2]]], "float32")
    target = var([[[5, 0, 15, 10], [0, 0, 10, 10], [0, 0, 10, 10]]], "float32")
    weight = var([[1, 1, 1]], "float32")
    iou = np.array([1 / 3, 1e-6, 1e-6])
    expected = (1 - iou if linear else -np.log(iou)).sum() / 4
    assert IoULoss(linear=linear)(prediction, target, weight, NORMALISER).item() == pytest.approx(expected, rel=1e-5)


def test_iou_loss_draws_the_prediction_towards_the_target() -> None:
    prediction = var([[[0, 0, 10, 10]]], "float32")
    target, weight = var([[[2, -3, 14, 9]]], "float32"), var([[1]], "float32")
    loss = IoULoss(linear=True)(prediction, target, weight, var([1.0], "float32"))
    gradient = jt.grad(loss, prediction).numpy()
    assert (np.sign(-gradient) == [[[1, -1, 1, -1]]]).all()


def test_rows_without_weight_add_nothing_and_get_no_gradient() -> None:
    prediction = var([[[3, 3, 3, 3], [0, 0, 4, 4]]], "float32")
    target = var([[[0, 0, 0, 0], [0, 0, 4, 5]]], "float32")
    loss = IoULoss(linear=True)(prediction, target, var([[0, 1]], "float32"), var([1.0], "float32"))
    assert loss.item() == pytest.approx(0.2, rel=1e-5)
    gradient = jt.grad(loss, prediction).numpy()
    assert (gradient[0, 0] == 0).all()
    assert np.isfinite(gradient).all()


def test_an_unknown_iou_mode_is_refused_by_its_full_name() -> None:
    with pytest.raises(UserError, match=r"rpn_head\.loss_bbox\.mode: .* found 'square'"):
        IoULoss(mode="square", where="rpn_head.loss_bbox")


def choose(labels: list[list[int]], weights: list[list[int]], drawable: list[list[int]], number: int) -> np.ndarray:
    keys = random_keys(Draw(0, 0, Use.CLASSES), (len(drawable), len(drawable[0])))
    columns = federated_columns(var(labels, "int32"), var(weights, "float32"), var(drawable, "float32"), keys, number)
    return columns.numpy()


def test_classes_that_appear_are_chosen_first_and_weightless_labels_do_not_count() -> None:
    for number in (1, 2):
        chosen = choose([[3, 3, 5, 1], [0, 0, 0, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]], [[1] * 8] * 2, number)
        np.testing.assert_array_equal(chosen[0], [0, 0, 0, 1, 0, 1, 0, 0])
        assert chosen[1].sum() == number
        assert chosen[1, 0] == 1


def test_what_appears_takes_part_even_if_it_may_not_be_drawn() -> None:
    chosen = choose([[3, 3]], [[1, 1]], [[1, 1, 0, 0, 0, 1]], 3)
    assert chosen[0, 3] == 1
    assert chosen[0, [2, 4]].sum() == 0
    assert chosen.sum() == 3


def test_no_more_is_drawn_than_there_is() -> None:
    np.testing.assert_array_equal(choose([[3]], [[1]], [[1, 0, 0, 0, 1, 0]], 50)[0], [1, 0, 0, 1, 1, 0])


def test_the_draw_is_uniform_over_what_may_be_drawn() -> None:
    groups = 4000
    labels, drawable = [[2]] * groups, [[1, 1, 1, 0, 1, 1, 1]] * groups
    chosen = choose(labels, [[1]] * groups, drawable, 3)
    assert (chosen.sum(1) == 3).all()
    # Two of five: 0.4, and five standard deviations of 4000 draws.
    np.testing.assert_allclose(chosen.mean(0)[[0, 1, 4, 5, 6]], 0.4, atol=5 * np.sqrt(0.24 / groups))

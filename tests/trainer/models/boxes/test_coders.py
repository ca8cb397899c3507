"""Box coders: golden numbers of the reference, inverses, degenerate boxes."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.boxes import coders
from trainer.models.boxes.coders import DeltaXYWHBBoxCoder, TBLRBBoxCoder, centerness
from trainer.models.boxes.columns import clip

PRIORS = var([[[16, 16, 80, 80], [0, 0, 100, 50]]], "float32")
TRUTHS = np.array([[[20, 10, 70, 120], [30, -5, 130, 40]]], np.float32)


def test_the_gradient_of_decoded_distances_is_the_same_where_sums_are_made_in_one_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes, weights = (var(np.random.default_rng(i).random((1, 2, 4)), "float32") for i in range(2))
    gradients = []
    for in_order in (False, True):
        monkeypatch.setattr(coders, "sums_in_order", lambda in_order=in_order: in_order)
        decoded = TBLRBBoxCoder().decode(PRIORS, codes)
        gradients.append(jt.grad((decoded * weights).sum(), codes).numpy())
    np.testing.assert_array_equal(*gradients)


def test_distances_match_the_reference_and_decode_to_the_truths() -> None:
    coder = TBLRBBoxCoder()
    codes = coder.encode(PRIORS, var(TRUTHS))
    expected = [[[0.59375, 1.125, 0.4375, 0.34375], [0.6, 0.3, 0.2, 0.8]]]
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-6)
    decoded = coder.decode(PRIORS, codes)
    np.testing.assert_allclose(decoded.numpy(), TRUTHS, atol=1e-4)
    clipped = clip(decoded, var([[60, 90]], "float32")).numpy()
    np.testing.assert_allclose(clipped, [[[20, 10, 70, 60], [30, 0, 90, 40]]], atol=1e-4)


def test_deltas_match_the_reference_and_growth_is_limited() -> None:
    coder = DeltaXYWHBBoxCoder(target_stds=[0.1, 0.1, 0.2, 0.2])
    deltas = coder.encode(PRIORS, var(TRUTHS))
    expected = [[[-0.46875, 2.65625, -1.2343, 2.707986], [3, -1.5, 0, -0.526803]]]
    np.testing.assert_allclose(deltas.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(coder.decode(PRIORS, deltas).numpy(), TRUTHS, atol=1e-4)
    extreme = coder.decode(PRIORS, var([[[1, -2, 3, 40], [0.5, 0.5, -50, 1]]], "float32")).numpy()
    expected = [[[-3.9078, -1964.8002, 112.7078, 2035.2001], [54.2, -3.035069, 55.8, 58.035069]]]
    np.testing.assert_allclose(extreme, expected, rtol=1e-5)


def test_boxes_without_area_get_finite_deltas() -> None:
    coder = DeltaXYWHBBoxCoder()
    boxes = var([[[5, 5, 5, 5], [9, 9, 3, 2], [0, 0, 10, 10]]], "float32")
    truths = var([[[0, 0, 0, 0], [1, 1, 4, 4], [0, 0, 0, 0]]], "float32")
    assert np.isfinite(coder.encode(boxes, truths).numpy()).all()


def test_centerness_is_one_in_the_middle_and_zero_outside() -> None:
    boxes = var([[[10, 10, 20, 20], [0, 0, 10, 10], [20, 10, 30, 20], [90, 90, 99, 99]]], "float32")
    truths = var(np.tile(np.array([0, 0, 30, 30], np.float32), (1, 4, 1)))
    # Centres at 15, 5 (sqrt(5/25 · 5/25)), 25 (sqrt(1 · 5/25)), outside.
    np.testing.assert_allclose(centerness(boxes, truths).numpy(), [[1, 0.2, np.sqrt(0.2), 0]], atol=1e-6)


def test_a_centre_outside_in_both_directions_has_no_centerness() -> None:
    boxes, truths = var([[[40, 40, 50, 50]]], "float32"), var([[[0, 0, 30, 30]]], "float32")
    assert centerness(boxes, truths).item() == pytest.approx(0.0)

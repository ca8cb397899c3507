"""RoIAlign against a plain loop over samples, forward and backward."""

import numpy as np
import pytest

from tests.trainer.models.examples import sequence
from trainer.device import jt, var
from trainer.models.ops.roi_align import roi_align

BOXES = {
    "ordinary": (10.3, 12.8, 70.1, 99.9),
    "tiny": (33.2, 40.1, 33.9, 41.0),
    "over the border": (-20.0, -30.0, 25.0, 60.0),
    "whole image": (0.0, 0.0, 128.0, 96.0),
    "outside": (300.0, 300.0, 360.0, 330.0),
    "empty": (20.0, 20.0, 20.0, 50.0),
    "inverted": (60.0, 50.0, 30.0, 20.0),
    "half inverted": (60.0, 20.0, 30.0, 50.0),
}


def taps(at: float, cells: int) -> list[tuple[int, float]]:
    """Cells and weights of a bilinear sample along one axis."""
    if at < -1 or at > cells:
        return []
    at = min(max(at, 0.0), cells - 1.0)
    low = int(at)
    return [(low, 1 - (at - low)), (min(low + 1, cells - 1), at - low)]


def align_by_loop(feature: np.ndarray, box: tuple, scale: float, size: int) -> np.ndarray:
    """(C,size,size) features of one box from one map (C,h,w), in float64."""
    channels, height, width = feature.shape
    x1, y1, x2, y2 = (np.float32(v) * np.float32(scale) - np.float32(0.5) for v in box)
    step_x, step_y = (x2 - x1) / np.float32(size), (y2 - y1) / np.float32(size)
    samples_x, samples_y = max(int(np.ceil(step_x)), 0), max(int(np.ceil(step_y)), 0)
    out = np.zeros((channels, size, size))
    for p, q, i, j in np.ndindex(size, size, samples_y, samples_x):
        for y, weight_y in taps(y1 + p * step_y + (i + 0.5) * step_y / samples_y, height):
            for x, weight_x in taps(x1 + q * step_x + (j + 0.5) * step_x / samples_x, width):
                out[:, p, q] += weight_y * weight_x * feature[:, y, x] / (samples_x * samples_y)
    return out


@pytest.fixture(scope="module")
def pyramid() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = [(24, 32), (12, 16), (6, 8), (3, 4)]
    return [generator.standard_normal((2, 5, h, w)).astype(np.float32) for h, w in sizes]


def test_golden_numbers() -> None:
    feature = var(sequence((1, 2, 8, 8), step=0.31))
    rois = var([[0, 10, 12, 70, 100], [0, -8, -8, 20, 20], [0, 40, 40, 30, 60]], "float32")
    out = roi_align([feature], [16], rois, var(np.zeros(3, np.int32)), 3).numpy()
    assert out.sum() == pytest.approx(7.430849, abs=1e-5)
    first = [-0.018041, -0.093409, -0.15546, 0.17497, 0.173603, 0.147485]
    np.testing.assert_allclose(out.ravel()[:6], first, atol=1e-6)
    assert (out[2] == 0).all()


@pytest.mark.parametrize("kind", BOXES)
def test_features_of_each_level_and_image_match_the_loop(kind: str, pyramid: list[np.ndarray]) -> None:
    # Both images and all levels in one call. Sample positions are rounded to float32: 1e-5 for features of size 1.
    rois = np.array([[image, *BOXES[kind]] for image in (1, 0) for _ in range(4)], np.float32)
    levels = np.array([0, 1, 2, 3] * 2, np.int32)
    out = roi_align([var(level) for level in pyramid], [4, 8, 16, 32], var(rois), var(levels), 7).numpy()
    for k in range(8):
        expected = align_by_loop(pyramid[levels[k]][int(rois[k, 0])], BOXES[kind], 0.25 / 2 ** levels[k], 7)
        np.testing.assert_allclose(out[k], expected, atol=1e-5)
    if kind in ("outside", "empty", "inverted", "half inverted"):
        assert (out == 0).all()


def test_a_roi_without_level_is_zero(pyramid: list[np.ndarray]) -> None:
    rois = var([[0, *BOXES["ordinary"]]] * 2, "float32")
    out = roi_align([var(level) for level in pyramid], [4, 8, 16, 32], rois, var([-1, 0], "int32"), 7).numpy()
    assert (out[0] == 0).all()
    assert (out[1] != 0).any()


def test_the_gradient_is_the_transpose_of_the_forward_map(pyramid: list[np.ndarray]) -> None:
    # RoIAlign is linear in the maps: <align(f), g> = <f, grad(g)> for every f, one equation per random f and level.
    generator = np.random.default_rng(1)
    rois = np.array([[k % 2, *box] for k, box in enumerate(BOXES.values())], np.float32)
    levels = np.array([0, 1, 2, 3, 0, 1, 2, 3], np.int32)
    maps = [var(level) for level in pyramid]
    out = roi_align(maps, [4, 8, 16, 32], var(rois), var(levels), 7)
    weights = generator.standard_normal(out.shape).astype(np.float32)
    gradients = [g.numpy() for g in jt.grad((out * var(weights)).sum(), maps)]
    for i in range(4):
        probe = generator.standard_normal(pyramid[i].shape).astype(np.float32)
        moved = [var(probe if j == i else np.zeros_like(level)) for j, level in enumerate(pyramid)]
        product = (roi_align(moved, [4, 8, 16, 32], var(rois), var(levels), 7).numpy() * weights).sum()
        assert (probe * gradients[i]).sum() == pytest.approx(product, rel=1e-4, abs=1e-4)
        assert np.abs(gradients[i]).max() > 0


def test_the_gradient_adds_up_over_overlapping_rois(pyramid: list[np.ndarray]) -> None:
    feature = var(pyramid[0])
    one = jt.grad(
        roi_align([feature], [4], var([[0, *BOXES["ordinary"]]], "float32"), var([0], "int32"), 7).sum(), feature
    )
    rois = var([[0, *BOXES["ordinary"]]] * 3, "float32")
    three = jt.grad(roi_align([feature], [4], rois, var([0, 0, 0], "int32"), 7).sum(), feature)
    np.testing.assert_allclose(three.numpy(), 3 * one.numpy(), rtol=1e-5, atol=1e-7)

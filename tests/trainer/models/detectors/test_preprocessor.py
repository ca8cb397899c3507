"""Bytes to network input: channel order, normalisation, padding."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.detectors.preprocessor import DetDataPreprocessor

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize("swap", [True, False])
def test_content_is_normalised_and_padding_stays_zero(swap: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    shapes = np.array([[50, 96], [64, 70]], np.float32)
    result = DetDataPreprocessor(MEAN, STD, bgr_to_rgb=swap)(var(images), var(shapes)).numpy()
    pixels = (images[..., ::-1] if swap else images).astype(np.float32)
    expected = ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)
    expected[0, :, 50:] = 0
    expected[1, :, :, 70:] = 0
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)

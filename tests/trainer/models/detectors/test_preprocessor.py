"""Bytes to network input: channel order, normalisation, padding."""

import numpy as np
import pytest

from shared.errors import UserError
from trainer.device import var
from trainer.models.detectors.preprocessor import DetDataPreprocessor
from trainer.models.registry import build

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize(
    ("swap", "padding"), [({"bgr_to_rgb": True}, 0), ({"rgb_to_bgr": True}, 0), ({}, 0), ({"pad_value": 114}, 114)]
)
def test_content_is_normalised_and_padding_stays_what_it_is(swap: dict, padding: float) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    shapes = np.array([[50, 96], [64, 70]], np.float32)
    result = DetDataPreprocessor(MEAN, STD, **swap)(var(images), var(shapes)).numpy()
    pixels = (images[..., ::-1] if True in swap.values() else images).astype(np.float32)
    expected = ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)
    expected[0, :, 50:] = padding
    expected[1, :, :, 70:] = padding
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_the_divisor_is_mmdetections_and_its_keys_for_masks_have_no_effect() -> None:
    plain = {"type": "DetDataPreprocessor", "mean": MEAN, "std": STD}
    assert build(plain, "p").pad_size_divisor == 1
    masks = {"pad_mask": True, "mask_pad_value": 0, "pad_seg": False, "seg_pad_value": 255, "batch_augments": None}
    assert build(plain | masks | {"pad_size_divisor": 128}, "p").pad_size_divisor == 128


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"pad_size_divisor": 0}, "p.pad_size_divisor is 0; expected a whole number, 1 or more"),
        ({"pad_value": "0"}, "p.pad_value"),
        ({"batch_augments": [{"type": "BatchSyncRandomResize"}]}, r"p.batch_augments\[0\].random_size_range: missing"),
        ({"rgb_to_bgr": True, "bgr_to_rgb": True}, "are both True; one of them is enough"),
        ({"pad_maks": True}, "unknown key 'pad_maks'"),
    ],
)
def test_what_would_change_images_is_refused_by_name(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build({"type": "DetDataPreprocessor", "mean": MEAN, "std": STD, **keys}, "p")

"""Pictures that are no colours of 0..255 are refused; dark ones and those that a distortion has changed are not."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_server.datasets.pictures import as_carried, decoded
from shared.errors import UserError

NIGHT = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) // 16
DAY = NIGHT * 80


def part(loaded: np.ndarray) -> SimpleNamespace:
    steps = [lambda results: results | {"seen": 1}, lambda results: results | {"img": loaded}, None]
    return SimpleNamespace(dataset=SimpleNamespace(get_data_info=lambda _: {"img_id": 3}, pipeline=steps))


def test_a_picture_is_decoded_by_the_transforms_up_to_its_loader() -> None:
    assert decoded(part(DAY), 0) is DAY


@pytest.mark.parametrize(
    ("scaled", "loaded"),
    [
        (DAY / 255, DAY),
        (DAY / 127.5 - 1, DAY),
        ((DAY - 103.5) / 57.4, DAY),
        (DAY.astype(np.float32) - 123.7, DAY),
        (DAY.astype(np.float32) * 257, DAY),
        (np.full((4, 4, 3), np.nan), DAY),
        (NIGHT / 255, NIGHT / 255),
    ],
    ids=["0..1", "-1..1", "normalised", "mean subtracted", "16 bits", "nan", "loaded as 0..1"],
)
def test_numbers_that_are_no_colours_are_refused(scaled: np.ndarray, loaded: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"the pipeline yields floats from .*expected colours of 0..255.*normalises"):
        as_carried(scaled.astype(np.float32), {}, part(loaded), 0)


def test_a_normalize_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="Normalize"):
        as_carried(DAY, {"img_norm_cfg": {}}, part(DAY), 0)


@pytest.mark.parametrize("image", [DAY[..., 0], np.zeros((4, 4, 4), np.uint8), DAY.astype(np.uint16)])
def test_pictures_without_three_channels_of_bytes_are_refused(image: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"the pipeline yields images .*color_type='color'"):
        as_carried(image, {}, part(image), 0)


def test_dark_and_distorted_pictures_are_rounded_and_cut() -> None:
    night = NIGHT.astype(np.float32) * 0.75
    assert as_carried(night, {}, part(NIGHT), 0).tolist() == np.rint(night).tolist()
    below = night - 20
    assert not as_carried(below, {}, part(NIGHT), 0).any()
    odd = np.array([[[0.5, 1.5, 254.5], [254.51, 300, -3]]], np.float32)
    assert as_carried(odd, {}, part(DAY), 0).tolist() == [[[0, 2, 254], [255, 255, 0]]]
    assert as_carried(DAY, {}, part(DAY), 0) is DAY

"""The feature pyramid: sizes, upsampling rule, extra level."""

import numpy as np
import pytest

from trainer.device import jt, var
from trainer.models.layers import upsample_nearest
from trainer.models.necks.fpn import FPN


def test_all_levels_have_the_same_channels_and_the_extra_one_takes_every_second_pixel() -> None:
    neck = FPN([4, 8, 16, 32], 6, 5)
    inputs = [jt.rand(2, 4 * 2**i, 16 // 2**i, 24 // 2**i) for i in range(4)]
    outputs = [output.numpy() for output in neck(inputs)]
    assert [output.shape for output in outputs] == [
        (2, 6, 16, 24),
        (2, 6, 8, 12),
        (2, 6, 4, 6),
        (2, 6, 2, 3),
        (2, 6, 1, 2),
    ]
    np.testing.assert_array_equal(outputs[4], outputs[3][:, :, ::2, ::2])


@pytest.mark.parametrize(("coarse", "fine"), [((2, 3), (4, 6)), ((3, 2), (5, 3)), ((4, 5), (7, 10))])
def test_upsampling_takes_the_pixel_that_torch_takes(coarse: tuple, fine: tuple) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *coarse)).astype(np.float32)
    rows, columns = (np.floor(np.arange(f) * np.float32(c / f)).astype(int) for f, c in zip(fine, coarse, strict=True))
    result = upsample_nearest(var(x), *fine).numpy()
    np.testing.assert_array_equal(result, x[:, :, rows][:, :, :, columns])

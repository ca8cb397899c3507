"""Anchors: sizes, order and places."""

import numpy as np

from trainer.device import var
from trainer.models.boxes.anchors import AnchorGenerator


def test_one_square_per_cell_stands_on_the_cells_corner() -> None:
    generator = AnchorGenerator(scales=[8], ratios=[1.0], strides=[4, 8, 16, 32, 64])
    for base, half in zip(generator.base_anchors, (16, 32, 64, 128, 256), strict=True):
        np.testing.assert_array_equal(base, [[-half, -half, half, half]])
    grid = generator([(3, 2), (2, 1), (1, 1), (1, 1), (1, 1)], var([[12, 8]], "float32"))[0].numpy()
    assert grid.shape == (6 + 2 + 3, 4)
    np.testing.assert_array_equal(grid[1], [4 - 16, -16, 4 + 16, 16])
    np.testing.assert_array_equal(grid[2], [-16, 4 - 16, 16, 4 + 16])
    np.testing.assert_array_equal(grid[7], [-32, 8 - 32, 32, 8 + 32])


def test_cells_need_no_whole_number_of_pixels() -> None:
    generator = AnchorGenerator(scales=[4], ratios=[1.0], strides=[3.5, 7])
    grid = generator([(2, 3), (1, 1)], var([[12, 8]], "float32"))[0].numpy()
    np.testing.assert_array_equal(grid[5], [7 - 7, 3.5 - 7, 7 + 7, 3.5 + 7])
    np.testing.assert_array_equal(grid[6], [-14, -14, 14, 14])


def test_several_anchors_of_a_cell_are_ordered_by_ratio_then_scale() -> None:
    generator = AnchorGenerator(scales=[2, 4, 8, 16, 32], ratios=[0.5, 1.0, 2.0], strides=[16])
    assert generator.anchors_per_cell == 15
    np.testing.assert_allclose(generator.base_anchors[0][0], [-22.6274, -11.3137, 22.6274, 11.3137], atol=1e-4)
    sizes = generator.base_anchors[0][:, 2:] - generator.base_anchors[0][:, :2]
    np.testing.assert_allclose(sizes[:, 1] / sizes[:, 0], np.repeat([0.5, 1, 2], 5), rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(sizes.prod(1)) / 16, np.tile([2, 4, 8, 16, 32], 3), rtol=1e-6)


def test_anchors_that_touch_or_leave_the_content_are_not_inside() -> None:
    generator = AnchorGenerator(scales=[1], ratios=[1.0], strides=[8])
    _, inside = generator([(4, 4)], var([[32, 32], [28, 20]], "float32"))
    expected = np.zeros((2, 4, 4), bool)
    expected[0, 1:, 1:] = True  # the first row and column of squares have corners at -4
    expected[1, 1:3, 1:2] = True  # 24 + 4 is not below 28
    np.testing.assert_array_equal(inside.numpy(), expected.reshape(2, 16))

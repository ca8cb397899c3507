"""Positions between those of a grid, by known numbers of the bicubic kernel; `test_clip_vit` compares torch's."""

import numpy as np

from trainer.device import jt, var
from trainer.models.backbones.positions import bicubic, resized


def test_a_map_of_the_grids_size_has_the_grids_positions_and_passes_their_gradient_on() -> None:
    positions = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    x = var(positions)
    map_of_them = resized(x, 3, 3)
    np.testing.assert_array_equal(map_of_them.numpy(), positions.reshape(3, 3, 2))
    weights = np.arange(18, dtype=np.float32).reshape(3, 3, 2)
    np.testing.assert_array_equal(jt.grad((map_of_them * var(weights)).sum(), x).numpy(), weights.reshape(9, 2))


def test_twice_as_many_places_have_the_kernels_numbers_a_quarter_beside_each() -> None:
    matrix = bicubic(12, 6)
    near = [-0.03515625, 0.26171875, 0.87890625, -0.10546875]  # of a kernel with -0.75, at 1.75, 0.75, 0.25, 1.25
    np.testing.assert_array_equal(matrix[4], [*near, 0, 0])
    np.testing.assert_array_equal(matrix[5], [0, *near[::-1], 0])
    np.testing.assert_array_equal(matrix[0, :3], [near[0] + near[1] + near[2], near[3], 0])  # the border stands again


def test_rows_and_columns_are_not_mixed_up() -> None:
    rows, columns = np.divmod(np.arange(16), 4)
    found = resized(var(np.stack([rows, columns, np.ones(16)], 1), "float32"), 7, 3).numpy()
    np.testing.assert_allclose(found[..., 2], 1, rtol=1e-6)
    for axis, length in enumerate((7, 3)):
        expected = bicubic(length, 4) @ np.arange(4)
        np.testing.assert_allclose(found[..., axis], np.expand_dims(expected, 1 - axis).repeat(10 - length, 1 - axis))

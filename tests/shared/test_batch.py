"""The arrays of a batch, made by hand."""

from __future__ import annotations

import numpy as np

from shared.batch import blank_arrays, layout_of


def test_a_blank_batch_has_the_arrays_of_its_layout() -> None:
    for proposals in (0, 12):
        arrays = blank_arrays(2, 64, 96, 16, proposals)
        fields = layout_of(2, 64, 96, 16, proposals).fields
        assert [(name, array.dtype.name, array.shape) for name, array in arrays.items()] == [
            (field.name, field.dtype, field.shape) for field in fields
        ]


def test_a_blank_batch_is_not_resized_and_holds_nothing() -> None:
    arrays = blank_arrays(2, 64, 96)
    for name in ("image_shapes", "original_shapes"):
        np.testing.assert_array_equal(arrays.pop(name), [[64, 96]] * 2)
    assert (arrays.pop("scale_factors") == 1).all()
    assert not any(array.any() for array in arrays.values())

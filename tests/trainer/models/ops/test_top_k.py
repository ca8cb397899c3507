"""Top-k against numpy's stable sort."""

import numpy as np
import pytest

from trainer.device import var
from trainer.models.ops.top_k import top_k, top_k_of_levels


@pytest.mark.parametrize("count", [1, 7, 50])
def test_equal_values_come_by_ascending_index(count: int) -> None:
    values = np.random.default_rng(0).integers(-3, 3, (4, 50)).astype(np.float32)
    expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(top_k(var(values), count).numpy(), expected)


def test_negative_and_infinite_values_are_in_order() -> None:
    values = np.array([[-1.5, np.inf, 0.25, -np.inf, 1e-30, -1e-30], [5, 4, 3, 2, 1, 0]], np.float32)
    np.testing.assert_array_equal(top_k(var(values), 6).numpy(), [[1, 2, 4, 5, 0, 3], [0, 1, 2, 3, 4, 5]])


def test_only_levels_with_more_values_than_asked_for_are_sorted() -> None:
    values = np.random.default_rng(0).integers(0, 5, (3, 40)).astype(np.float32)
    levels = [np.argsort(-part, axis=1, kind="stable")[:, :7] for part in (values[:, :25], values[:, 30:])]
    middle = np.broadcast_to(np.arange(25, 30), (3, 5))
    expected = np.concatenate([levels[0], middle, levels[1] + 30], 1)
    np.testing.assert_array_equal(top_k_of_levels(var(values), [25, 5, 10], 7).numpy(), expected)

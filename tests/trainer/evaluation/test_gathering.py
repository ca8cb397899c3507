"""What several ranks have predicted, in the order of one."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.gathering import Batches, gathered
from trainer.process.ranks import ALONE, Ranks


class Played(Ranks):
    """Rank `rank` of several, whose sayings are in `said`; what the other ranks say has to be there before rank 0
    asks."""

    def __init__(self, rank: int, said: list[bytes]) -> None:
        self.rank, self.size, self._said = rank, len(said), said

    def gather(self, data: bytes) -> list[bytes]:
        self._said[self.rank] = data
        return list(self._said) if self.first else []


def batch(number: int, shift: float) -> dict[str, np.ndarray]:
    """Of two images, the first with `number` detections, the second with none."""
    return {
        "image_ids": np.array([2 * number, 2 * number + 1], np.int64),
        "counts": np.array([number, 0], np.int32),
        "scores": np.full(number, shift + number, np.float32),
    }


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_batches_of_all_ranks_are_in_the_order_of_one_rank(size: int, count: int) -> None:
    whole = {name: [batch(number, shift) for number in range(count)] for name, shift in (("a", 0.0), ("b", 0.5))}
    said = [b""] * size
    for rank in reversed(range(size)):
        own = {name: batches[rank::size] for name, batches in whole.items()}
        found = gathered(Played(rank, said), own)
        assert found == {"a": [], "b": []} or rank == 0
    assert found.keys() == whole.keys()
    for name, batches in whole.items():
        assert_equal(found[name], batches)


def assert_equal(found: Batches, expected: Batches) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, array in other.items():
            assert one[name].dtype == array.dtype and np.array_equal(one[name], array)


def test_one_rank_alone_has_its_own() -> None:
    own = {"a": [batch(1, 0.0)]}
    assert gathered(ALONE, own) is own

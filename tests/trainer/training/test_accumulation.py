"""Which batches make an update together."""

import pytest

from trainer.training.accumulation import WHOLE, Accumulation


@pytest.mark.parametrize(
    ("counts", "total", "shares"),
    [
        (1, 3, "1/1 1/1 1/1"),
        (3, 8, "1/3 2/3 3/3 1/3 2/3 3/3 1/2 2/2"),
        (3, 6, "1/3 2/3 3/3 1/3 2/3 3/3"),
        (4, 5, "1/4 2/4 3/4 4/4 1/1"),
        (5, 2, "1/2 2/2"),
    ],
)
def test_groups_are_mmengines_and_the_last_has_what_is_left(counts: int, total: int, shares: str) -> None:
    accumulation = Accumulation(counts, total)
    found = [accumulation.share(step) for step in range(total)]
    assert " ".join(f"{share.number}/{share.batches}" for share in found) == shares
    assert [share.completes for share in found] == [(k + 1) % counts == 0 or k + 1 == total for k in range(total)]


def test_gradients_wait_between_the_batches_of_a_group_alone() -> None:
    accumulation = Accumulation(3, 8)
    assert [accumulation.waiting(step) for step in range(9)] == [
        None, (1, 3), (2, 3), None, (1, 3), (2, 3), None, (1, 2), None,
    ]  # fmt: skip
    assert all(Accumulation(1, 4).share(step) == WHOLE for step in range(4))

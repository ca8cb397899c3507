"""What annotations of constructors accept."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.models import values
from trainer.models.values import accepted

WRONG = [None, True, "1", [1], {}, float("nan"), 1.5, -1, 0, 2]


@pytest.mark.parametrize(
    ("annotation", "right"),
    [
        (bool, [True]),
        (int, [-1, 0, 2]),
        (float, [1.5, -1, 0, 2]),
        (float | None, [None, 1.5, -1, 0, 2]),
        (str, ["1"]),
        (dict, [{}]),
        (list[dict], [[1]]),
        (values.Count, [2]),
        (values.EvenCount, [2]),
        (values.Positive, [1.5, 2]),
        (values.Amount, [1.5, 0, 2]),
        (values.Amount | None, [None, 1.5, 0, 2]),
        (values.Share, [0]),
        (values.Counts, [[1]]),
    ],
)
def test_a_plain_kind_or_a_range_accepts_these_of_ten(annotation: Any, right: list[Any]) -> None:
    assert [repr(one) for one in WRONG if accepted(annotation).accepts(one)] == list(map(repr, right))


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (values.Counts, [(1, 2), [4]], [[], [0], [1.0], ["4"], "44", {4: 4}]),
        (values.Positives, [[0.5], (1, 2.0)], [[], [0], [None]]),
        (values.Three, [[0, -1, 2.5]], [[0, 1], [0, 1, 2, 3], [0, 1, None]]),
        (values.ThreePositives, [[1, 2, 2.5]], [[1, 2], [1, 2, 0]]),
        (values.Four, [(0.0, 0.0, 0.0, 0.0)], [[0.0] * 3, 0.0]),
        (values.FourPositives, [[0.1, 0.1, 0.2, 0.2]], [[0.1] * 5, [0.1, 0.1, 0.2, -0.2]]),
        (values.FourCounts, [(3, 4, 6, 3)], [[3, 4, 6], [3, 4, 6, 0]]),
        (values.Stages, [[0], (1, 3), (0, 1, 2, 3)], [[], [1, 0], [0, 0], [-1], [4], [None], 0]),
    ],
)
def test_a_list_has_a_length_and_a_kind_of_members(annotation: Any, right: list[Any], wrong: list[Any]) -> None:
    found = [one for one in (*right, *wrong) if accepted(annotation).accepts(one)]
    assert found == right


def test_any_other_annotation_says_nothing() -> None:
    assert accepted(Any) is None and accepted(str | int) is None

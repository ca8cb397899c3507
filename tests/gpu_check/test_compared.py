"""What is close enough, and what is not."""

import numpy as np
import pytest

from tests.gpu_check.compared import compare

CPU = {"norm/0/0": np.float32([1, -4]), "norm/1/0": np.float32([2]), "norm in half/0/0": np.float16([1, 2])}


@pytest.mark.parametrize(
    ("name", "numbers", "worst", "seed", "good"),
    [
        ("norm/0/0", np.float32([1, -4]), 0.0, 1, True),
        ("norm/0/0", np.float32([1.00002, -4]), 5e-6, 0, True),
        ("norm/0/0", np.float32([1.0002, -4]), 5e-5, 0, False),
        ("norm/1/0", np.float32([np.nan]), np.inf, 1, False),
        ("norm/1/0", np.float32([2, 2]), np.inf, 1, False),
        ("norm/2/0", np.float32([2]), np.inf, 2, False),
        ("norm in half/0/0", np.float16([1.001, 2]), 2.0**-11, 0, True),
        ("norm in half/0/0", np.float16([1.01, 2]), 5e-3, 0, False),
    ],
)
def test_the_worst_of_an_operators_differences_decides(
    name: str, numbers: np.ndarray, worst: float, seed: int, good: bool
) -> None:
    found = {one.operator: one for one in compare(CPU | {name: numbers}, CPU)}
    assert sorted(found) == ["norm", "norm in half"]
    one = found[name.split("/")[0]]
    assert one.worst == pytest.approx(worst, rel=0.03) and one.good == good
    assert one.worst == 0 or one.seed == seed


def test_numbers_that_are_none_on_both_sides_are_the_same() -> None:
    nothing = {"loss scale/0/0": np.float32([np.nan, np.inf])}
    assert [one.worst for one in compare(nothing, nothing)] == [0.0]

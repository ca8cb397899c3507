"""The checks of config sections: one line that names the place, the value and what is accepted."""

import pytest

from shared.errors import UserError
from shared.keys import check_keys, check_number, check_type


def test_an_unknown_key_names_the_nearest_and_all_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        check_keys("optim_wrapper.clip_grad", {"max_nrm": 35}, ("max_norm", "norm_type"))
    assert str(caught.value) == (
        "optim_wrapper.clip_grad: unknown key 'max_nrm' (did you mean 'max_norm'?); known: max_norm, norm_type"
    )


def test_a_missing_type_is_unknown() -> None:
    with pytest.raises(UserError, match="param_scheduler: unknown type None; known: LinearLR"):
        check_type("param_scheduler", None, ("LinearLR",))


@pytest.mark.parametrize("value", [True, "1", None, -0.5, 1.5, float("nan")])
def test_what_is_no_number_in_the_range_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="expected a number at least 0 and at most 1"):
        check_number("factor", value, 0, 1)


def test_the_lower_bound_itself_is_refused_with_above() -> None:
    assert check_number("factor", 0, 0) == 0
    with pytest.raises(UserError, match="factor=0: expected a number above 0"):
        check_number("factor", 0, 0, above=True)

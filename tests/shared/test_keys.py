"""The checks of config sections: one line that names the place, the value and what is accepted."""

import pytest

from shared.errors import UserError
from shared.keys import (
    COUNT,
    MIB,
    POSITIVE,
    SECONDS,
    SIZE,
    SWITCH,
    Values,
    check_keys,
    check_number,
    check_type,
    nearest,
    of_type,
    one_of,
)


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


@pytest.mark.parametrize(
    ("values", "accepted", "refused"),
    [
        (COUNT, [1, 2, 10**9], [0, -1, 1.0, True, "1", None]),
        (MIB, [1], [0, 0.5]),
        (SECONDS, [0, 0.0, 0.5, 1e9], [-1e-9, 1.1e9, float("nan"), True, "1", None]),
        (POSITIVE, [1, 1e-9, 1e300], [0, -1, float("inf"), float("nan"), True, "1"]),
        (SIZE, [(1, 1), [480, 640]], [(1,), (1, 2, 3), (0, 1), (1, 0), (1.0, 1), "11", 1, None]),
        (SWITCH, [True, False], [0, 1, None, "True"]),
        (one_of("a", "b"), ["a", "b"], ["c", "", None]),
        (of_type(dict, "a dict"), [{}], [[], None]),
        (COUNT.or_none(), [1, None], [0, False]),
    ],
)
def test_values_are_accepted_up_to_their_bounds_and_no_further(values: Values, accepted: list, refused: list) -> None:
    for value in accepted:
        values.check("here", value)
    for value in refused:
        with pytest.raises(
            UserError, match=rf"^here is .*; expected {values.words.replace('(', '.').replace(')', '.')}"
        ):
            values.check("here", value)


def test_a_refused_value_is_told_with_the_unit_of_what_is_expected() -> None:
    with pytest.raises(UserError, match=r"^feed\.worker_memory is 0; expected 1 or more \(MiB\)$"):
        MIB.check("feed.worker_memory", 0)
    with pytest.raises(UserError, match=r"^feed\.slots is 0; expected 1 or more, or None$"):
        COUNT.or_none().check("feed.slots", 0)
    with pytest.raises(UserError, match=r"^type is 'c'; expected 'a' or 'b'$"):
        one_of("a", "b").check("type", "c")


def test_numbers_are_accepted_up_to_both_bounds() -> None:
    assert [check_number("factor", value, 0, 1) for value in (0, 0.5, 1)] == [0, 0.5, 1]
    assert check_number("factor", 1e-9, 0, above=True) == 1e-9
    with pytest.raises(UserError, match=r"^factor=-1: expected a number at least 0$"):
        check_number("factor", -1, 0)


def test_a_type_that_is_known_comes_back_and_another_is_told_with_the_nearest() -> None:
    assert check_type("param_scheduler", "LinearLR", ("LinearLR",)) == "LinearLR"
    with pytest.raises(UserError, match=r"unknown type 'LinearRL' \(did you mean 'LinearLR'\?\); known: LinearLR"):
        check_type("param_scheduler", "LinearRL", ("LinearLR",))
    assert nearest("quite another", ("LinearLR",)) == ""


def test_where_nothing_is_known_that_is_said() -> None:
    with pytest.raises(UserError, match=r"^feed: unknown key 'x'; known: none$"):
        check_keys("feed", {"x": 1}, ())


def test_all_known_keys_pass() -> None:
    check_keys("optim_wrapper.clip_grad", {"max_norm": 35, "norm_type": 2}, ("max_norm", "norm_type"))

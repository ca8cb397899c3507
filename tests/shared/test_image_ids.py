"""Images keep the annotations' ids where these can travel and tell images apart; else all of a stream get places."""

import numpy as np
import pytest

from shared.image_ids import stream_ids


def test_integers_stay_what_they_are():
    assert stream_ids([7, 0, (1 << 63) - 1]).tolist() == [7, 0, (1 << 63) - 1]


@pytest.mark.parametrize("odd", ["8", "a", "007", -1, 1 << 63, 8.0, None, True, 7])
def test_one_id_that_is_none_gives_every_image_its_place(odd):
    assert stream_ids([7, odd, 3]).tolist() == [0, 1, 2]


def test_ids_must_differ_within_a_group_alone():
    assert stream_ids([3, 1], [3]).tolist() == [3, 1, 3]
    assert stream_ids([3, 1], [3, 3]).tolist() == [0, 1, 2, 3]
    assert stream_ids([3, "1"], [3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([7, 0, 3], [7, 0, 3]),
        ([7, -1, 3], [0, 1, 2]),
        ([7, 3, 7], [0, 1, 2]),
        ([], []),
    ],
)
def test_an_array_of_ids_is_judged_as_a_list_of_them(ids, found):
    assert stream_ids(np.array(ids, np.int64)).tolist() == stream_ids(ids).tolist() == found
    assert stream_ids(np.array(ids, np.int32)).dtype == np.int64
    assert stream_ids(np.array(ids, np.int64), [1]).tolist() == ([*found, 1] if found == ids else [0, 1, 2, 3])

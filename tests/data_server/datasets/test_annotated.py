"""What is annotated as arrays, and the fingerprint that two ways of reading one file must share."""

import numpy as np
import pytest

from data_server.datasets.annotated import KIND, Annotated, Fingerprint, of_records

RECORDS = [
    {
        "img_id": 7,
        "width": 30,
        "height": 20,
        "instances": [
            {"bbox": [1, 2, 3, 4], "bbox_label": 1, "ignore_flag": 0},
            {"bbox": [5, 6, 7, 8.5], "bbox_label": 0, "ignore_flag": 1},
        ],
    },
    {"img_id": "eight", "width": 10.5, "height": 40, "instances": []},
    {"img_id": 1 << 63, "instances": [{"bbox": [0, 0, 1, 1], "bbox_label": 2, "ignore_flag": 0}]},
]


def fingerprint(*groups, others=()):
    found = Fingerprint()
    for group in groups:
        found.update(of_records(group))
    return found.hexdigest(*others)


def changed(place, key, value, instance=None):
    records = [{**one, "instances": [dict(own) for own in one["instances"]]} for one in RECORDS]
    (records[place] if instance is None else records[place]["instances"][instance])[key] = value
    return records


def test_records_become_arrays_with_zeros_for_sizes_that_they_do_not_say():
    found = of_records(RECORDS)
    assert found.identities == [7, "eight", 1 << 63]
    assert found.sizes.tolist() == [[30, 20], [10.5, 40], [0, 0]]
    assert found.counts.tolist() == [2, 0, 1]
    assert found.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5], [0, 0, 1, 1]]
    assert found.labels == [1, 0, 2] and found.ignored == [0, 1, 0]


def test_boxes_of_another_kind_or_none_are_no_numbers_and_count_as_what_they_are():
    instances = [{"bbox_label": 3}, {"bbox": [1, 2, 3, 4, 0.5], "bbox_label": 4}]
    found = of_records([{"instances": instances}])
    assert np.isnan(found.boxes).all() and found.labels == [3, (4, [1, 2, 3, 4, 0.5])]
    other = [{"bbox_label": 3}, {"bbox": [1, 2, 3, 4, 0.6], "bbox_label": 4}]
    assert fingerprint([{"instances": instances}]) != fingerprint([{"instances": other}])


def test_no_records_are_empty_arrays():
    found = of_records([])
    assert found.sizes.shape == (0, 2) and found.boxes.shape == (0, 4) and found.counts.shape == (0,)


def test_a_fingerprint_is_the_same_however_many_images_come_at_a_time():
    whole = fingerprint(RECORDS)
    assert whole == fingerprint(RECORDS[:1], RECORDS[1:]) == fingerprint(*([one] for one in RECORDS))
    assert whole.startswith(f"{KIND}-") and len(whole) == 18


def test_arrays_have_the_fingerprint_of_the_records_that_say_the_same():
    records = RECORDS[:1]
    found = Fingerprint()
    found.update(
        Annotated(
            identities=np.array([7]),
            sizes=np.array([[30.0, 20.0]]),
            counts=np.array([2]),
            boxes=np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]]),
            labels=np.array([1, 0], np.int32),
            ignored=np.array([False, True]),
        )
    )
    assert found.hexdigest() == fingerprint(records)


@pytest.mark.parametrize(
    "other",
    [
        changed(0, "img_id", 8),
        changed(1, "img_id", "nine"),
        changed(1, "img_id", None),
        changed(2, "img_id", (1 << 63) + 1),
        changed(0, "width", 31),
        changed(2, "height", 1),
        changed(0, "bbox", [1, 2, 3, 5], 0),
        changed(0, "bbox_label", 2, 0),
        changed(0, "bbox_label", True, 0),
        changed(0, "ignore_flag", 1, 0),
        changed(0, "instances", RECORDS[0]["instances"][:1]),
        RECORDS[::-1],
        RECORDS[:2],
    ],
)
def test_whatever_changes_changes_the_fingerprint(other):
    assert fingerprint(other) != fingerprint(RECORDS)


def test_an_odd_value_counts_with_its_place():
    """Not only that there is one: the text says which image or box it is of."""
    first = [{"img_id": "a", "instances": []}, {"img_id": 5, "instances": []}, {"img_id": "b", "instances": []}]
    second = [{"img_id": "a", "instances": []}, {"img_id": "b", "instances": []}, {"img_id": 5, "instances": []}]
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(first) == fingerprint(first[:1], first[1:])


def test_what_is_beside_the_images_is_in_the_fingerprint_as_well():
    assert len({fingerprint(RECORDS, others=others) for others in ((), (b"a",), (b"b",), (b"a", b"b"))}) == 4


def test_the_same_boxes_in_other_images_are_another_fingerprint():
    box = {"bbox": [0, 0, 1, 1], "bbox_label": 0, "ignore_flag": 0}
    together = [{"img_id": 1, "instances": [box, box]}, {"img_id": 2, "instances": []}]
    apart = [{"img_id": 1, "instances": [box]}, {"img_id": 2, "instances": [box]}]
    assert fingerprint(together) != fingerprint(apart)


def test_an_odd_label_counts_with_its_place_among_all_boxes():
    boxes = [{"bbox": [0, 0, 1, 1], "bbox_label": label, "ignore_flag": 0} for label in ("a", 1, "b")]
    records = [{"img_id": 1, "instances": boxes[:2]}, {"img_id": 2, "instances": boxes[2:]}]
    assert fingerprint(records) == fingerprint(records[:1], records[1:])


@pytest.mark.parametrize("identity", [-(1 << 63) - 1, -(1 << 63), 1 << 63, 1 << 70])
def test_a_number_that_no_array_holds_is_kept_as_text(identity):
    found = {fingerprint([{"img_id": one, "instances": []}]) for one in (identity, identity - 1, "a", 0)}
    assert len(found) == 4


@pytest.mark.parametrize("identity", [-(1 << 63) + 1, -1, 0, (1 << 63) - 1])
def test_numbers_up_to_both_ends_have_the_fingerprint_that_an_array_of_them_has(identity):
    found = Fingerprint()
    none = np.zeros(0, np.int64)
    found.update(Annotated(np.array([identity]), np.zeros((1, 2)), np.zeros(1, np.int64), np.zeros((0, 4)), none, none))
    assert found.hexdigest() == fingerprint([{"img_id": identity, "instances": []}])

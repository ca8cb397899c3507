"""A category's count is found by name, or by id where there are no names; or the file is refused in one line."""

import json

import pytest

from shared import category_counts
from shared.errors import UserError

CUP, LAMP = {"id": 9, "name": "cup", "image_count": 4}, {"id": 2, "name": "lamp", "image_count": 0}


def counts(tmp_path, content, names):
    (tmp_path / "a.json").write_text(json.dumps(content))
    return category_counts.by_name(str(tmp_path / "a.json"), "image_count", names)


def test_values_are_in_the_order_of_the_classes(tmp_path):
    assert counts(tmp_path, [CUP, LAMP], ["lamp", "cup"]) == [0, 4]
    assert counts(tmp_path, [CUP, LAMP], ["cup", "lamp"]) == [4, 0]


def test_a_byte_order_mark_before_them_is_none_of_their_business(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([CUP, LAMP]), encoding="utf-8-sig")
    assert category_counts.by_name(str(tmp_path / "a.json"), "image_count", ["lamp", "cup"]) == [0, 4]


def test_without_names_they_are_in_the_order_of_ascending_ids_as_in_the_pytorch_release(tmp_path):
    assert counts(tmp_path, [CUP, LAMP], None) == [0, 4]
    assert counts(tmp_path, [{"id": 9, "image_count": 4}, {"id": 2, "image_count": 0}], ["lamp", "cup"]) == [0, 4]


def test_two_categories_of_one_name_are_told_apart_by_their_places_alone(tmp_path):
    assert counts(tmp_path, [CUP, LAMP, {**CUP, "image_count": 7}], ["cup", "lamp", "cup"]) == [4, 0, 7]
    with pytest.raises(UserError, match="several categories of one name in another order than the classes"):
        counts(tmp_path, [CUP, LAMP, {**CUP, "image_count": 7}], ["lamp", "cup", "cup"])


def test_another_vocabulary_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"a\.json has no category 'shoe', which is a class; .* category-info"):
        counts(tmp_path, [CUP, LAMP], ["cup", "shoe"])


@pytest.mark.parametrize(
    "content", [None, "no json", "7", "[7]", json.dumps([CUP, {"id": 2}]), json.dumps([{"name": 1}])]
)
def test_a_file_of_something_else_is_refused_with_what_writes_one(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError) as caught:
        category_counts.by_name(str(tmp_path / "a.json"), "name", None, "head.cat_freq_path")
    text = str(caught.value)
    assert text.startswith(
        f"head.cat_freq_path: '{tmp_path}/a.json' should be a JSON list of categories with 'id' and 'name'"
    )
    assert text.endswith("python -m data_server category-info writes one") and "\n" not in text


@pytest.mark.parametrize("count", [-1, 1.5, "2", True, None, 2**63])
def test_a_count_that_is_none_is_refused(tmp_path, count):
    with pytest.raises(UserError, match="should be a JSON list of categories with 'id' and 'image_count'"):
        counts(tmp_path, [CUP, {**LAMP, "image_count": count}], ["cup", "lamp"])


def test_a_class_without_an_image_counts_none(tmp_path):
    assert counts(tmp_path, [{**CUP, "image_count": 0}, LAMP], ["cup", "lamp"])[0] == 0


def test_names_can_be_asked_for_as_well_in_the_order_of_ids(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"id": 2, "name": "b"}, {"id": 1, "name": "a"}]))
    assert category_counts.by_name(str(tmp_path / "a.json"), "name", None) == ["a", "b"]

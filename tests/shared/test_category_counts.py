"""The file of category counts is read by ascending id, or refused in one line."""

import json

import pytest

from shared import category_counts
from shared.errors import UserError

CUP, LAMP = {"id": 9, "name": "cup", "image_count": 4}, {"id": 2, "name": "lamp", "image_count": 0}


def test_values_are_in_the_order_of_the_ids(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([CUP, LAMP]))
    assert category_counts.by_id(str(tmp_path / "a.json"), "name") == ["lamp", "cup"]
    assert category_counts.by_id(str(tmp_path / "a.json"), "image_count") == [0, 4]


@pytest.mark.parametrize(
    "content", [None, "no json", "7", "[7]", json.dumps([CUP, {"id": 2}]), json.dumps([{"name": 1}])]
)
def test_a_file_of_something_else_is_refused_with_what_writes_one(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError) as caught:
        category_counts.by_id(str(tmp_path / "a.json"), "name", "head.cat_freq_path")
    text = str(caught.value)
    assert text.startswith(
        f"head.cat_freq_path: '{tmp_path}/a.json' should be a JSON list of categories with 'id' and 'name'"
    )
    assert text.endswith("python -m data_server category-info writes one") and "\n" not in text

"""Vocabulary files: what is read from them, and that wrong ones are refused with the file's name."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared.embeddings import names_file, write_names
from shared.errors import UserError
from trainer.models.roi_heads.bbox_heads.vocabulary import load_vocabulary

CATEGORIES = [{"id": 7, "image_count": 0}, {"id": 2, "image_count": 5}, {"id": 4, "image_count": 1}]


def write(folder: Path, table: np.ndarray, categories: object = CATEGORIES) -> tuple[str, str]:
    np.save(folder / "text.npy", table)
    (folder / "counts.json").write_text(json.dumps(categories))
    return str(folder / "text.npy"), str(folder / "counts.json")


def test_half_precision_rows_and_counts_without_names_are_read_by_ascending_id(tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.float16).reshape(3, 2)
    vocabulary = load_vocabulary(*write(tmp_path, table), "head")
    assert vocabulary.embeddings.dtype == np.float32
    np.testing.assert_array_equal(vocabulary.embeddings, table)
    np.testing.assert_array_equal(vocabulary.drawable, [1, 1, 0])


def test_counts_are_found_by_name_where_the_names_of_the_rows_are_known(tmp_path: Path) -> None:
    categories = [{**one, "name": name} for one, name in zip(CATEGORIES, ["dog", "bus", "cat"], strict=True)]
    _, counts = write(tmp_path, np.ones((3, 2)), categories)
    vocabulary = load_vocabulary(named(tmp_path, ["cat", "dog", "bus"]), counts, "head")
    np.testing.assert_array_equal(vocabulary.drawable, [1, 0, 1])
    with pytest.raises(UserError, match=r"head\.cat_freq_path: .*counts\.json has no category 'owl', which is a class"):
        load_vocabulary(named(tmp_path, ["cat", "owl", "bus"]), counts, "head")


def test_without_counts_every_class_may_be_drawn(tmp_path: Path) -> None:
    path, _ = write(tmp_path, np.ones((3, 2), np.float32))
    assert load_vocabulary(path, None, "head").drawable.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "table", [np.ones(3, np.float32), np.ones((3, 2), np.int32), np.full((3, 2), np.nan, np.float32)]
)
def test_a_table_of_anything_but_finite_rows_is_refused(table: np.ndarray, tmp_path: Path) -> None:
    path, _ = write(tmp_path, table)
    with pytest.raises(UserError, match=r"head\.zeroshot_path: .*text\.npy should hold one row of finite floats"):
        load_vocabulary(path, None, "head")


def test_a_missing_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"head\.zeroshot_path: cannot read .*none\.npy"):
        load_vocabulary(str(tmp_path / "none.npy"), None, "head")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"head\.zeroshot_path: cannot read .*objects\.npy"):
        load_vocabulary(str(tmp_path / "objects.npy"), None, "head")


@pytest.mark.parametrize("categories", [{"a": 1}, [{"id": 1}], [1, 2, 3]])
def test_counts_of_another_form_are_refused(categories: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"head\.cat_freq_path: .*counts\.json.*'id' and 'image_count'"):
        load_vocabulary(*write(tmp_path, np.ones((3, 2), np.float32), categories), "head")


def test_counts_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, np.ones((4, 2), np.float32))
    with pytest.raises(UserError, match=r"counts\.json has 3 categories, .*text\.npy has 4 rows"):
        load_vocabulary(*paths, "head")


def named(folder: Path, names: list[str], table: np.ndarray | None = None) -> str:
    path = folder / "named.npy"
    np.save(path, np.eye(len(names), 4, dtype=np.float32) + 1 if table is None else table)
    write_names(path, names)
    return str(path)


def test_names_beside_the_rows_are_compared_with_the_classes_of_a_data_set(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(named(tmp_path, ["cat", "dog", "Bus "]), None, "head")
    assert vocabulary.names == ["cat", "dog", "Bus "]
    vocabulary.check(["cat", "dog", "Bus "], "data set 0")
    with pytest.raises(
        UserError, match=r"named\.npy does not fit data set 0; row 2 is for 'Bus ', class 2 is 'bus'; give"
    ):
        vocabulary.check(["cat", "dog", "bus"], "data set 0")


def test_the_same_names_in_another_order_are_refused_with_the_rule_that_was_broken(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(named(tmp_path, ["cat", "dog", "bus"]), None, "head")
    with pytest.raises(UserError, match=r"row 1 is for 'dog', class 1 is 'bus'; .* puts rows into that order"):
        vocabulary.check(["cat", "bus", "dog"], "data set 0")


def test_more_rows_than_classes_or_fewer_are_refused_by_the_first_that_is_left_over(tmp_path: Path) -> None:
    vocabulary = load_vocabulary(named(tmp_path, ["cat", "dog", "bus"]), None, "head")
    with pytest.raises(UserError, match=r"has 3 rows, data set 1 has 2 classes; row 2 \('bus'\) has no counterpart"):
        vocabulary.check(["cat", "dog"], "data set 1")
    with pytest.raises(UserError, match=r"has 3 rows, data set 1 has 4 classes; class 3 \('owl'\) has no counterpart"):
        vocabulary.check(["cat", "dog", "bus", "owl"], "data set 1")
    nameless = load_vocabulary(write(tmp_path, np.ones((3, 2), np.float32))[0], None, "head")
    nameless.check(["a", "b", "c"], "data set 1")
    with pytest.raises(UserError, match=r"text\.npy has 3 rows, data set 1 has 2 classes; the vocabulary"):
        nameless.check(["a", "b"], "data set 1")


def test_two_rows_of_one_name_must_agree_as_those_of_openimages_do(tmp_path: Path) -> None:
    names = ["Bench", "cat", "Bench"]
    twice = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    assert load_vocabulary(named(tmp_path, names, twice), None, "head").names == names
    with pytest.raises(UserError, match=r"named\.names\.json: rows 0 and 2 are both for 'Bench' and differ"):
        load_vocabulary(named(tmp_path, names), None, "head")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", " ", "dog"], "the name of row 1 .counted from 0. is empty"),
        (["cat", "dog"], "has 2 names, .* has 3 rows"),
        ({"cat": 1}, "expected a JSON list of class names"),
        ([1, 2, 3], "expected a JSON list of class names"),
    ],
)
def test_a_file_of_names_that_does_not_fit_is_refused(tmp_path: Path, names: object, message: str) -> None:
    path = named(tmp_path, ["a", "b", "c"])
    names_file(path).write_text(json.dumps(names))
    with pytest.raises(UserError, match=rf"named\.names\.json.*{message}"):
        load_vocabulary(path, None, "head")
    names_file(path).write_text("no json")
    with pytest.raises(UserError, match="expected a JSON list of class names"):
        load_vocabulary(path, None, "head")

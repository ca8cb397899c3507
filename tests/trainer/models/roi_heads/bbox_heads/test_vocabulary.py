"""Vocabulary files: what is read from them, and that wrong ones are refused with the file's name."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from trainer.models.roi_heads.bbox_heads.vocabulary import load_vocabulary

CATEGORIES = [{"id": 7, "image_count": 0}, {"id": 2, "image_count": 5}, {"id": 4, "image_count": 1}]


def write(folder: Path, table: np.ndarray, categories: object = CATEGORIES) -> tuple[str, str]:
    np.save(folder / "text.npy", table)
    (folder / "counts.json").write_text(json.dumps(categories))
    return str(folder / "text.npy"), str(folder / "counts.json")


def test_half_precision_rows_and_counts_in_any_order_are_read_by_ascending_id(tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.float16).reshape(3, 2)
    vocabulary = load_vocabulary(*write(tmp_path, table), "head")
    assert vocabulary.embeddings.dtype == np.float32
    np.testing.assert_array_equal(vocabulary.embeddings, table)
    np.testing.assert_array_equal(vocabulary.drawable, [1, 1, 0])


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

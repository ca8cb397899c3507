"""The calibration file: what it holds, what is refused; class weights from counts, with classes never detected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from trainer.vocabulary.calibration import Calibration, check_names, digest, load, save, weights

EMBEDDINGS = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
MADE = Calibration(["ant", "bee", "cat"], digest(EMBEDDINGS), 0.6, [100, 10, 1], 7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(tmp_path / "folder" / "calibration.json", MADE)
    return tmp_path / "folder" / "calibration.json"


def test_a_calibration_comes_back_as_it_was_saved(file: Path) -> None:
    assert load(str(file), EMBEDDINGS, "here") == MADE
    assert [path.name for path in file.parent.iterdir()] == ["calibration.json"]


def test_embeddings_stored_as_half_floats_have_the_digest_of_their_values() -> None:
    halves = EMBEDDINGS.astype(np.float16)
    assert digest(halves) == digest(halves.astype(np.float32)) != digest(EMBEDDINGS)


def test_another_order_of_the_same_embeddings_is_another_vocabulary(file: Path) -> None:
    with pytest.raises(UserError, match=r"here: .*calibration\.json was made for another vocabulary: 3 names"):
        load(str(file), EMBEDDINGS[::-1], "here")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "something else 1"}, "its format is not"),
        ({"counts": [1, 2]}, "one count, 0 or more, for each name"),
        ({"counts": [1, 2, -1]}, "one count, 0 or more, for each name"),
        ({"counts": [1, 2, 0.5]}, "one count, 0 or more, for each name"),
        ({"gamma": "strong"}, "its gamma is 'strong'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_by_its_key(file: Path, changes: dict, says: str) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=f"here: .*is no calibration .*{says}.*trainer calibrate .* writes one"):
        load(str(file), EMBEDDINGS, "here")


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_a_file_that_is_no_json_object_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(UserError, match="is no calibration"):
        load(str(file), EMBEDDINGS, "here")


def test_a_missing_file_is_named_together_with_what_makes_one() -> None:
    with pytest.raises(UserError, match=r"here: cannot read '/nowhere/c\.json': No such file.*trainer calibrate"):
        load("/nowhere/c.json", EMBEDDINGS, "here")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["ant", "cow", "cat"], "class 1 is 'bee', the data set's is 'cow'"),
        (["bee", "ant", "cat"], "class 0 is 'ant', the data set's is 'bee'"),
        (["ant", "bee"], "has 3 classes, the data set 2"),
    ],
)
def test_names_in_another_order_than_the_data_set_s_are_refused(names: list[str], says: str) -> None:
    check_names(MADE, ["ant", "bee", "cat"], "here")
    with pytest.raises(UserError, match=f"here: the calibration.*{says}"):
        check_names(MADE, names, "here")


def test_weights_average_to_one_and_fall_with_the_count() -> None:
    found = weights(np.array([1000.0, 3.0, 40.0, 1.0]), 0.6, 1.0)
    assert found.mean() == pytest.approx(1, rel=1e-6)
    assert (np.argsort(found) == [0, 2, 1, 3]).all()


def test_a_class_never_detected_counts_as_detected_least_count_times() -> None:
    np.testing.assert_array_equal(weights(np.array([9.0, 0]), 0.6, 1.0), weights(np.array([9.0, 1]), 0.6, 0.0))
    np.testing.assert_array_equal(weights(np.array([9.0, 0]), 0.6, 4.0), weights(np.array([9.0, 4]), 0.6, 0.0))


def test_by_the_original_s_formula_a_class_never_detected_leaves_no_score() -> None:
    np.testing.assert_array_equal(weights(np.array([9.0, 0]), 0.6, 0.0), [0, 0])

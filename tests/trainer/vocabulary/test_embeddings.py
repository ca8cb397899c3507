"""Vocabularies in files: which rows are chosen for which names, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from shared.embeddings import names_file
from shared.errors import UserError
from trainer.vocabulary import embeddings as vocabulary
from trainer.vocabulary.embeddings import NamedEmbeddings, choose, fitted, load, names_of, of_config, tables_of_config

GENUINE = Path(os.environ.get("DATA_DIR", Path(__file__).parents[4] / "shared" / "data")) / "text_embeddings"


def write(folder: Path, stem: str, names: list[str], seed: int = 0, length: int = 4) -> tuple[Path, np.ndarray]:
    """An ``.npy`` file of random rows with its names beside it."""
    rows = np.random.default_rng(seed).standard_normal((len(names), length)).astype(np.float16)
    np.save(folder / f"{stem}.npy", rows)
    names_file(folder / f"{stem}.npy").write_text(json.dumps(names))
    return folder / f"{stem}.npy", rows.astype(np.float32)


def test_names_lie_beside_the_rows(tmp_path: Path) -> None:
    assert names_file("a/lvis_v0.5_rn50.npy") == Path("a/lvis_v0.5_rn50.names.json")
    path, rows = write(tmp_path, "mine", ["cat", "Red  star"])
    found = load(path)
    assert found.names == ["cat", "Red  star"]
    np.testing.assert_array_equal(found.embeddings, rows)
    assert found.embeddings.dtype == np.float32


def test_single_names_get_their_rows_whatever_their_case_and_blanks(tmp_path: Path) -> None:
    path, rows = write(tmp_path, "mine", ["cat", "Red  star", "Cigarette "])
    found = choose(["red STAR", "cigarette", "CAT"], [path])
    assert found.names == ["red STAR", "cigarette", "CAT"]
    np.testing.assert_array_equal(found.embeddings, rows[[1, 2, 0]])


def test_the_first_file_that_has_a_name_provides_its_row(tmp_path: Path) -> None:
    first, rows = write(tmp_path, "first", ["cat", "dog"], seed=1)
    second, more = write(tmp_path, "second", ["dog", "cow"], seed=2)
    found = choose(["dog", "cow"], [first, second])
    np.testing.assert_array_equal(found.embeddings, [rows[1], more[1]])


def test_files_and_names_are_mixed_in_the_order_given_and_each_name_counts_once(tmp_path: Path) -> None:
    first, rows = write(tmp_path, "first", ["cat", "dog"], seed=1)
    second, more = write(tmp_path, "second", ["Dog", "cow"], seed=2)
    third, most = write(tmp_path, "third", ["star"], seed=3)
    found = choose([str(first), "star", second], [third])
    assert found.names == ["cat", "dog", "star", "cow"]
    np.testing.assert_array_equal(found.embeddings, [rows[0], rows[1], most[0], more[1]])


def test_a_name_without_a_row_is_told_with_the_nearest_and_how_to_make_one(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["traffic_light", "cat"])
    with pytest.raises(UserError) as error:
        choose(["cat", "traffic light", "quixotry"], [path])
    for part in (
        "'traffic light' (did you mean 'traffic_light'?)",
        "'quixotry'",
        str(path),
        "data_server embed --names-file",
    ):
        assert part in str(error.value)
    assert "'cat'" not in str(error.value)


def test_names_with_commas_between_are_told_apart(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["cat", "red star", "bow, arrow"])
    with pytest.raises(
        UserError, match=r"'cat,Red star', but of the names in it; give them one by one: cat 'Red star'$"
    ):
        choose(["cat,Red star"], [path])
    with pytest.raises(UserError, match="to make one"):
        choose(["cat,quixotry"], [path])
    assert choose(["bow, arrow"], [path]).names == ["bow, arrow"]


def test_names_of_windows_have_a_mark_in_front_that_is_no_part_of_them(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["kočka", "cat"])
    names_file(path).write_text(json.dumps(["kočka", "cat"], ensure_ascii=False), encoding="utf-8-sig")
    assert names_of(path) == ["kočka", "cat"]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["cat"], "no text embeddings in which 'cat' could be looked up"),
        ([], "it is empty"),
        (["none.npy"], "cannot read 'none.npy'"),
    ],
)
def test_a_vocabulary_from_nothing_is_refused(items: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        choose(items)


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["cat"])
    with pytest.raises(UserError, match="an empty name"):
        choose(["  "], [path])
    path, _ = write(tmp_path, "blank", ["cat", " "])
    with pytest.raises(UserError, match=r"blank\.names\.json': the name of row 1 .* is empty"):
        load(path)


def test_a_name_that_stands_there_twice_is_refused_unless_its_rows_are_the_same(tmp_path: Path) -> None:
    path, rows = write(tmp_path, "mine", ["cat", "dog", "Cat"])
    with pytest.raises(UserError, match=r"'Cat' names row 0 and row 2 .* differ"):
        load(path)
    np.save(path, rows[[0, 1, 0]])
    assert load(path).names == ["cat", "dog"]


def test_other_numbers_of_names_than_of_rows_are_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["cat", "dog"])
    names_file(path).write_text('["cat"]')
    with pytest.raises(UserError, match=r"2 rows, but 1 names in .*mine\.names\.json"):
        load(path)


def test_rows_of_different_lengths_do_not_mix(tmp_path: Path) -> None:
    first, _ = write(tmp_path, "first", ["cat"], length=4)
    second, _ = write(tmp_path, "second", ["dog"], length=8)
    with pytest.raises(UserError, match=r"rows of different lengths, \[4, 8\]"):
        choose([first, second])


@pytest.mark.parametrize(
    ("content", "says"), [("{", "expected a JSON list"), ('{"a": 1}', "a JSON list"), ("[1]", "a JSON list")]
)
def test_names_of_another_form_are_refused(content: str, says: str, tmp_path: Path) -> None:
    names_file(tmp_path / "mine.npy").write_text(content)
    with pytest.raises(UserError, match=says):
        names_of(tmp_path / "mine.npy")


def test_missing_names_are_told_where_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.names\.json.*data_server embed"):
        names_of(tmp_path / "mine.npy")


def head(**keys: object) -> dict:
    return {"roi_head": {"bbox_head": {"in_channels": 64, "num_classes": 12, **keys}}}


def test_a_model_gets_another_vocabulary_and_stays_as_it_was() -> None:
    new = NamedEmbeddings(["cat", "dog"], np.ones((2, 4), np.float32))
    model = head(type="BBoxHeadCLIPInference", zeroshot_path="old.npy", cat_freq_path="counts.json", beta=0.3)
    changed = fitted(model, new)["roi_head"]["bbox_head"]
    assert changed["num_classes"] == 2 and changed["zeroshot_path"] is new.embeddings
    assert changed["type"] == "BBoxHeadCLIPInference" and changed["beta"] == 0.3 and "cat_freq_path" not in changed
    assert model["roi_head"]["bbox_head"]["num_classes"] == 12


def test_a_head_of_several_vocabularies_becomes_one_of_a_single() -> None:
    new = NamedEmbeddings(["cat", "dog"], np.ones((2, 4), np.float32))
    model = head(type="BBoxHeadCLIPPartitioned", zeroshot_path=["a.npy", "b.npy"], test_vocabulary=1)
    changed = fitted(model, new)["roi_head"]["bbox_head"]
    assert changed["type"] == "BBoxHeadCLIP" and "test_vocabulary" not in changed


def test_a_class_agnostic_model_takes_no_vocabulary_and_calls_everything_object() -> None:
    with pytest.raises(UserError, match="finds objects of any class and names none"):
        fitted(head(type="Shared2FCBBoxScoreHead"), NamedEmbeddings(["cat"], np.ones((1, 4), np.float32)))
    assert of_config(head(type="Shared2FCBBoxScoreHead")) == ["object"]


@pytest.mark.parametrize("model", [{}, {"roi_head": None}, {"roi_head": {"bbox_head": [{}, {}]}}])
def test_a_model_without_one_box_head_is_left_to_who_builds_it(model: dict) -> None:
    assert fitted(model, NamedEmbeddings(["cat"], np.ones((1, 4), np.float32))) == model
    assert of_config(model) == ["object"] and tables_of_config(model) == []


def test_a_configs_names_are_those_beside_its_rows_or_else_the_data_sets(tmp_path: Path) -> None:
    path, _ = write(tmp_path, "mine", ["cat", "dog"])
    other, _ = write(tmp_path, "other", ["cow", "ewe", "hen"])
    model = head(type="BBoxHeadCLIP", zeroshot_path=str(path))
    assert of_config(model, ["a", "b"]) == ["cat", "dog"]
    partitioned = head(type="BBoxHeadCLIPPartitioned", zeroshot_path=[str(path), str(other)], test_vocabulary=1)
    assert of_config(partitioned) == ["cow", "ewe", "hen"]
    assert vocabulary.tables_of_config(partitioned) == [str(path), str(other)]
    names_file(path).unlink()
    assert of_config(model, ["a", "b"]) == ["a", "b"]
    assert vocabulary.tables_of_config(partitioned) == [str(other)]
    with pytest.raises(UserError, match=r"mine\.names\.json"):
        of_config(model, ["a", "b", "c"])


@pytest.mark.skipif(not GENUINE.exists(), reason=f"no text embeddings in {GENUINE}; set DATA_DIR")
def test_the_genuine_vocabularies_are_read_and_mixed(tmp_path: Path) -> None:
    every = json.loads((GENUINE / "class_names_in_row_order.json").read_text())
    files = {"coco": "coco", "objects365": "objects365", "oid": "oid", "lvis_v0.5": "lvis_v0.5"}
    paths = {}
    for key, stem in files.items():
        source = next(GENUINE.glob(f"{stem}_clip*.npy"))
        key = next(k for k in every if k.lower().startswith(key[:3]))
        paths[stem] = tmp_path / source.name
        paths[stem].write_bytes(source.read_bytes())
        names_file(paths[stem]).write_text(json.dumps(every[key]))
    assert {stem: len(load(path).names) for stem, path in paths.items()} == {
        "coco": 80,
        "objects365": 365,
        "oid": 498,
        "lvis_v0.5": 1230,
    }
    mixed = choose([paths["coco"], "acorn", paths["objects365"]], [paths["lvis_v0.5"]])
    assert mixed.names[:80] == load(paths["coco"]).names and mixed.names[80] == "acorn"
    assert mixed.embeddings.shape == (len(mixed.names), 1024) and len(mixed.names) < 80 + 1 + 365

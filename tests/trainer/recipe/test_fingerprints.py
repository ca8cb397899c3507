"""A step's fingerprint changes with everything that goes into it, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from shared import contents
from tests.shared.test_archives import pack
from trainer.recipe import fingerprints
from trainer.recipe.fingerprints import digest, files, fingerprint
from trainer.recipe.steps import Step


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train.json").write_text("{}")
    return tmp_path


def step(root: Path, **changes: object) -> Step:
    config = Config({"data_root": str(root), "train_dataloader": {"dataset": {"ann_file": "train.json"}}, "lr": 0.1})
    values = {
        "name": "s",
        "task": "train",
        "config": config,
        "weights": None,
        "needs": (),
        "arguments": (),
        "title": "",
    }
    return Step(**{**values, **changes})


def test_the_same_step_has_the_same_fingerprint(root: Path) -> None:
    assert fingerprint(step(root), {}) == fingerprint(step(root, title="another", name="other"), {"t": {"f": "1"}})


def test_config_task_weights_and_arguments_count(root: Path) -> None:
    other = step(root).config
    other.lr = 0.2
    found = [
        fingerprint(one, {})
        for one in (step(root), step(root, config=other), step(root, task="evaluate"), step(root, arguments=("--x",)))
    ]
    found += [fingerprint(step(root, weights=name), {}) for name in ("first.safetensors", "second.safetensors")]
    assert len(set(found)) == 6


def test_the_content_of_annotations_counts_and_their_time_does_not(root: Path) -> None:
    before = fingerprint(step(root), {})
    (root / "train.json").touch()
    assert fingerprint(step(root), {}) == before
    (root / "train.json").write_text("[]")
    assert fingerprint(step(root), {}) != before


def test_an_archive_counts_where_annotations_lie_in_it_and_not_where_images_do(root: Path) -> None:
    config = step(root).config
    config.train_dataloader.dataset = {"ann_file": "set.zip/a.json", "data_prefix": {"img": "images.tar/inner/"}}
    found = []
    for text, images in ((b"{}", b"x"), (b"{}", b"y"), (b"[]", b"y")):
        pack(root / "set.zip", {"a.json": text})
        pack(root / "images.tar", {"inner/a.jpg": images})
        found.append(fingerprint(step(root, config=config), {}))
    assert found[0] == found[1] != found[2]
    config.train_dataloader.dataset = {"ann_file": "train.json", "data_prefix": {"sub_data_root": "set.zip/VOC/"}}
    found = []
    for text in (b"<annotation/>", b"<annotation></annotation>"):
        pack(root / "set.zip", {"VOC/Annotations/a.xml": text})
        found.append(fingerprint(step(root, config=config), {}))
    assert found[0] != found[1]


def test_files_that_the_config_names_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    before = fingerprint(step(root), {})
    monkeypatch.setattr(contents, "_STEP", None)  # so that no byte can be read
    assert fingerprint(step(root), {}) == before


def test_results_of_a_needed_step_count_and_those_of_others_do_not(root: Path) -> None:
    needing = step(root, needs=("first",))
    before = fingerprint(needing, {"first": {"w": "1"}, "other": {"w": "1"}})
    assert fingerprint(needing, {"first": {"w": "1"}, "other": {"w": "2"}}) == before
    assert fingerprint(needing, {"first": {"w": "2"}, "other": {"w": "1"}}) != before


def test_files_are_found_as_they_are_and_under_the_nearest_data_root(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.json").write_text(folder)
    config = {
        "data_root": str(tmp_path / "a"),
        "one": {"ann_file": "train.json"},
        "two": [{"data_root": str(tmp_path / "b"), "ann_file": "train.json"}],
        "three": str(tmp_path / "b" / "train.json"),
        "four": "none.json",
        "five": "a\nb",
    }
    expected = [tmp_path / folder / "train.json" for folder in ("a", "b", "b")]
    assert list(files(config)) == [str(path) for path in expected]


@pytest.mark.parametrize("text", ["", "x" * 300, "x/" * 5000, "a\0b", "a photo of a {}.\nand more"])
def test_a_text_that_can_be_no_path_names_no_file(text: str) -> None:
    assert list(files({"one": text, "two": [text]}, root="/")) == []


def test_files_that_arguments_name_count(root: Path) -> None:
    words = (str(root / "names.npy"), f"model.calibration={root / 'counts.json'}")
    for path in (root / "names.npy", root / "counts.json"):
        path.write_text("before")
    found = [fingerprint(step(root, arguments=words), {})]
    for path in (root / "names.npy", root / "counts.json"):
        path.write_text("after")
        found.append(fingerprint(step(root, arguments=words), {}))
    assert len(set(found)) == 3


def test_the_users_own_modules_count_where_the_config_names_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root)
    own, found = root / "own_backbone_of_a_recipe.py", []
    config = Config({"model": {"backbone": {"type": "own_backbone_of_a_recipe.Small"}}})
    for text in ("width = 1", "width = 2"):
        own.write_text(text)
        found.append(fingerprint(step(root, config=config), {}))
        assert fingerprint(step(root), {}) == fingerprint(step(root), {})
    assert len(set(found)) == 2


def test_the_xml_files_that_a_data_set_lists_count_and_no_others(root: Path) -> None:
    folder = root / "VOC2007" / "Annotations"
    folder.mkdir(parents=True)
    (root / "train.txt").write_text("one\ntwo\n")
    for name in ("one", "two", "three"):
        (folder / f"{name}.xml").write_text("<annotation/>")
    part = {"data_root": str(root), "ann_file": "train.txt", "data_prefix": {"sub_data_root": "VOC2007/"}}
    one = step(root, config=Config({"train_dataloader": {"dataset": {"datasets": [part]}}}))
    before = fingerprint(one, {})
    (folder / "three.xml").write_text("<annotation>another</annotation>")
    (folder / "one.xml").touch()
    assert fingerprint(one, {}) == before
    (folder / "two.xml").write_text("<annotation>another</annotation>")
    assert fingerprint(one, {}) != before


def test_another_version_of_the_program_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for number in ("1.0", "1.1"):
        monkeypatch.setattr(fingerprints, "version", {"unidetector-jittor": number}.__getitem__)
        found.add(fingerprint(step(root), {}))
    assert len(found) == 2


def test_a_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    for name, content in (("a", b"x" * 5_000_000), ("b", b"x" * 5_000_000), ("c", b"x" * 4_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b != c

"""Annotation files: what is missing is named in one line, and a file that cannot be written leaves nothing behind."""

import json
from pathlib import Path

import pytest

from shared import coco
from shared.errors import UserError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ": No such file"),
        (b'{"images":\n [1,,2]}', " line 2 column 5: not valid JSON: Expecting value"),
        (b"\x89PNG\xff\xfe", ": not a text file; expected COCO JSON"),
        (
            b'\xef\xbb\xbf{"images": []}',
            " begins with a byte order mark, where MMDetection's own reader stops; save it as",
        ),
        (b"[1]", ": no list 'images'; expected COCO's format"),
        (b'{"images": {}}', ": no list 'images'; expected COCO's format"),
        (b'{"images": [{"id": 1}, {"name": "b"}]}', ': images[1] lacks a valid \'id\': {"name": "b"}'),
        (b'{"images": [7]}', ": images[0] lacks a valid 'id': 7"),
    ],
)
def test_a_file_that_is_not_cocos_is_named_with_what_it_lacks(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        coco.read(path, images=("id",))
    assert str(caught.value).startswith(f"annotation file '{path}'{says}")
    assert "\n" not in str(caught.value)


def test_values_may_be_of_any_type_unless_mmdetection_is_to_use_them(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 4, "height": "4"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "area": 1}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert coco.read(path, images=("id", "height"), annotations=("bbox",)) == content
    with pytest.raises(UserError, match=r"images\[0\] lacks a valid 'height'"):
        coco.read_strictly(path)
    content["images"][0]["height"] = 4
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"annotations\[0\] has bbox \[0, 0, 1\]; expected \[x, y, w, h\]"):
        coco.read_strictly(path)
    content["annotations"][0]["bbox"].append(2**31)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"annotations\[0\] has bbox \[0, 0, 1, 2147483648\]; expected"):
        coco.read_strictly(path)
    content["annotations"][0]["bbox"][3] = 1.5
    path.write_text(json.dumps(content))
    assert coco.read_strictly(path) == content


def test_names_of_categories_are_in_the_files_order(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"categories": [{"id": 7, "name": "b"}, {"id": 1, "name": "a"}]}))
    categories = coco.categories(tmp_path / "a.json")
    assert categories == {7: "b", 1: "a"} and list(categories) == [7, 1]


@pytest.mark.parametrize(
    ("named", "kind", "expected"),
    [
        (None, "CocoDataset", "bca"),
        (["a", "b"], "CocoDataset", "ba"),
        (None, "Objects365V1Dataset", "acb"),
        (["b", "a"], "Objects365V1Dataset", "ab"),
        (None, "Objects365V2Dataset", "bca"),
    ],
)
def test_labels_follow_the_files_list_and_ids_only_in_objects365_v1(
    named: list[str] | None, kind: str, expected: str
) -> None:
    assert "".join(coco.counted({7: "b", 2: "c", 1: "a"}, named, kind).values()) == expected


def test_a_list_that_may_be_missing_is_empty_then(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"images": []}))
    found = coco.read(tmp_path / "a.json", missing=["annotations"], images=("id",), annotations=("id",))
    assert found == {"images": [], "annotations": []}
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": [{}]}))
    with pytest.raises(UserError, match=r"annotations\[0\] lacks a valid 'id'"):
        coco.read(tmp_path / "a.json", missing=["annotations"], images=("id",), annotations=("id",))


def test_sections_that_nobody_needs_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"categories": [{"id": 1, "name": "a"}]}))
    assert coco.read(tmp_path / "a.json", categories=("id", "name"))["categories"][0]["name"] == "a"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.json"):
        coco.write(tmp_path / "a.json", [1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_lists_written_an_entry_at_a_time_are_those_written_at_once(tmp_path: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "ä"}, {"id": 2}], "annotations": [], "categories": [{"id": 3}]}
    coco.write_lists(tmp_path / "a.json", {key: iter(entries) for key, entries in content.items()})
    coco.write(tmp_path / "b.json", content)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == content


def test_a_list_that_fails_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    def entries():
        yield 1
        raise KeyError("second")

    with pytest.raises(KeyError):
        coco.write_lists(tmp_path / "a.json", {"images": entries()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 1e300], [None, 2, 3, 4]])
def test_a_box_that_is_no_four_numbers_is_named_for_mmdetection(tmp_path: Path, box: list) -> None:
    image = {"id": 1, "file_name": "a.jpg", "width": 5, "height": 5}
    fine = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    content = {
        "images": [image],
        "annotations": [fine, {**fine, "id": 2, "bbox": box}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a.json': annotations\[1\] has bbox .*; expected \[x, y, w, h\]"):
        coco.read_strictly(tmp_path / "a.json")
    content["annotations"].pop()
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert coco.read_strictly(tmp_path / "a.json") == content


@pytest.mark.parametrize(("length", "shown"), [(10, False), (200, True)])
def test_a_long_entry_is_cut_in_a_message(tmp_path: Path, length: int, shown: bool) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"categories": [{"id": 1, "other": "x" * length}]}))
    with pytest.raises(UserError, match=r"categories\[0\] lacks a valid 'name': ") as caught:
        coco.categories(tmp_path / "a.json")
    entry = str(caught.value).partition("'name': ")[2]
    assert len(entry) <= 120 and entry.endswith("...") == shown


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xef\xbb\xbf{}", "begins with a byte order mark, where MMDetection's own reader stops"),
        (b"\xff\xff", "not a text file; expected COCO JSON"),
        (b'{"a": \n x}', "line 2 column 2: not valid JSON: Expecting value"),
        (b"[" * 100_000, "not valid JSON: it is nested too deep"),
        (b"7" * 5000, "not valid JSON: "),
    ],
)
def test_a_file_that_is_no_json_is_named_with_the_reason(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=f"^annotation file '{tmp_path}/a.json'.* ?{says}"):
        coco.categories(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("kind", "image", "name"),
    [
        ("CocoDataset", {"file_name": "a/b/1.jpg", "coco_url": "x"}, "a/b/1.jpg"),
        ("mmdet.LVISV1Dataset", {"coco_url": "http://images.cocodataset.org/val2017/1.jpg"}, "val2017/1.jpg"),
        ("LVISV05Dataset", {"file_name": "COCO_val2014_000000000139.jpg"}, "000000000139.jpg"),
        ("Objects365V2Dataset", {"file_name": "images/v1/patch6/1.jpg"}, "patch6/1.jpg"),
    ],
)
def test_an_image_is_where_mmdetection_looks_for_it(kind: str, image: dict[str, str], name: str) -> None:
    assert coco.file_name({"id": 7, **image}, kind) == name


def test_an_image_without_a_file_is_named() -> None:
    with pytest.raises(UserError, match="image 7 has neither a file_name nor a coco_url"):
        coco.file_name({"id": 7}, "CocoDataset")

"""What is wrong in an annotation file is found, and only that."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from data_server.checks import indexed_annotations
from data_server.checks.annotations import look_through
from data_server.checks.findings import SHOWN, Findings
from data_server.files.index.cache import index_or_none
from tests.data_server import annotation_files

CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 2, "file_name": "b.jpg", "width": 100, "height": 80},
    ],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 5, "bbox": [0, 0, 100, 80]},
        {"id": 11, "image_id": 1, "category_id": 7, "bbox": [10.5, 10, 90, 20]},  # half a pixel beyond: rounding
        {"id": 12, "image_id": 1, "category_id": 7, "bbox": [10, 10, 9, 20], "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "cup"}, {"id": 7, "name": "lamp"}],
}
CLASSES = ["cup", "lamp"]


def found(change: dict[str, Any] | None = None, classes: list[str] | None = CLASSES) -> list[str]:
    """The findings as lines, after one entry of the content was changed, or added where its id is new."""
    content = copy.deepcopy(CONTENT)
    for section, entry in (change or {}).items():
        same = [one for one in content[section] if one["id"] == entry["id"]]
        if same and len(entry) > 1 and "again" not in entry:
            same[0].update(entry)
        else:
            content[section].append({key: value for key, value in entry.items() if key != "again"})
    findings = Findings()
    look_through(content, classes, findings)
    return [str(finding) for finding in findings]


def test_a_sound_file_is_counted_and_nothing_is_found() -> None:
    findings = Findings()
    counts = look_through(CONTENT, CLASSES, findings)
    assert list(findings) == []
    assert (counts.images, counts.boxes, counts.crowds, counts.empty_images) == (2, 2, 1, 1)
    assert counts.classes == CLASSES == look_through(CONTENT, None, findings).classes


def box(*numbers: Any, **more: Any) -> dict[str, Any]:
    return {"annotations": {"id": 11, "bbox": list(numbers), **more}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            box(10, 10, 20, 0.5),
            "warning 1 boxes with a side below one pixel; they are left out: annotation 11 of image 1",
        ),
        (box(100, 10, 20, 20), "warning 1 boxes outside of their image; they are left out: annotation 11 of image 1"),
        (box(90, 10, 12, 20), "warning 1 boxes that reach beyond their image; they are cut: annotation 11 of image 1"),
        (box(-2, 10, 12, 20), "warning 1 boxes that reach beyond their image; they are cut: annotation 11 of image 1"),
        (
            box(1, 2, float("nan"), 4),
            "ERROR   1 boxes that are not four finite numbers x, y, width, height: annotation 11",
        ),
        (
            box(1, 2, 3),
            "ERROR   1 boxes that are not four finite numbers x, y, width, height: annotation 11 of image 1",
        ),
        (box(0, 0, 100, 80, category_id=5), "warning 1 boxes that are annotated twice: annotation 11"),
        (
            box(1, 2, 3, 4, category_id=9),
            "ERROR   1 annotations of a category that is not in the file's list: annotation 11",
        ),
        (
            box(1, 2, 3, 4, image_id=9),
            "ERROR   1 annotations of an image that is not in the file's list: annotation 11",
        ),
        (
            {"annotations": {**CONTENT["annotations"][0], "id": 10, "image_id": 2, "again": True}},
            "warning 1 ids of annotations that are used again: annotation 10",
        ),
        (
            {"images": {"id": 2, "file_name": "c.jpg", "width": 9, "height": 9, "again": True}},
            "ERROR   1 image ids that are used again: 2 (c.jpg)",
        ),
        ({"images": {"id": 2, "file_name": "a.jpg"}}, "warning 1 images that are listed twice: a.jpg"),
        ({"images": {"id": 2, "width": 0}}, "ERROR   1 images without a size: b.jpg (0x80)"),
        (
            {"categories": {"id": 9, "name": "shoe"}},
            "warning 1 categories that no class names; their boxes are left out",
        ),
        (
            {"categories": {"id": 7, "name": "lmap"}},
            "ERROR   1 classes that are no categories of the file: 'lamp' (did you",
        ),
        ({"categories": {"id": 5, "name": "tub", "again": True}}, "ERROR   1 category ids that are used again: 5"),
        ({"categories": {"id": 9, "name": "cup"}}, "warning 1 names of several categories: 'cup'"),
        ({"categories": {"id": 9, "name": " "}}, "ERROR   1 categories without a name: id 9"),
    ],
)
def test_a_fault_is_found_and_its_place_is_told(change: dict[str, Any], line: str) -> None:
    assert [one for one in found(change) if one.startswith(line)], found(change)


def test_a_class_without_a_box_is_told() -> None:
    assert found({"annotations": {"id": 10, "category_id": 7}}) == ["warning 1 classes without a box: 'cup'"]


def test_classes_in_another_order_than_the_files_are_told() -> None:
    """MMDetection numbers labels in the order of the file, whatever the config says."""
    assert found(classes=CLASSES[::-1]) == [
        "warning 2 labels that follow the file's categories and not the order of metainfo.classes: "
        "0 is 'cup', not 'lamp', 1 is 'lamp', not 'cup'"
    ]


def test_of_many_faults_a_count_and_a_few_places_are_kept() -> None:
    findings = Findings()
    for number in range(10 * SHOWN):
        findings.warning("faults", str(number))
    findings.error("a fault")
    assert [str(one) for one in findings] == ["ERROR   a fault", f"warning {10 * SHOWN} faults: 0, 1, 2, 3, 4, ..."]
    assert (findings.errors, findings.warnings) == (1, 1)


def test_annotations_without_iscrowd_are_told_where_detections_are_compared_with_them() -> None:
    findings = Findings()
    look_through(CONTENT, CLASSES, findings, judged=True)
    (line,) = map(str, findings)
    assert (
        line.startswith("warning 2 annotations without 'iscrowd', which CocoMetric needs") and "annotation 10" in line
    )


@pytest.mark.parametrize("more", [{"area": 0}, {"area": -3.5}, {"ignore": 1}, {"bbox": [0, 0, 0.5, 9]}])
@pytest.mark.parametrize("crowd", [0, 1])
def test_what_mmdetection_leaves_out_is_not_counted(more: dict[str, Any], crowd: int) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"][0] |= more | {"iscrowd": crowd}
    findings = Findings()
    counts = look_through(content, CLASSES, findings)
    assert (counts.boxes, counts.crowds) == (1, 1)
    assert any("left out" in str(finding) for finding in findings)


def test_a_file_whose_areas_are_all_zero_has_no_boxes() -> None:
    content = copy.deepcopy(CONTENT)
    for annotation in content["annotations"]:
        annotation["area"] = 0
    findings = Findings()
    counts = look_through(content, CLASSES, findings)
    assert (counts.boxes, counts.crowds, counts.empty_images) == (0, 0, 2)
    assert any("3 annotations whose 'area' is 0 or less" in str(finding) for finding in findings)


@pytest.mark.slow
@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("named", [None, list(annotation_files.NAMES[:2])])
def test_an_index_has_the_same_faults_and_counts_as_the_file(tmp_path: Path, named: Any, judged: bool) -> None:
    compared = 0
    for seed in range(150):
        path = tmp_path / f"{seed}.json"
        content = annotation_files.content(seed)
        content["annotations"] += [{**one, "id": 1000 + n} for n, one in enumerate(content["annotations"][::5])]
        path.write_text(json.dumps(content))
        index = index_or_none(path, print)
        if index is None:
            continue
        compared += 1
        ours, theirs = Findings(), Findings()
        counted = indexed_annotations.look_through(index, named, ours, judged=judged)
        assert counted == look_through(content, named, theirs, judged=judged), seed
        assert [str(one) for one in ours] == [str(one) for one in theirs], seed
    assert compared > 50


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((90, 10, 11, 20), None),
        ((90, 10, 11.25, 20), "reach beyond"),
        ((-1, 10, 12, 20), None),
        ((-1.25, 10, 12, 20), "reach beyond"),
        ((10, 61, 9, 20), None),
        ((10, 61.25, 9, 20), "reach beyond"),
        ((10, -1, 9, 20), None),
        ((10, -1.25, 9, 20), "reach beyond"),
        ((10, 10, 1, 20), None),
        ((10, 10, 0.75, 20), "a side below one pixel"),
        ((10, 10, 9, 1), None),
        ((10, 10, 9, 0.75), "a side below one pixel"),
        ((-9, 10, 9, 20), "outside of their image"),
        ((100, 10, 9, 20), "outside of their image"),
        ((10, -20, 9, 20), "outside of their image"),
        ((10, 80, 9, 20), "outside of their image"),
    ],
)
def test_a_box_is_told_from_the_bound_on_and_not_before(numbers: tuple, words: str | None) -> None:
    lines = [line for line in found(box(*numbers)) if "without a box" not in line]
    assert lines == [] if words is None else words in lines[0] and len(lines) == 1

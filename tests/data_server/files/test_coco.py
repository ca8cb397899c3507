"""Annotation files: what is missing is named in one line, and a file that cannot be written leaves nothing behind."""

import json
from pathlib import Path

import pytest

from data_server.files import coco as annotations
from shared.errors import UserError


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "No such file"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1]", "no list 'images'"),
        (b'{"images": {}}', "no list 'images'"),
        (b'{"images": [{"id": 1}, {}]}', r"images\[1\] has no 'id'"),
        (b'{"images": [7]}', r"images\[0\] has no 'id'"),
    ],
)
def test_a_file_that_is_not_cocos_is_named_with_what_it_lacks(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"annotation file {path}: {says}") as caught:
        annotations.read(path, images=("id",))
    assert "\n" not in str(caught.value)


def test_sections_that_nobody_needs_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"categories": [{"id": 1, "name": "a"}]}))
    assert annotations.read(tmp_path / "a.json", categories=("id", "name"))["categories"][0]["name"] == "a"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.json"):
        annotations.write(tmp_path / "a.json", [1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]

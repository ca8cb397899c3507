"""What ``metainfo.classes`` of a config names: MMDetection's meaning, or one line."""

import pytest

from shared.datasets import named_classes
from shared.errors import UserError


def named(metainfo):
    return named_classes({"type": "CocoDataset", "metainfo": metainfo})


def test_a_list_and_a_tuple_are_names():
    assert named({"classes": ["dog", "hot dog"]}) == named({"classes": ("dog", "hot dog")}) == ["dog", "hot dog"]


@pytest.mark.parametrize("metainfo", [None, {}, {"classes": None}, {"palette": [(1, 2, 3)], "dataset_type": "mine"}])
def test_nothing_is_no_name(metainfo):
    assert named(metainfo) is None and named_classes({"type": "CocoDataset"}) is None


def test_a_text_is_one_name_or_a_file_of_names(tmp_path, monkeypatch):
    assert named({"classes": "hot dog"}) == ["hot dog"]
    (tmp_path / "classes.txt").write_bytes("\ufeffdog\r\nhot dog\n\n".encode())
    assert named({"classes": str(tmp_path / "classes.txt")}) == ["dog", "hot dog"]
    monkeypatch.chdir(tmp_path)
    assert named({"classes": "classes.txt"}) == ["dog", "hot dog"]
    (tmp_path / "dog").mkdir()
    assert named({"classes": "dog"}) == ["dog"]


@pytest.mark.parametrize(
    ("metainfo", "says"),
    [
        ("dog", r"metainfo is 'dog'; expected a dict"),
        (("dog",), r"metainfo is \('dog',\); expected a dict"),
        ({"CLASSES": ("dog",)}, "metainfo has 'CLASSES', which MMDetection does not read; write 'classes'"),
        ({"class": ("dog",)}, "metainfo has 'class', which"),
        ({"classes": ()}, "metainfo.classes is empty; name a class, or leave it out"),
        ({"classes": ""}, r"metainfo\.classes\[0\] is ''; expected a name"),
        ({"classes": ("dog", 3)}, r"metainfo\.classes\[1\] is 3; expected a name"),
        ({"classes": ("dog", " ")}, r"metainfo\.classes\[1\] is ' '; expected a name"),
        ({"classes": {"dog": 0}}, r"metainfo\.classes is {'dog': 0}; expected names"),
        ({"classes": 3}, r"metainfo\.classes is 3; expected names"),
        ({"classes": "no/classes.txt"}, r"metainfo\.classes='no/classes\.txt': there is no '/.*no/classes\.txt'"),
    ],
)
def test_anything_else_is_refused_in_one_line(metainfo, says):
    with pytest.raises(UserError, match=says) as caught:
        named(metainfo)
    assert str(caught.value).startswith("data set 'CocoDataset': metainfo") and "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_empty_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="expected a text file with a name a line"):
        named({"classes": str(tmp_path / "classes.txt")})
    (tmp_path / "classes.txt").write_text("\n\n")
    with pytest.raises(UserError, match=r"metainfo\.classes is empty"):
        named({"classes": str(tmp_path / "classes.txt")})

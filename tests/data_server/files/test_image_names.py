"""The images of a data set as columns."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_server.files.image_names import ImageNames, image_key

KEYS = [(7, "a/1.jpg"), ("7", "a/1.jpg"), (None, "b/ä.jpg"), (2.5, "c\n/x.jpg"), (8, "a/2.jpg")]


def test_keys_come_back_as_they_went_in():
    names = ImageNames.of(KEYS)
    assert list(names) == KEYS and len(names) == 5
    assert names.text.nbytes % 8 == 0
    assert [json.loads(line) for line in names.text.tobytes().splitlines() if line] == [list(key) for key in KEYS]


def test_images_are_found_whatever_the_order_and_the_filter():
    names = ImageNames.of(KEYS)
    assert names.places(ImageNames.of(KEYS)).tolist() == [0, 1, 2, 3, 4]
    assert names.places(ImageNames.of(KEYS[::-1])).tolist() == [4, 3, 2, 1, 0]
    assert names.places(ImageNames.of([KEYS[3], (7, "a/2.jpg"), KEYS[0]])).tolist() == [3, -1, 0]
    assert names.places(ImageNames.of([])).tolist() == []
    assert ImageNames.of([]).places(names).tolist() == [-1] * 5


def test_other_images_or_another_order_are_another_fingerprint():
    found = {ImageNames.of(keys).fingerprint for keys in (KEYS, KEYS[::-1], KEYS[:-1], [*KEYS[:-1], (8, "a/3.jpg")])}
    assert len(found) == 4


def test_a_damaged_name_is_no_name():
    names = ImageNames.of(KEYS)
    text = np.array(names.text)
    text[1] ^= 1  # 6 instead of 7
    damaged = ImageNames(text, names.ends, names.hashes)
    assert damaged.key(1) == KEYS[1]
    with pytest.raises(ValueError, match="image 0 is no id and name"):
        damaged.key(0)


def test_an_image_is_known_by_its_id_and_the_last_folder_and_name_of_its_path():
    assert image_key({"img_id": 5, "img_path": "/data/set/train/07.jpg"}) == (5, "train/07.jpg")
    assert image_key({"img_path": "07.jpg"}) == (None, "07.jpg")


@pytest.mark.parametrize(
    "path", ["a.jpg", "/a.jpg", "b/a.jpg", "c//b//a.jpg", "c/b/./a.jpg", "c/b/../a.jpg", "b/a/", ""]
)
def test_an_image_is_called_by_the_last_two_parts_of_its_path_as_pathlib_has_them(path):
    assert image_key({"img_id": 3, "img_path": path}) == (3, "/".join(Path(path).parts[-2:]))

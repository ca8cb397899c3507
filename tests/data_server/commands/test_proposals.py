"""``proposals``: a file of ours becomes upstream's list."""

import pickle
import shutil

import numpy as np
import pytest

from data_server.__main__ import main
from tests.data_server.proposals import true_boxes, write
from tests.photos import IMAGES, annotations_of, write_annotations


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


def test_the_command_writes_upstreams_list_in_the_order_of_the_annotation_file(folder, capsys):
    file, out = write(folder, order=np.random.default_rng(0).permutation(IMAGES)), folder / "new" / "rp.pkl"
    arguments = ["proposals", "--file", str(file), "--annotations", str(folder / "all.json"), "--out", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}: 21 proposals of 12 images\n"
    for image, rows in zip(annotations_of(folder)["images"], pickle.loads(out.read_bytes()), strict=True):
        np.testing.assert_array_equal(rows, true_boxes(folder)[image["id"]])
        assert rows.dtype == np.float32 and rows.shape[1] == 5
    content = annotations_of(folder)
    content["images"][2]["id"] = 1
    write_annotations(folder, content)
    assert main(arguments) == 2
    assert "none for 1 of the 12 images of" in (error := capsys.readouterr().err) and "'02.jpg', id 1;" in error

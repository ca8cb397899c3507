from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks.standard_data import ANNOTATIONS, IMAGES, make_photographs, standard_config
from shared.data_part import data_part


def test_the_photographs_are_the_same_bytes_every_time(tmp_path):
    digests = []
    for name in ("one", "two"):
        make_photographs(tmp_path / name, count=4)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append(hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest())
    assert digests[0] == digests[1]


def test_boxes_lie_inside_their_images_and_sizes_are_those_of_the_files(tmp_path):
    make_photographs(tmp_path, count=4)
    coco = json.loads((tmp_path / ANNOTATIONS).read_text())
    for image in coco["images"]:
        with Image.open(tmp_path / IMAGES / image["file_name"]) as file:
            assert file.size == (image["width"], image["height"])
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert x + width <= sizes[annotation["image_id"]][0]
        assert y + height <= sizes[annotation["image_id"]][1]


@pytest.mark.slow
def test_no_photograph_is_lost_to_filtering_and_every_category_is_a_class(tmp_path):
    make_photographs(tmp_path, count=4)
    config = data_part(standard_config(str(tmp_path), ANNOTATIONS, IMAGES, batch_size=2), "train")
    # Built in a process of its own: torch must not come into the one that runs the Jittor tests.
    script = (
        "import json, sys; from data_server.datasets.parts import Datasets; from shared.data_part import from_plain; "
        "built = Datasets(from_plain(json.load(sys.stdin))); print(json.dumps([len(built), built.classes]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, input=json.dumps(config), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [4, [["thing"]]]

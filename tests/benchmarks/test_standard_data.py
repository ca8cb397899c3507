from __future__ import annotations

import hashlib
import json

from PIL import Image

from benchmarks.standard_data import ANNOTATIONS, IMAGES, make_photographs, standard_config
from data_server.datasets import Datasets
from shared.config import data_part, from_plain


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


def test_no_photograph_is_lost_to_filtering_and_every_category_is_a_class(tmp_path):
    make_photographs(tmp_path, count=4)
    config = standard_config(str(tmp_path), ANNOTATIONS, IMAGES, batch_size=2)
    datasets = Datasets(from_plain(data_part(config, "train")))
    assert len(datasets) == 4
    assert datasets.classes == ["thing"]

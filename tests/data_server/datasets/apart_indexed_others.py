"""Data sets over the index of files that are not COCO's, beside MMDetection's own, record for record."""

import contextlib
import copy
import itertools
import os
import re

import numpy as np
import pytest
from mmdet.datasets import OpenImagesDataset, VOCDataset
from mmdet.registry import DATASETS

from data_server.datasets.indexed import Indexed, open_images, voc
from data_server.files.index import voc as voc_files
from shared import contents
from shared.errors import UserError
from tests.data_server import other_files
from tests.data_server.datasets.apart_indexed import answer_of, built, kinds
from tests.photos import TRAIN_PIPELINE

FILES = int(os.environ.get("RANDOM_FILES", "12"))
WRITERS = {"open images": other_files.write_open_images, "voc": other_files.write_voc}


def config_of(write, folder, seed):
    folder.mkdir()
    config = {"pipeline": list(TRAIN_PIPELINE), **write(folder, seed)}
    if seed % 5 == 1:
        config["indices"] = [1, [0, -1, 0], -1][seed % 3]
    if seed % 7 == 2:
        config["test_mode"] = True
    return config


def answer(config):
    try:
        datasets = built(config)
    except UserError as error:
        return str(error), None
    (part,) = datasets.parts
    relations = np.array(part.dataset.metainfo.get("RELATION_MATRIX")).tolist()
    return answer_of(datasets) | {"metainfo": part.dataset.metainfo | {"RELATION_MATRIX": relations}}, part


@pytest.mark.parametrize("form", WRITERS)
def test_every_record_is_mmdetections_to_the_last_key_and_type(tmp_path, monkeypatch, form):
    over_index = 0
    for seed in range(FILES):
        config = config_of(WRITERS[form], tmp_path / str(seed), seed)
        ours, part = answer(copy.deepcopy(config))
        with monkeypatch.context() as without:
            for way in (open_images, voc):
                without.setattr(way, "refusal", lambda _: "it is compared")
            theirs, compared = answer(copy.deepcopy(config))
        if isinstance(theirs, str):  # where nothing is left, MMDetection cannot concatenate it
            assert isinstance(ours, str) and (ours == theirs or "to concatenate" in theirs), (seed, ours, theirs)
            continue
        assert ours == theirs and kinds(ours) == kinds(theirs), seed
        assert compared is None or not isinstance(compared.dataset, Indexed)
        over_index += part is not None and isinstance(part.dataset, Indexed)
    assert over_index > FILES // 5


def records(config):
    dataset = built(copy.deepcopy(config)).parts[0].dataset
    assert isinstance(dataset, Indexed)
    return dataset.load_data_list()


def taken_in(form, folder):
    """The config of files that an index takes in."""
    folder.mkdir()
    for seed in itertools.count():
        config = config_of(WRITERS[form], folder / str(seed), seed)
        with contextlib.suppress(UserError):
            if "indices" not in config and isinstance(built(copy.deepcopy(config)).parts[0].dataset, Indexed):
                return config, folder / str(seed)


@pytest.fixture
def never_fresh(monkeypatch):
    """Files are known by their times, however new they are."""
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    monkeypatch.setattr(voc_files, "FRESH_NS", -1)


@pytest.mark.usefixtures("never_fresh")
@pytest.mark.parametrize("form", WRITERS)
def test_files_that_have_not_changed_are_not_read_again(tmp_path, monkeypatch, form):
    config, folder = taken_in(form, tmp_path / "sets")
    for file in (one for one in folder.rglob("*") if one.is_file()):
        os.utime(file, (-5, -5))  # times before 1970 are times
    first = records(config)
    monkeypatch.setattr(contents, "_STEP", None)  # so that no byte can be read
    monkeypatch.setattr(voc_files, "_read", None)
    assert records(config) == first


def edited(file, before_it):
    """A digit in place of another, with size and date as they were."""
    before, text = file.stat(), file.read_bytes()
    place = re.search(before_it + rb"(?=\d)", text).end()
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(b"5" if text[place] != ord("5") else b"6")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("form", WRITERS)
def test_an_edit_in_place_with_equal_size_and_time_is_noticed(tmp_path, request, form, fresh):
    if not fresh:
        request.getfixturevalue("never_fresh")
    config, folder = taken_in(form, tmp_path / "sets")
    first = records(config)
    if form == "open images":
        edited(folder / "boxes.csv", rb"\.")
    else:
        edited(next(folder.rglob("*.xml")), b"<width>")
    with pytest.MonkeyPatch.context() as patch:
        for way in (open_images, voc):
            patch.setattr(way, "refusal", lambda _: "it is compared")
        theirs = built(copy.deepcopy(config)).parts[0].dataset.load_data_list()
    assert records(config) == theirs != first


@pytest.mark.parametrize("name", ["load_data_list", "filter_data", "get_data_info", "full_init"])
@pytest.mark.parametrize(("form", "base"), [("open images", OpenImagesDataset), ("voc", VOCDataset)])
def test_a_class_with_a_method_of_its_own_keeps_it(tmp_path, monkeypatch, form, base, name):
    def own(self, *args):
        return getattr(base, name)(self, *args)

    monkeypatch.setitem(DATASETS.module_dict, "OwnDataset", type("OwnDataset", (base,), {name: own}))
    config, _ = taken_in(form, tmp_path / "sets")
    assert not isinstance(built(config | {"type": "OwnDataset"}).parts[0].dataset, Indexed)


def test_labels_of_whole_images_are_read_by_mmdetection(tmp_path):
    config, folder = taken_in("open images", tmp_path / "sets")
    (folder / "of images.csv").write_text("ImageID,Source,LabelName,Confidence\n")
    dataset = built(config | {"image_level_ann_file": str(folder / "of images.csv")}).parts[0].dataset
    assert not isinstance(dataset, Indexed) and "image_level_labels" in dataset.get_data_info(0)

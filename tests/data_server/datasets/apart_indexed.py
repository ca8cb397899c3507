"""Data sets over an index beside MMDetection's own, record for record."""

import contextlib
import copy
import json
import os

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from data_server.commands.browse.catalogue import meant
from data_server.datasets import building, parts, proposals
from data_server.datasets.indexed import Indexed, coco
from data_server.workers.metrics import mmdetection
from shared.errors import UserError
from tests.data_server import annotation_files
from tests.data_server.datasets.apart_classes import lvis  # noqa: F401 - a fixture
from tests.photos import TRAIN_PIPELINE

FILES = int(os.environ.get("RANDOM_FILES", "15"))
KINDS = (
    "CocoDataset",
    "Objects365V1Dataset",
    "Objects365V2Dataset",
    "LVISV05Dataset",
    "LVISV1Dataset",
    "CityscapesDataset",
)
FILTERS = (None, {"filter_empty_gt": True, "min_size": 32}, {"filter_empty_gt": True}, {"min_size": 20}, {})


def built(config, training=True):
    with contextlib.redirect_stdout(None):
        return parts.Datasets({"dataset": config, "training": training, "custom_imports": None})


def config_of(path, seed):
    number = np.random.default_rng(seed)
    some = {
        "type": KINDS[seed % len(KINDS)],
        "ann_file": str(path),
        "data_prefix": {"img": "/pictures", **({"seg": "maps/"} if number.random() < 0.2 else {})},
        "pipeline": list(TRAIN_PIPELINE),
        "filter_cfg": FILTERS[number.integers(len(FILTERS))],
        "test_mode": bool(number.random() < 0.3),
        "return_classes": bool(number.random() < 0.1),
    }
    if number.random() < 0.5:
        some["metainfo"] = {"classes": annotation_files.NAMES[:1]}
    else:
        some["class_agnostic"] = True
    if number.random() < 0.2:
        some["indices"] = [3, [0, -1, 0], -2][number.integers(3)]
    return some


def answer(config):
    """Everything that can be asked of the data sets, or the line that refuses them."""
    try:
        datasets = built(config)
    except UserError as error:
        return str(error), None
    (part,) = datasets.parts
    dataset = part.dataset
    said = answer_of(datasets)
    return said | {"cat_img_map": dict(dataset.cat_img_map), "ids of categories": dataset.cat_ids}, dataset


def answer_of(datasets):
    """Everything that can be asked of any data set."""
    (part,) = datasets.parts
    dataset = part.dataset
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {
        "records": records,
        "last": dataset.get_data_info(-1) if len(dataset) > 1 else None,  # MMDetection's own fails on one
        "labels": [dataset.get_cat_ids(index) for index in range(len(dataset))],
        "all": dataset.load_data_list(),
        "paths": [part.image_path(index) for index in range(len(dataset))],
        "sizes": datasets.image_sizes.tolist(),
        "names": list(proposals.names_of(dataset)),
        "identities": list(mmdetection._identities(part).items()),
        "called": datasets.image_ids.tolist(),
        "found": found_in(part),
        "facts": (datasets.max_boxes, datasets.fingerprint, datasets.edges, datasets.classes),
    }


def found_in(part):
    """The images that `browse` finds by a text; MMDetection's own data set is asked image by image."""
    rows, texts = np.arange(len(part)), {".jpg", "COCO", "x_0", "/", "-1", "01", str(2**63), *".0é"}
    for row, identity in enumerate(part.annotated(0, len(part)).identities):
        name = os.path.basename(part.image_path(row))
        texts |= {str(identity), name, name[1:], name[-7:-2], f"{name}{name}", f"/{name}"}
    return {text: np.flatnonzero(meant(part, text, rows)).tolist() for text in sorted(texts)}


def kinds(value):
    """The types of everything in a record, in the order of its keys."""
    if isinstance(value, dict):
        return [(key, kinds(one)) for key, one in value.items()]
    return [kinds(one) for one in value] if isinstance(value, list | tuple) else type(value)


@pytest.mark.usefixtures("lvis")
def test_every_record_is_mmdetections_to_the_last_key_and_type(tmp_path, monkeypatch):
    over_index = 0
    for seed in range(FILES):
        path = tmp_path / f"objects365_train_{seed}.json"
        path.write_text(annotation_files.text(seed), encoding="utf-8")
        config = config_of(path, seed)
        ours, dataset = answer(copy.deepcopy(config))
        with monkeypatch.context() as without:
            without.setattr(coco, "refusal", lambda _: "it is compared")
            theirs, _ = answer(copy.deepcopy(config))
        if isinstance(theirs, str):
            # The same refusal, unless an image of the file is not even there any more when the index counts.
            assert isinstance(ours, str), (seed, theirs)
            continue
        assert ours == theirs and kinds(ours) == kinds(theirs), seed
        over_index += isinstance(dataset, Indexed)
    assert over_index > FILES // 3


@pytest.mark.parametrize("kind", KINDS)
def test_mmdetections_own_classes_are_had_over_an_index(kind):
    assert coco.refusal(DATASETS.build({"type": kind, "lazy_init": True})) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("backend", "indexed"), [("local", True), ("petrel", False)])
def test_another_backend_than_that_of_local_files_is_left_to_mmdetection(kind, backend, indexed):
    dataset = DATASETS.build({"type": kind, "lazy_init": True, "backend_args": {"backend": backend}})
    assert (coco.refusal(dataset) is None) == indexed


@pytest.mark.parametrize("name", ["load_data_list", "parse_data_info", "filter_data", "get_data_info", "full_init"])
def test_a_class_with_a_method_of_its_own_keeps_it(tmp_path, capsys, monkeypatch, name):
    def own(self, *args):
        return getattr(CocoDataset, name)(self, *args)

    monkeypatch.setitem(DATASETS.module_dict, "OwnDataset", type("OwnDataset", (CocoDataset,), {name: own}))
    monkeypatch.setattr(building, "_WORTH_A_WORD", 0)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(FILE))
    datasets = built({"type": "OwnDataset", "ann_file": str(path), "pipeline": list(TRAIN_PIPELINE)} | CLASSES)
    assert not isinstance(datasets.parts[0].dataset, Indexed)
    assert f"OwnDataset has its own {name}; that takes about 0 s" in capsys.readouterr().err


FILE = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(4)],
    "annotations": [
        {
            "id": n,
            "image_id": n % 3,
            "category_id": 1,
            "bbox": [n, 0, 9, 9],
            "area": 81,
            "segmentation": [[n, 1, 2, 3, 4, 5]],
        }
        for n in range(9)
    ],
    "categories": [{"id": 1, "name": "cup"}],
}
CLASSES = {"metainfo": {"classes": ("cup",)}, "data_prefix": {"img": ""}}


def test_a_file_without_an_index_that_memory_would_not_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    crowds = [{**one, "iscrowd": 2} for one in FILE["annotations"]]
    path.write_text(json.dumps(FILE | {"annotations": crowds}) + " " * (2 << 20))
    config = {"type": "CocoDataset", "ann_file": str(path), "pipeline": list(TRAIN_PIPELINE)} | CLASSES
    monkeypatch.setattr(building, "available", lambda: 9 << 20)
    said = r"cannot be indexed: an iscrowd .*takes at least 10 MiB of memory for its 2 MiB, 9 MiB are available"
    with monkeypatch.context() as patch:
        patch.setattr(CocoDataset, "COCOAPI", None)
        with pytest.raises(UserError, match=said):
            built(config)
    monkeypatch.setattr(building, "available", lambda: 10 << 20)
    assert len(built(config)) == 4


def plain(path):
    path.write_text(json.dumps(FILE))
    return (
        built({"type": "CocoDataset", "ann_file": str(path), "pipeline": list(TRAIN_PIPELINE)} | CLASSES)
        .parts[0]
        .dataset
    )


def test_a_subset_has_the_records_of_its_images_and_copies_no_column(tmp_path):
    dataset = plain(tmp_path / "a.json")
    other = dataset.get_subset([2, 0])
    assert [other.get_data_info(n)["img_id"] for n in range(len(other))] == [2, 0] and len(dataset) == 4
    assert other.index is dataset.index and other.get_data_info(1)["sample_idx"] == 1
    dataset.get_subset_(-1)
    assert [dataset.get_data_info(n)["img_id"] for n in range(len(dataset))] == [3]
    with pytest.raises(AssertionError):
        dataset.get_subset_([1])


def test_an_outline_is_not_read_from_a_file_that_was_changed(tmp_path):
    path = tmp_path / "a.json"
    dataset = plain(path)
    assert dataset.get_data_info(0)["instances"][1]["mask"] == [[3, 1, 2, 3, 4, 5]]
    with path.open("r+") as file:
        file.write("{ ")
    with pytest.raises(UserError, match=r"a\.json' was changed while it was in use"):
        dataset.get_data_info(0)


def replaced(path):
    other = path.with_name("b.json")
    other.write_text("{}")
    other.replace(path)


TOUCHED = {
    "replaced": replaced,
    "removed": lambda path: path.unlink(),
    "moved": lambda path: path.rename(path.with_name("b.json")),
    "linked": lambda path: path.with_name("b.json").hardlink_to(path),
    "made read-only": lambda path: path.chmod(0o444),
    "dated": lambda path: os.utime(path, (1, 1)),
}


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_file_that_still_holds_the_same_is_still_read(tmp_path, touch):
    path = tmp_path / "a.json"
    dataset = plain(path)
    TOUCHED[touch](path)
    assert dataset.get_data_info(0)["instances"][1]["mask"] == [[3, 1, 2, 3, 4, 5]]


def test_an_edit_is_noticed_though_the_file_was_replaced_and_its_time_put_back(tmp_path):
    path = tmp_path / "a.json"
    dataset, before = plain(path), path.stat()
    with path.open("r+") as file:
        file.write("{ ")
        file.flush()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        replaced(path)
    with pytest.raises(UserError, match=r"a\.json' was changed while it was in use"):
        dataset.get_data_info(0)

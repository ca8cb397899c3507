"""Which classes count, in which order, and that class_agnostic changes labels alone, whatever the data set is."""

import copy
import json
import shutil
import sys
import types

import numpy as np
import pytest
from pycocotools.coco import COCO

from data_server.__main__ import main
from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from data_server.checks.vocabulary import compare
from data_server.commands.check import look_at
from data_server.commands.embed import categories_of
from data_server.datasets import samples
from data_server.datasets.bounds import gather
from shared.data_part import from_plain
from shared.embeddings import write_embeddings
from shared.errors import UserError
from tests.data_server.judging import built
from tests.photos import CLASSES, IMAGES, VAL_PIPELINE, annotations_of, config_of, write_annotations, write_open_images


@pytest.fixture
def folder(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "set")
    return tmp_path / "set"


def labels(datasets):
    return [samples.load(datasets, index, 0).labels.tolist() for index in range(len(datasets))]


def name_each(datasets):
    """The names of the classes of all boxes, image by image."""
    (part,) = datasets.parts
    return [[part.classes[label] for label in some] for some in labels(datasets)]


def truth(content, counted=CLASSES):
    name_of = {one["id"]: one["name"] for one in content["categories"]}
    return [
        [
            name_of[one["category_id"]]
            for one in sorted(content["annotations"], key=lambda one: one["iscrowd"])
            if one["image_id"] == image["id"] and name_of[one["category_id"]] in counted
        ]
        for image in content["images"]
    ]


def check(config):
    said, found = look_at(Subject("val", 0, from_plain(config["dataset"]), {}, 0))
    return said, [str(one) for one in found]


@pytest.mark.parametrize(
    ("classes", "counted"),
    [
        ("lamp", ["lamp"]),
        (["lamp"], ["lamp"]),
        (("shoe", "cup"), ["cup", "shoe"]),
        ("classes.txt", ["cup", "shoe"]),
        (None, CLASSES),
    ],
)
def test_the_classes_that_are_named_count_in_the_files_order(folder, monkeypatch, classes, counted):
    (folder / "classes.txt").write_text("shoe\ncup\n")
    monkeypatch.chdir(folder)
    config = config_of(folder, "val", metainfo={"classes": classes})
    datasets = built(config)
    assert datasets.classes == [counted] and name_each(datasets) == truth(annotations_of(folder), counted)
    said, found = check(config)
    assert f"{len(counted)} classes" in said and not any(one.startswith("ERROR") for one in found)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("lampe", r"no category 'lampe' \(did you mean 'lamp'\?\)"),
        ("cup,lamp", "no category 'cup,lamp'"),
        (("cup", "cup"), "names 'cup' 2 times"),
        (("cup", 3), r"metainfo\.classes\[1\] is 3"),
        ((), r"metainfo\.classes is empty"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused_in_training_and_by_check(folder, classes, says):
    config = config_of(folder, "val", metainfo={"classes": classes})
    with pytest.raises(UserError, match=says):
        built(config)
    assert any(one.startswith("ERROR") for one in check(config)[1])


def test_a_name_that_the_file_has_twice_is_two_classes(folder):
    content = annotations_of(folder)
    content["categories"][2]["name"] = "cup"
    write_annotations(folder, content)
    datasets = built(config_of(folder, "val", metainfo={"classes": ("cup", "lamp", "cup")}))
    assert datasets.classes == [["cup", "lamp", "cup"]]
    assert {label for some in labels(datasets) for label in some} == {0, 1, 2}


@pytest.mark.parametrize("kind", ["CocoDataset", "Objects365V1Dataset", "Objects365V2Dataset"])
def test_labels_and_names_go_together_whatever_the_order_of_ids(folder, kind):
    """Objects365V1Dataset sorts the categories by id; the others keep the file's order, as embed does."""
    content = annotations_of(folder)
    content["categories"] = [content["categories"][place] for place in (2, 0, 1)]
    write_annotations(folder, content)
    if kind == "Objects365V1Dataset":
        (folder / "all.json").rename(folder / "objects365_train.json")
    ann_file = "objects365_train.json" if kind == "Objects365V1Dataset" else "all.json"
    config = config_of(folder, "val", type=kind, ann_file=ann_file)
    datasets = built(config)
    assert name_each(datasets) == truth(content)
    in_file = categories_of(folder / ann_file)
    assert in_file == ["shoe", "cup", "lamp"]
    assert datasets.classes == [sorted(in_file) if kind == "Objects365V1Dataset" else in_file]
    subject = Subject("val", 0, from_plain(config["dataset"]), {}, 0)
    look_at(subject)
    assert subject.classes == datasets.classes[0]


def agnostic(folder, **dataset):
    """The data sets with and without class_agnostic, which differ in labels alone."""
    plain, without = (built(config_of(folder, "val", **dataset, **more)) for more in ({}, {"class_agnostic": True}))
    assert len(plain) == len(without)
    for index in range(len(plain)):
        one, other = samples.load(plain, index, 0), samples.load(without, index, 0)
        assert (one.image == other.image).all() and (one.boxes == other.boxes).all()
        assert one.image_id == other.image_id and not other.labels.any()
    gather(without, config_of(folder, "val", **dataset))
    return without


@pytest.mark.parametrize(
    "change",
    [
        "text ids",
        "float sizes",
        "category ids that are text",
        "no annotations",
        "categories out of order",
        "numbers in other keys",
    ],
)
@pytest.mark.parametrize("resized", [True, False])
def test_class_agnostic_needs_nothing_that_the_data_set_does_not(folder, change, resized):
    content = annotations_of(folder)
    if change == "text ids":
        for image in content["images"]:
            image["id"] = f"a{image['id']}"
        for one in content["annotations"]:
            one["image_id"], one["id"] = f"a{one['image_id']}", f"b{one['id']}"
    elif change == "float sizes":
        for image in content["images"]:
            image["width"], image["height"] = float(image["width"]), float(image["height"])
    elif change == "category ids that are text":
        for one in content["categories"]:
            one["id"] = f"c{one['id']}"
        for one in content["annotations"]:
            one["category_id"] = f"c{one['category_id']}"
    elif change == "no annotations":
        del content["annotations"]
    elif change == "categories out of order":
        content["categories"].reverse()
    else:
        content["info"], content["licenses"] = None, 3
    write_annotations(folder, content)
    pipeline = VAL_PIPELINE if resized else tuple(step for step in VAL_PIPELINE if step["type"] != "Resize")
    assert len(agnostic(folder, metainfo=None, pipeline=pipeline)) == IMAGES
    said, found = check(config_of(folder, "val", metainfo=None, pipeline=pipeline, class_agnostic=True))
    assert f"{IMAGES} images" in said and not any(one.startswith("ERROR") for one in found)


def test_class_agnostic_works_with_vocs_files(folder):
    content = annotations_of(folder)
    (folder / "Annotations").mkdir()
    shutil.copytree(folder / "images", folder / "JPEGImages")
    for image in content["images"]:
        boxes = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        objects = "".join(
            f"<object><name>{CLASSES[one['category_id'] - 1]}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w + 1}</xmax><ymax>{y + h + 1}</ymax></bndbox></object>"
            for one in boxes
            for x, y, w, h in [one["bbox"]]
        )
        size = f"<size><width>{image['width']}</width><height>{image['height']}</height></size>"
        name = image["file_name"].removesuffix(".jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    (folder / "all.txt").write_text("".join(f"{image['file_name'][:-4]}\n" for image in content["images"]))
    voc = {"type": "VOCDataset", "ann_file": "all.txt", "data_prefix": {"sub_data_root": str(folder)}}
    agnostic(folder, **voc)
    assert built(config_of(folder, "val", **voc | {"metainfo": {"classes": "lamp"}})).classes == [["lamp"]]
    without_names = built(config_of(folder, "val", **voc, metainfo=None, class_agnostic=True))
    assert len(without_names) == IMAGES


def test_class_agnostic_works_with_openimages_files(folder):
    dataset = write_open_images(folder, folder)
    without = agnostic(folder, **dataset)
    assert len(without) == IMAGES - 1  # the image without a box is in none of OpenImages' files
    assert sum(len(some) for some in labels(without)) == len(annotations_of(folder)["annotations"])
    assert built(config_of(folder, "val", **dataset)).classes == [["thing", *CLASSES]]


@pytest.fixture
def lvis(monkeypatch):
    """The package's reader, as far as MMDetection's data sets need it."""

    class LVIS(COCO):
        cat_img_map = property(lambda self: self.catToImgs)

        def get_cat_ids(self):
            return list(self.cats)

        def get_img_ids(self):
            return list(self.imgs)

        def load_imgs(self, ids):
            return [self.imgs[one] for one in ids]

        def get_ann_ids(self, img_ids):
            return self.getAnnIds(img_ids)

        def load_anns(self, ids):
            return self.loadAnns(ids)

    module = types.ModuleType("lvis")
    module.LVIS = LVIS
    monkeypatch.setitem(sys.modules, "lvis", module)


@pytest.mark.usefixtures("lvis")
def test_class_agnostic_works_with_lvis_whose_files_have_coco_url(folder):
    content = copy.deepcopy(annotations_of(folder))
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/images/{image.pop('file_name')}"
    write_annotations(folder, content)
    dataset = {"type": "LVISV1Dataset", "metainfo": None, "data_prefix": {"img": ""}}
    assert len(agnostic(folder, **dataset)) == IMAGES
    datasets = built(config_of(folder, "val", **dataset))
    assert datasets.classes == [CLASSES] and name_each(datasets) == truth(content)


def test_the_remedy_for_rows_in_another_order_works(folder):
    """The guide's way: embed by the annotations, then check; and the way out of older rows, by id."""
    content = annotations_of(folder)
    content["categories"] = [content["categories"][place] for place in (2, 0, 1)]
    write_annotations(folder, content)
    classes = built(config_of(folder, "val", metainfo=None)).classes[0]
    write_embeddings(folder / "old.npy", np.arange(12.0).reshape(3, 4), CLASSES)
    found = Findings()
    compare(classes, {"zeroshot_path": str(folder / "old.npy")}, 0, True, found)
    assert any("embed --annotations A.json --rows-of E.npy --out NEW.npy" in str(one) for one in found)
    files = ["--annotations", folder / "all.json", "--rows-of", folder / "old.npy", "--out", folder / "new.npy"]
    assert main(["embed", *map(str, files)]) == 0
    found = Findings()
    compare(classes, {"zeroshot_path": str(folder / "new.npy")}, 0, True, found)
    assert list(found) == []
    assert np.load(folder / "new.npy")[:, 0].tolist() == [8, 0, 4]
    assert json.loads((folder / "new.names.json").read_text()) == classes == ["shoe", "cup", "lamp"]

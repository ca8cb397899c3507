"""Random annotation files that are not COCO's, OpenImages' CSV and VOC's XML, with the quirks of real ones."""

from __future__ import annotations

import csv
import json
import pickle
import random
from pathlib import Path
from typing import Any

NAMES = ("cup", "lamp", "naïve \U0001f6f8", 'quo"ted', "a, b")


def write_open_images(folder: Path, seed: int) -> dict[str, Any]:
    """OpenImages' four files; returns what the data set's config says of them."""
    draw = random.Random(seed)
    quirk = draw.random
    labels = [f"/m/{number:02}x" for number in range(len(NAMES))]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(zip(labels, NAMES, strict=True))
    tree = {"LabelName": "/m/0", "Subcategory": [{"LabelName": one} for one in labels[:2]]}
    (folder / "hierarchy.json").write_text(json.dumps(tree))
    images = [f"{draw.randrange(16**12):012x}" for _ in range(draw.randint(1, 9))]
    if quirk() < 0.2:
        images.append(images[0])  # its boxes stand in two places
    rows, metas = [], []
    columns = draw.choice((13, 13, 21))
    for image in images:
        metas.append({"filename": f"a/b/{image}.jpg", "ori_shape": (draw.randint(1, 999), draw.randint(1, 999), 3)})
        for _ in range(draw.randint(1, 6)):
            shares = ("0", "1", "0.5", "1e-3", f"{quirk():.6f}", repr(quirk()), " 0.25 ")
            edges = [draw.choice(shares) for _ in range(4)]
            flags = [draw.choice(("0", "0", "1", "-1", "01", " 1")) for _ in range(5)]
            row = [image, "xclick", draw.choice(labels), "1", *edges, *flags, *["0.1"] * 8]
            rows.append(row[:columns])
    spoilt = draw.randrange(12)
    if spoilt == 0:
        rows[-1] = rows[-1][:12]
    elif spoilt == 1:
        rows[0][5] = "wide"
    elif spoilt == 2:
        rows[-1][2] = "/m/unknown"
    elif spoilt == 3:
        metas.pop()
    elif spoilt == 4:
        metas[0]["filename"] = "other.jpg"
    elif spoilt == 5:
        metas[0]["ori_shape"] = (1.5, 2, 3)
    elif spoilt == 6:
        rows.clear()
    header = draw.choice((["ImageID", "Source", "LabelName"], ["header"], ["a"] * columns))
    lines = [",".join(row) for row in (header, *rows)]
    if quirk() < 0.1 and rows:
        lines[-1] = lines[-1].replace("xclick", '"x,\nclick"')
    ending = draw.choice(("\n", "\n", "\r\n"))
    text = ending.join(lines) + draw.choice(("", ending))
    (folder / "boxes.csv").write_bytes(text.encode())
    (folder / "metas.pkl").write_bytes(pickle.dumps(metas, protocol=draw.randint(0, 5)))
    return {
        "type": "OpenImagesDataset",
        "ann_file": str(folder / "boxes.csv"),
        "label_file": str(folder / "labels.csv"),
        "hierarchy_file": str(folder / "hierarchy.json"),
        "meta_file": str(folder / "metas.pkl"),
        "data_prefix": {"img": "pictures/"},
    }


def write_voc(folder: Path, seed: int) -> dict[str, Any]:
    """A list of images and a folder of XML files; returns what the data set's config says of them."""
    draw = random.Random(seed)
    annotations = draw.choice(("Annotations", "xml/of them"))
    (folder / annotations).mkdir(parents=True)
    images = [f"{draw.choice(('é ', '', '2007_'))}{number:06}" for number in range(draw.randint(1, 9))]
    spoilt = draw.randrange(12)
    for number, image in enumerate(images):
        objects = "".join(_object(draw, spoilt if number == len(images) - 1 else -1) for _ in range(draw.randint(0, 6)))
        size = f"<size><width>{draw.randint(0, 600)}</width><height> {draw.choice((1, 31, 32, 500))}\n</height></size>"
        if spoilt == 0 and number == 0:
            size = size.replace("<width>", "<width>1.5")
        text = f"<annotation><folder>&amp;</folder>{size}{objects}</annotation>"
        (folder / annotations / f"{image}.xml").write_text(text, encoding="utf-8")
    if spoilt == 1:
        (folder / annotations / f"{images[0]}.xml").write_text("<annotation>")
    elif spoilt == 2:
        images.append("gone")
    elif spoilt == 3:
        images.append(images[0])
    (folder / "all.txt").write_text("\n".join(images) + draw.choice(("", "\n")), encoding="utf-8")
    return {
        "type": draw.choice(("VOCDataset", "XMLDataset")),
        "ann_file": str(folder / "all.txt"),
        "ann_subdir": annotations,
        "data_prefix": {"sub_data_root": str(folder)},
        "metainfo": {"classes": NAMES[: draw.randint(1, len(NAMES))]},
        "filter_cfg": draw.choice(
            (
                None,
                {"filter_empty_gt": True, "min_size": 32},
                {"filter_empty_gt": True},
                {"min_size": 20, "bbox_min_size": 30},
                {"bbox_min_size": 0},
            )
        ),
    }


def _object(draw: random.Random, spoilt: int) -> str:
    def edge() -> str:
        value = draw.uniform(-5, 600)
        return draw.choice((f"{value:.0f}", f"{value:.2f}", f" {value} ", f"{value:e}"))

    edges = "".join(f"<{name}>{edge()}</{name}>" for name in ("xmin", "ymin", "xmax", "ymax"))
    name = draw.choice((*NAMES, "uncounted")).replace('"', "&quot;")
    difficult = draw.choice(("", "<difficult>0</difficult>", "<difficult>1</difficult>", "<difficult> 2 </difficult>"))
    if spoilt == 4:
        edges = edges.replace("<ymax>", "<y>").replace("</ymax>", "</y>")
    elif spoilt == 5:
        name = "uncounted</name><name>"
        edges = ""
    elif spoilt == 6:
        edges = edges.replace("<xmin>", "<xmin>9999999999")
    return f"<object><name>{name}</name><part><name>cup</name></part>{difficult}<bndbox>{edges}</bndbox></object>"

"""Random annotation files in COCO's format, with every quirk that real ones have."""

from __future__ import annotations

import json
import random
from typing import Any

NAMES = ("cup", "lamp", "shoe", "naïve \U0001f6f8", 'quo"ted', "a}, {b")
NASTY = ("plain", '"}, {"', "}]", "\\", "é\u2028", "[{]}", 'a": [{"id": 1}, {"id', "\t\n", "{" * 3)


def content(seed: int) -> dict[str, Any]:
    """A file's content; the same for the same seed."""
    draw = random.Random(seed)
    quirk = draw.random
    text_ids = quirk() < 0.25
    images = [_image(draw, number, text_ids) for number in range(draw.randint(0, 12))]
    draw.shuffle(images)
    categories = [
        {"id": number * 3 + 1, "name": name, **({"supercategory": draw.choice(NASTY)} if quirk() < 0.5 else {})}
        for number, name in enumerate(NAMES[: draw.randint(1, len(NAMES))])
    ]
    draw.shuffle(categories)
    annotations = []
    for number in range(draw.randint(0, 40) if images else 0):
        image = draw.choice(images)["id"] if quirk() < 0.95 else ("gone" if text_ids else 10**6)
        category = draw.choice(categories)["id"] if quirk() < 0.95 else 999
        annotations.append(_annotation(draw, number, image, category))
    draw.shuffle(annotations)
    lists = {"images": images, "annotations": annotations, "categories": categories}
    if quirk() < 0.1:
        _spoil(draw, lists)
    if quirk() < 0.5:
        lists["info"] = {"description": draw.choice(NASTY), "more": [[1, {"a": "}"}], None, 1.5]}
    if quirk() < 0.3:
        lists["licenses"] = [{"url": one, "id": number} for number, one in enumerate(NASTY)]
    order = list(lists)
    draw.shuffle(order)
    return {key: lists[key] for key in order}


def text(seed: int) -> str:
    """The file of `content`, in some style of spacing and escaping."""
    draw = random.Random(-1 - seed)
    indent = draw.choice((None, None, 0, 1, "\t"))
    separators = draw.choice((None, (",", ":"), (" ,\n", " : ")))
    spaces = draw.choice(("", " ", "\n\n"))
    written = json.dumps(content(seed), indent=indent, separators=separators, ensure_ascii=draw.random() < 0.5)
    return spaces + written + spaces


def _image(draw: random.Random, number: int, text_ids: bool) -> dict[str, Any]:
    name = (
        draw.choice(("", "patch6/", "images/v1/patch6/", "a//b/"))
        + f"{draw.choice(('COCO_x', 'é', ''))}_{number:012}.jpg"
    )
    if draw.random() < 0.05:
        name = draw.choice(("images/v2/patch16/objects365_v2_00908726.jpg", "objects365_v2_00908726.jpg"))
    sides = {"height": draw.choice((0, 1, 20, 480, 2**20)), "width": draw.choice((1, 31, 32, 640))}
    found = {
        "id": f"i{number}é" if text_ids else draw.choice((number, -number, number + 2**40)),
        "file_name": name,
        **sides,
    }
    if draw.random() < 0.8:
        found["coco_url"] = f"http://images.cocodataset.org/train2017/{number}.jpg"
    return _shuffled(draw, {**found, **_extra(draw)})


def _annotation(draw: random.Random, number: int, image: Any, category: int) -> dict[str, Any]:
    def edge(low: float, high: float) -> float:
        value = draw.uniform(low, high)
        return draw.choice((round(value), round(value, 2), value, float(round(value))))

    found = {"id": number * 7, "image_id": image, "category_id": category}
    found["bbox"] = [edge(-30, 650), edge(-30, 500), edge(-1, 90), edge(0, 90)]
    found["area"] = draw.choice((0, 1, -1.5, 0.25, 1e3, 12345678901))
    if draw.random() < 0.7:
        found["iscrowd"] = draw.choice((0, 0, 0, 1, True, False))
    if draw.random() < 0.2:
        found["ignore"] = draw.choice((0, 1, True, False))
    outlines = ([], [[]], [[1, 2.5, 3, 4, 5, 6]], [[1, 2], [3]], {"counts": "ab}, {", "size": [3, 4]}, {}, None)
    if draw.random() < 0.5:
        found["segmentation"] = draw.choice(outlines)
    return _shuffled(draw, {**found, **_extra(draw)})


def _extra(draw: random.Random) -> dict[str, Any]:
    return {
        key: draw.choice((draw.choice(NASTY), [{"id": 1}, {"id": 2}], {"x": [{}, {}]}, None, 1.5, []))
        for key in ("note", "parts", 'b"', "segment")
        if draw.random() < 0.2
    }


def _shuffled(draw: random.Random, entry: dict[str, Any]) -> dict[str, Any]:
    if draw.random() < 0.8:
        return entry
    keys = list(entry)
    draw.shuffle(keys)
    return {key: entry[key] for key in keys}


def _spoil(draw: random.Random, lists: dict[str, Any]) -> None:
    """Something that an index does not take in, whether MMDetection does or not."""
    images, annotations, categories = lists["images"], lists["annotations"], lists["categories"]
    some = annotations or [{}]
    kind = draw.randrange(8)
    if kind == 0 and images:
        images[0]["width"] = 32.5
    elif kind == 1 and images:
        images.append({**images[0], "height": 77})
    elif kind == 2:
        some[0]["iscrowd"] = 2
    elif kind == 3:
        some[0]["id"] = some[-1].get("id", 0)
    elif kind == 4:
        some[0]["bbox"] = ["1", 2, 3, 4]
    elif kind == 5:
        some[0].pop("area", None)
    elif kind == 6:
        categories.append({**categories[0], "name": "other"})
    else:
        some[0]["image_id"] = 2**70

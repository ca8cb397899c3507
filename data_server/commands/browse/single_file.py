"""The page as one file that needs no server: what the paths of `app` would answer, beside the script that asks.

    splits ── outline, samples, numbers, findings, ... ──► held, JSON ──┐
    page/index.html, its script, its style sheet ───────────────────────┴──► FILE

    held    "data", "S?", "S/numbers?source=0", ...    what is answered there; ``{"error": "one line"}``: a failure
            "S/samples?"                               some of the stream's images as the trainer gets them

The file asks nobody for anything: its Content-Security-Policy allows this script, this style sheet and pictures within.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from data_server.commands.browse import numbers, pictures
from data_server.commands.browse.alike import alike
from data_server.commands.browse.app import PAGE
from data_server.commands.browse.catalogue import Catalogue
from data_server.commands.browse.splits import Splits
from data_server.datasets.samples import BadSample
from shared import web
from shared.errors import UserError

EDGE = 800  # pixels: the longer side of a picture, at most

Held = dict[str, Any]


def held(splits: Splits, count: int, say: Callable[[str], None]) -> Held:
    """What the file answers; of each split it has `count` samples, or one of each image where there are fewer.

    Args:
        say: told what is being done.
    """
    found: Held = {"data": splits.outline() | {"written": time.strftime("%Y-%m-%d")}}
    for split in splits.names:
        say(f"{split}: pictures and numbers")
        try:
            found |= _of_split(splits, split, splits.opened(split), count)
        except UserError as error:
            found[f"{split}?"] = {"error": str(error)}
        say(f"{split}: what check finds")
        found[f"{split}/findings?"] = {"findings": splits.findings(split)}
    return found


def _of_split(splits: Splits, split: str, catalogue: Catalogue, count: int) -> Held:
    found: Held = {f"{split}?": catalogue.outline(), f"{split}/samples?": samples(catalogue, count)}
    each = range(len(catalogue.parts)) if len(catalogue.parts) > 1 else ()
    for source in (None, *each):
        query = "" if source is None else f"source={source}"
        found[f"{split}/numbers?{query}"] = numbers.numbers(catalogue, source)
        found[f"{split}/brightness?{query}"] = numbers.brightness(catalogue, source)
        try:
            found[f"{split}/alike?{query}"] = alike(catalogue, source or 0, splits.head)
        except UserError as error:
            found[f"{split}/alike?{query}"] = {"error": str(error)}
    return found


def samples(catalogue: Catalogue, count: int) -> dict[str, Any]:
    """``images``, samples of images that are spread over the stream, the first by seed 0, the next by seed 1 and so on;
    ``of``, how many images the stream has. An image is as `Catalogue.entry` and `pictures.sample` have it, with
    ``classes``, the names that are annotated in its file; one that cannot be used has an ``error``."""
    images = len(catalogue.datasets)
    indices = np.unique(np.linspace(0, images - 1, count).round().astype(int)).tolist()
    return {"of": images, "images": [_sample(catalogue, index, seed) for seed, index in enumerate(indices)]}


def _sample(catalogue: Catalogue, index: int, seed: int) -> dict[str, Any]:
    try:
        made = pictures.sample(catalogue, index, seed, False, EDGE)
        place = made["place"]
    except (UserError, BadSample) as error:
        made = {"boxes": [], "names": [], "error": str(error)}
        part, row = catalogue.datasets.locate(index)
        place = int(catalogue.starts[part.dataset_id]) + row
    entry = catalogue.entry(place)
    names = catalogue.parts[entry["source"]].classes
    classes = sorted({names[box[4]] for box in entry["boxes"] if 0 <= box[4] < len(names)})
    return {**entry, **made, "seed": str(seed), "classes": classes}


def page(answers: Held) -> bytes:
    """The whole file."""
    files = {kind: content.decode() for kind, content in web.page_files(PAGE, "browse").items()}
    allowed = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in files.items()}
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed['js']}'; style-src 'sha256-{allowed['css']}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(answers, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c")  # no tag begins in it
    head = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">'
    tail = f'<script type="application/json" id="held">{data}</script>\n<script>{files["js"]}</script>\n</body>'
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for old, new in {
        '<script src="browse.js" defer></script>': "",
        '<link rel="stylesheet" href="browse.css">': f"<style>{files['css']}</style>",
        '<meta charset="utf-8">': head,
        "<body>": '<body class="alone">',
        "</body>": tail,
    }.items():
        text = text.replace(old, new, 1)
    return text.encode()

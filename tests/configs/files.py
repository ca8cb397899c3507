"""The vocabulary files that a config names, made up, where the config looks for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trainer.vocabulary import calibration
from trainer.vocabulary.calibration import Calibration

ROWS = {"coco": 80, "objects365": 365, "oid": 500, "lvis": 1230}  # by the first word of their file names


def write(head: dict, length: int) -> None:
    """Writes the files of a config's bbox_head: random embeddings of that `length`, with the rows that the published
    ones have, and image counts with a class that no image shows."""
    paths = head.get("zeroshot_path")
    paths = paths if isinstance(paths, list) else [paths] * bool(paths)
    counts = head.get("cat_freq_path") or [None] * len(paths)
    for path, frequencies in zip(map(Path, paths), counts, strict=True):
        rows = ROWS[path.name.split("_")[0]]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(rows).standard_normal((rows, length)).astype(np.float16))
        if frequencies:
            Path(frequencies).parent.mkdir(parents=True, exist_ok=True)
            categories = [{"id": i + 1, "image_count": i} for i in range(rows)]
            Path(frequencies).write_text(json.dumps(categories))


def write_calibration(head: dict, folder: Path) -> str:
    """A calibration for the vocabulary that `write` has written, with a class that was never detected; its path."""
    classes = head["num_classes"]
    embeddings = np.load(head["zeroshot_path"]).astype(np.float32)
    names = [f"class {i}" for i in range(classes)]
    path = folder / "calibration.json"
    calibration.save(path, Calibration(names, calibration.digest(embeddings), 0.6, list(range(classes)), 9))
    return str(path)

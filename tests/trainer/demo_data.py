"""A small form of the demo's data, with proposals beside its pictures, for trainings that a test starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from data_server.demo import scenes
from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import Writer

SETS = ("train_a", "train_b", "val_base", "val_never_seen")


def generate(out: Path, train_images: int, val_images: int) -> Path:
    """Writes the data to `out`, and to ``out/proposals`` the true boxes, moved a little, and some that are none."""
    scenes.generate(out, seed=1, train_images=train_images, val_images=val_images)
    chance = np.random.default_rng(1)
    for name in SETS:
        content = json.loads((out / f"{name}.json").read_text())
        found: dict[int, list[np.ndarray]] = {image["id"]: [] for image in content["images"]}
        for one in content["annotations"]:
            found[one["image_id"]].append(np.array(one["bbox"]) + chance.normal(0, 3, 4))
        for boxes in found.values():
            boxes += list(chance.uniform((0, 0, 8, 8), (100, 60, 90, 80), (20, 4)))
        rows = np.concatenate(list(found.values()))
        rows[:, 2:] = rows[:, :2] + np.maximum(rows[:, 2:], 4)
        images = [(image["id"], f"{name}/{image['file_name']}") for image in content["images"]]
        writer = Writer(out / "proposals", name, ImageNames.of(images), "5f" * 16, "a test")
        writer.append(0, np.array([len(boxes) for boxes in found.values()]), np.insert(rows, 4, 0.5, axis=1))
        writer.finish()
    return out

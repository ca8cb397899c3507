"""Files of proposals that tests are made with."""

import numpy as np

from data_server.files.proposal_file import Writer
from tests.photos import annotations_of

MODEL = "5f" * 16


def true_boxes(folder) -> dict[int, np.ndarray]:
    """As proposals with descending scores, f32 (n,5), by image id: the image without boxes has none."""
    content = annotations_of(folder)
    found = {image["id"]: [] for image in content["images"]}
    for one in content["annotations"]:
        x, y, w, h = one["bbox"]
        found[one["image_id"]].append([x, y, x + w, y + h, 0.9 - 0.1 * len(found[one["image_id"]])])
    return {identity: np.array(rows, np.float32).reshape(-1, 5) for identity, rows in found.items()}


def write(folder, proposals=None, order=None, model=MODEL, title="all"):
    """A file of ours in `folder`/proposals."""
    proposals = true_boxes(folder) if proposals is None else proposals
    images = [(image["id"], f"images/{image['file_name']}") for image in annotations_of(folder)["images"]]
    images = images if order is None else [images[place] for place in order]
    writer = Writer(folder / "proposals", title, images, model, "a test")
    rows = [proposals[identity] for identity, _ in images]
    writer.append(0, np.array([len(one) for one in rows]), np.concatenate(rows))
    writer.finish()
    return writer.path

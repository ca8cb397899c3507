"""Files of proposals that tests are made with."""

import numpy as np

from data_server.files.image_names import ImageNames
from data_server.files.proposal_file import ProposalFile, Writer
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
    writer = Writer(folder / "proposals", title, ImageNames.of(images), model, "a test")
    rows = [proposals[identity] for identity, _ in images]
    writer.append(0, np.array([len(one) for one in rows]), np.concatenate(rows))
    writer.finish()
    return writer.path


def as_killed(path, done):
    """A finished file becomes the one that a process had when it was killed with `done` images and half a row."""
    content = bytearray(path.read_bytes())
    file = ProposalFile.open(path)
    start = 8 + int.from_bytes(content[:8], "little")
    content[8:start] = bytes(start - 8)
    content[start + 8 * done : start + 8 * len(file.counts)] = b"\xff" * 8 * (len(file.counts) - done)
    del content[len(content) - file.rows[file.counts[:done].sum() :].nbytes :]
    path.with_name(path.name + ".growing").write_bytes(content + b"half a row")
    path.unlink()

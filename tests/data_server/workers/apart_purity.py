"""What tells two samples apart."""

import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from data_server.workers import purity


def digest(**changed):
    boxes, masks = HorizontalBoxes(torch.ones(1, 4)), BitmapMasks(np.zeros((1, 2, 2), np.uint8), 2, 2)
    plain = {"flip": None, "scale": 1.5, "size": (3, [4]), "name": "a", "crowd": False, "boxes": boxes, "masks": masks}
    return purity._digest({**plain, "image": np.zeros(4, np.uint8), **changed})


def test_samples_that_differ_in_one_value_of_any_kind_have_another_digest():
    others = {
        "flip": ["horizontal"],
        "scale": [1.25, "1.5"],
        "size": [(4, [3]), (3, [5])],
        "name": ["b", None],
        "crowd": [True],
        "boxes": [HorizontalBoxes(torch.zeros(1, 4))],
        "masks": [BitmapMasks(np.ones((1, 2, 2), np.uint8), 2, 2)],
        "image": [np.ones(4, np.uint8), np.zeros(4, np.int8), np.zeros((2, 2), np.uint8)],
        "another": [None],
    }
    found = [digest()] + [digest(**{key: value}) for key, values in others.items() for value in values]
    assert len(set(found)) == len(found)


def test_samples_of_the_same_values_have_one_digest():
    assert digest(image=torch.zeros(4).byte()) == digest()
    assert purity._digest({"a": 1, 2: "b"}) == purity._digest({2: "b", "a": 1})

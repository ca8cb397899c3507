"""Bounds of images' edges: what MMDetection's transforms make of random images stays below them, and reaches them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from data_server.datasets.edges import Edges, Lie, along

LARGEST = Edges(120, 90)
FLIP = {"type": "RandomFlip", "prob": 0.5}


def made(pipeline, width, height):
    """Width and height of an image that has been through a pipeline; None where it is rejected."""
    middle = np.array([[width / 4, height / 4, width * 0.75, height * 0.75]], np.float32)
    results = {
        "img": np.zeros((height, width, 3), np.float32),
        "img_shape": (height, width),
        "gt_bboxes": HorizontalBoxes(middle),
        "proposals": HorizontalBoxes(middle),
        "gt_bboxes_labels": np.zeros(1, np.int64),
        "gt_ignore_flags": np.zeros(1, bool),
    }
    results = pipeline(results)
    return None if results is None else results["img"].shape[1::-1]


EXACT = {
    "Resize": [{"type": "Resize", "scale": (64, 40), "keep_ratio": False}],
    "Resize keeps the ratio": [{"type": "Resize", "scale": (200, 150), "keep_ratio": True}],
    "Resize by a factor": [{"type": "Resize", "scale_factor": 1.5, "keep_ratio": True}],
    "Resize by two factors": [{"type": "Resize", "scale_factor": (0.5, 2.0)}],
    "FixScaleResize": [{"type": "FixScaleResize", "scale": (200, 150), "keep_ratio": True}],
    "FixShapeResize": [{"type": "FixShapeResize", "width": 80, "height": 70, "keep_ratio": True}],
    "ResizeShortestEdge": [{"type": "ResizeShortestEdge", "scale": 60, "max_size": 80}],
    "RandomChoiceResize": [{"type": "RandomChoiceResize", "scales": [(64, 48), (128, 96)], "keep_ratio": False}],
    "RandomResize between scales": [{"type": "RandomResize", "scale": [(64, 40), (66, 42)], "keep_ratio": False}],
    "RandomCrop": [{"type": "RandomCrop", "crop_size": (100, 60)}],
    "RandomCrop of a range": [{"type": "RandomCrop", "crop_size": (50, 52), "crop_type": "absolute_range"}],
    "RandomCrop of a part": [{"type": "RandomCrop", "crop_size": (0.5, 0.8), "crop_type": "relative"}],
    "LSJ": [
        {"type": "RandomResize", "scale": (128, 128), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (96, 96), "recompute_bbox": True},
        {"type": "Pad", "size": (96, 96)},
    ],
    "Pad": [{"type": "Pad", "size": (110, 130)}],
    "Pad to a multiple": [{"type": "Pad", "size_divisor": 32}],
    "Pad to a square": [{"type": "Pad", "pad_to_square": True}],
    "RandomAffine": [{"type": "RandomAffine", "border": (-10, 6)}],
    "RandomChoice": [
        {
            "type": "RandomChoice",
            "transforms": [
                [{"type": "Resize", "scale": (64, 48), "keep_ratio": False}],
                [{"type": "Resize", "scale_factor": 1.2}, {"type": "RandomCrop", "crop_size": (130, 40)}],
            ],
        }
    ],
    "RandomApply": [{"type": "RandomApply", "prob": 0.5, "transforms": [{"type": "Resize", "scale_factor": 2.0}]}],
    "a wrapper": [
        {
            "type": "ProposalBroadcaster",
            "transforms": [{"type": "Resize", "scale": (64, 48), "keep_ratio": False}, FLIP],
        }
    ],
    "nothing": [FLIP],
}
BELOW = {  # the most is drawn almost never
    "RandomResize": [{"type": "RandomResize", "scale": (64, 40), "ratio_range": (0.5, 2.0), "keep_ratio": False}],
    "RandomCrop of a part's range": [{"type": "RandomCrop", "crop_size": (0.5, 0.8), "crop_type": "relative_range"}],
    "MinIoURandomCrop": [{"type": "MinIoURandomCrop"}],
    "Expand": [{"type": "Expand", "ratio_range": (1, 2)}, {"type": "Resize", "scale_factor": 0.5}],
    "RandomCenterCropPad": [
        {
            "type": "RandomCenterCropPad",
            "crop_size": (60, 60),
            "ratios": (0.6, 1.4),
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "to_rgb": True,
            "test_pad_mode": None,
        },
    ],
}


def sizes(pipeline, count=60):
    """Of what images of all sizes below LARGEST become, those as large as it first."""
    DefaultScope.get_instance("edges", scope_name="mmdet")
    random.seed(3)
    np.random.seed(3)
    built = Compose([TRANSFORMS.build(step) for step in pipeline])
    some = [(120, 90), (90, 120)] * 10
    some += [(random.randint(40, 120), random.randint(30, 90)) for _ in range(count)]
    some += [(high, wide) for wide, high in some[20:]]
    return built, [size for size in (made(built, *one) for one in some) if size is not None]


@pytest.mark.parametrize("name", EXACT)
def test_the_largest_images_reach_their_bound_and_none_is_beyond(name):
    built, found = sizes(EXACT[name])
    assert Edges.of(found)[:2] == along(built.transforms, LARGEST)[:2]


@pytest.mark.parametrize("name", BELOW)
def test_of_what_is_drawn_at_random_none_is_beyond(name):
    built, found = sizes(BELOW[name])
    bound = along(built.transforms, LARGEST)
    largest = Edges.of(found)
    assert largest.long <= bound.long <= 1.5 * largest.long and largest.short <= bound.short <= 1.5 * largest.short


@pytest.mark.parametrize("name", [*EXACT, *BELOW])
def test_images_lie_as_their_edges_say(name):
    """Of the images that may be in one batch, wide ones and high ones, one by one as they were."""
    built, _ = sizes((EXACT | BELOW)[name], 0)
    long, short, lie = along(built.transforms, LARGEST)
    for wide in (True, False):
        some = [made(built, *(size if wide else size[::-1])) for size in ((120, 90), (110, 60), (64, 60)) * 12]
        width, height = np.max([size for size in some if size is not None], axis=0)
        most = {Lie.KEPT: (long, short) if wide else (short, long), Lie.WIDE: (long, short), Lie.HIGH: (short, long)}
        if lie in most:
            assert width * height <= long * short, (wide, width, height)
            assert lie == Lie.KEPT or (width <= most[lie][0] and height <= most[lie][1])


def test_without_sizes_in_the_annotations_a_pipeline_has_to_say_them():
    def bound(*steps):
        DefaultScope.get_instance("edges", scope_name="mmdet")
        return along([TRANSFORMS.build(step) for step in steps], None)

    assert bound({"type": "Resize", "scale": (64, 48)}) == Edges(64, 48, Lie.WIDE)
    assert bound({"type": "RandomCrop", "crop_size": (100, 60)}) == Edges(100, 60, Lie.EITHER)
    unknown = [{"type": "Resize", "scale_factor": 2.0}, {"type": "Pad", "size_divisor": 32}, {"type": "Expand"}]
    assert bound(*unknown) is None
    assert bound({"type": "ResizeShortestEdge", "scale": 60}) is None

"""Images with ground truths and detections of all sorts, drawn at random."""

from __future__ import annotations

import numpy as np

from trainer.reporting.matches import Result


def draw(seed: int, crowds: bool = False) -> list[Result]:
    """Up to five images of at most four classes; some have no ground truth, some no detection."""
    random = np.random.default_rng(seed)
    classes = int(random.integers(1, 5))
    return [_image(random, classes, crowds) for _ in range(random.integers(1, 6))]


def _image(random: np.random.Generator, classes: int, crowds: bool) -> Result:
    truths, labels = _boxes(random, random.integers(0, 6), 40), random.integers(0, classes, 6)
    count = int(random.integers(0, 30))
    boxes, called = _boxes(random, count, 15), random.integers(0, classes, count)
    if len(truths):
        near, source = random.random(count) < 0.7, random.integers(0, len(truths), count)
        moved = truths[source] + random.normal(0, random.choice([1, 4, 10]), (count, 4))
        boxes = np.where(near[:, None], moved, boxes)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        called = np.where(random.random(count) < 0.6, labels[source], called)
    regions = _boxes(random, random.integers(1, 3) if crowds else 0, 80)
    return Result(
        "image",
        boxes,
        random.permutation(count) / 40 + 0.1,
        called,
        truths,
        labels[: len(truths)],
        regions,
        random.integers(0, classes, len(regions)),
    )


def _boxes(random: np.random.Generator, count: int, side: int) -> np.ndarray:
    corners = random.uniform(0, 60, (count, 2))
    return np.hstack([corners, corners + random.uniform(10, side, (count, 2))])

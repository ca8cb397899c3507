import numpy as np
import pytest

from data_server.demo.objects import BGR, MAX_SIZE, MIN_SIZE, Light, draw_object, outline
from data_server.demo.vocabulary import COLOURS, SHAPES

LIGHT = Light((0.6, -0.8), strength=1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_longer_side_of_an_object_spans_the_announced_sizes(shape):
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(60):
        mask = draw_object(rng, f"red {shape}", LIGHT).mask
        sides.append(max(np.ptp(np.flatnonzero(mask.any(0))), np.ptp(np.flatnonzero(mask.any(1)))) + 1)
    # A sharp tip thinner than half a pixel is not part of the mask; a border pixel may be.
    assert min(sides) >= MIN_SIZE - 5 and max(sides) <= MAX_SIZE + 1
    assert min(sides) < 25 and max(sides) > 80


@pytest.mark.parametrize("colour", COLOURS)
def test_an_object_is_nearest_to_the_colour_it_is_named_by(colour):
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        patch = draw_object(rng, f"{colour} {shape}", LIGHT)
        seen = np.median(patch.colours[patch.mask], axis=0)
        assert min(BGR, key=lambda word: np.linalg.norm(BGR[word] - seen)) == colour, shape


def test_a_ring_has_a_hole_and_a_circle_has_none():
    rng = np.random.default_rng(2)
    for shape, filled in [("ring", False), ("circle", True)]:
        mask = draw_object(rng, f"red {shape}", LIGHT).mask
        assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == filled


def test_outlines_are_antialiased():
    opacity = draw_object(np.random.default_rng(3), "red circle", LIGHT).opacity
    partial = (opacity > 0.05) & (opacity < 0.95)
    assert 0 < partial.sum() < 0.5 * (opacity > 0).sum()


def test_the_side_towards_the_light_is_brighter():
    rng = np.random.default_rng(4)
    for _ in range(20):
        patch = draw_object(rng, "green circle", Light((1.0, 0.0), strength=1.0))
        columns = np.flatnonzero(patch.mask.any(0))
        middle = (columns[0] + columns[-1]) // 2
        left, right = patch.mask.copy(), patch.mask.copy()
        left[:, middle:] = right[:, :middle] = False
        assert patch.colours[right].mean() > patch.colours[left].mean()


def test_no_two_shapes_cover_the_same_pixels():
    """Intersection over union of the filled outlines, each stretched to the same square."""
    grid = np.stack(np.meshgrid(np.linspace(-0.99, 0.99, 64), np.linspace(-0.99, 0.99, 64)), -1).reshape(-1, 2)
    filled = {}
    for shape in SHAPES:
        points = np.concatenate(outline(shape))
        low, high = points.min(0), points.max(0)
        inside = np.zeros(len(grid), bool)
        for contour in outline(shape):
            corners = (contour - low) / (high - low) * 2 - 1
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                if y0 != y1:
                    crosses = (y0 > grid[:, 1]) != (y1 > grid[:, 1])
                    inside ^= crosses & (grid[:, 0] < (x1 - x0) * (grid[:, 1] - y0) / (y1 - y0) + x0)
        filled[shape] = inside
    for first in SHAPES:
        for second in SHAPES:
            if first < second:
                overlap = (filled[first] & filled[second]).sum() / (filled[first] | filled[second]).sum()
                assert overlap < 0.95, (first, second)

"""Random boxes of every kind that a detector meets, for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The oracle, a fixture, keeps no state from one question to the next.
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

KINDS = ("ordinary", "crowd", "tiny", "outside", "no width", "no height", "a point", "whole image")


def draw_boxes(generator: np.random.Generator, kinds: list[str], extent: float) -> np.ndarray:
    """One box f32 (n,4) of each of `kinds` on an image of `extent` pixels."""
    crowd = generator.uniform(0.2, 0.6, 2) * extent
    rows = []
    for kind in kinds:
        corner, size = generator.uniform(0, 0.8, 2) * extent, generator.uniform(0.05, 0.5, 2) * extent
        if kind == "crowd":
            corner, size = crowd + generator.normal(0, 0.02, 2) * extent, np.full(2, 0.3 * extent)
        elif kind == "tiny":
            size = generator.uniform(0.1, 2, 2)
        elif kind == "outside":
            corner = generator.choice([-1.5, 1.2], 2) * extent
        elif kind == "no width":
            size[0] = 0
        elif kind == "no height":
            size[1] = 0
        elif kind == "a point":
            size[:] = 0
        elif kind == "whole image":
            corner, size = np.zeros(2), np.full(2, extent)
        rows.append([*corner, *(corner + size)])
    return np.array(rows, np.float32).reshape(-1, 4)


@st.composite
def boxes(draw: st.DrawFn, least: int = 0, most: int = 300, kinds: tuple[str, ...] = KINDS) -> np.ndarray:
    """f32 (n,4); sometimes on whole pixels, where areas are exact and overlaps often equal, and sometimes one box
    several times."""
    count = draw(st.one_of(st.sampled_from([least, max(least, 1), most]), st.integers(least, min(most, 40))))
    mixture = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=len(kinds), unique=True))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    extent = draw(st.sampled_from([32, 128, 1333]))
    rows = draw_boxes(generator, list(generator.choice(mixture, count)), extent)
    if draw(st.booleans()):
        rows = np.round(rows)
    if count > 1 and draw(st.booleans()):
        rows[generator.integers(count)] = rows[generator.integers(count)]
    return rows

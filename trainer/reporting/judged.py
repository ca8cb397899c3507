"""The images of an evaluation, with what is there and what was found: a report's pictures and mistakes are made of it.

Where several data sets were evaluated together, each by its own annotations, the labels go on from one to the next: the
classes of two data sets are different classes, even if they have the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.reporting.matches import Result


@dataclass(frozen=True, eq=False)
class Judged:
    """An evaluation's images.

    Attributes:
        results: of each image.
        names: of the labels.
        load: image `index` of `results` as u8 (H,W,3), RGB. Raises UserError when it cannot be read.
        sources: what the data sets are called.
        source: (labels,), to which of `sources` a label belongs.
        rule: how the evaluation's own metric counts, in a sentence.
    """

    results: Sequence[Result]
    names: Sequence[str]
    load: Callable[[int], np.ndarray]
    sources: Sequence[str]
    source: np.ndarray
    rule: str

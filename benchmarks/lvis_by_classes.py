"""MMDetection's LVISMetric over some classes of an LVIS file after the others, where all of them need too much memory.

LVIS judges each class by itself: its average precision needs neither the other classes' annotations nor their
detections. What is said of several classes is their mean. So LVISMetric is run, as it is, over the annotations and the
detections of some classes at a time, and LVISEval's own `summarize` has the precisions of all of them in the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from lvis import LVIS, LVISEval
from mmdet.evaluation.metrics import lvis_metric

Run = Callable[[Path, list[str], range], dict[str, float]]
_JOINED = {"precision": 2, "recall": 1}  # the axis of the classes


def numbers(path: Path, classes: int, run: Run) -> dict[str, float]:
    """What LVISMetric says of a whole file with ``classwise=True``.

    Args:
        classes: so many at a time.
        run: what LVISMetric says of an annotation file with the classes of these names, whose labels in the whole are
            these. An image has 300 detections at most: of more, LVIS would take the best of all classes.
    """
    found: dict[str, float] = {}
    judged: list[LVISEval] = []

    class Kept(LVISEval):
        def summarize(self) -> None:
            super().summarize()
            self.eval_imgs = self.ious = self.lvis_dt = self._gts = self._dts = None
            judged.append(self)

    lvis_metric.LVISEval = Kept
    try:
        for part, names, labels in _parts(path, classes):
            said = run(part, names, labels)
            part.unlink()
            found |= {name: value for name, value in said.items() if name.endswith("_precision")}
    finally:
        lvis_metric.LVISEval = LVISEval
    whole = judged[-1]
    whole.lvis_gt = LVIS(str(path))
    whole.params.cat_ids = whole.lvis_gt.get_cat_ids()
    whole.freq_groups = whole._prepare_freq_group()
    whole.eval = {key: np.concatenate([one.eval[key] for one in judged], axis) for key, axis in _JOINED.items()}
    LVISEval.summarize(whole)
    totals = {name: whole.results[name.rpartition("_")[2]] for name in said if not name.endswith("_precision")}
    return found | {name: float(f"{value:.3f}") for name, value in totals.items()}


def _parts(path: Path, classes: int) -> Iterator[tuple[Path, list[str], range]]:
    """An annotation file of some classes beside that of all, their names, and their labels there."""
    content = json.loads(path.read_bytes())
    categories, annotations = content["categories"], content["annotations"]
    if [one["id"] for one in categories] != sorted(one["id"] for one in categories):
        raise ValueError("LVISMetric sorts the classes by their ids")
    for start in range(0, len(categories), classes):
        some = categories[start : start + classes]
        ids = {one["id"] for one in some}
        part = path.with_name("some_classes.json")
        of_them = [one for one in annotations if one["category_id"] in ids]
        part.write_text(json.dumps({**content, "categories": some, "annotations": of_them}))
        yield part, [one["name"] for one in some], range(start, start + len(some))

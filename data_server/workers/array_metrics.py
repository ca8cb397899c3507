"""MMDetection's CocoMetric and LVISMetric over arrays: the same numbers for a small part of the time and memory.

    CocoMetric.compute_metrics          MMDetection's own, with its options, names and rounding, where
        ├─ COCO(ann_file)               is `_Truth`: columns of the index instead of a dict for each annotation
        ├─ results2json, dump, load     is `_Truth.found`: one array instead of a dict and a text for each detection
        └─ COCOeval, LVISEval           is `_Coco`, `_Lvis`: hotcoco, in Rust, instead of loops over dicts

MMDetection's classes judge the rest: ``segm``, ``proposal_fast``, ``use_mp_eval``, subclasses of theirs, and what is
`Unusual`, annotations that `data_server.datasets.ground_truth` does not read among that.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType, SimpleNamespace
from typing import Any

import hotcoco
import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation.metrics import CocoMetric, LVISMetric

from data_server.datasets.ground_truth import GroundTruth, Unusual, read

_LVIS_MOST = 300  # detections that LVIS counts in an image


def over_arrays(metric_class: type, config: dict[str, Any]) -> type | None:
    """The class that does `metric_class`'s work over arrays; None where there is none for `config`."""
    wanted = config.get("metric", "bbox")
    of_boxes = set(wanted if isinstance(wanted, list) else [wanted]) <= {"bbox", "proposal"}
    return _CLASSES.get(metric_class) if of_boxes and not config.get("use_mp_eval") else None


class _Truth(COCO):
    """An annotation file; its annotations are columns."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.columns = read(path)
        categories = [{"id": one.id, "name": one.name} for one in self.columns.categories]
        self.dataset = {"images": [{"id": one} for one in self.columns.images], "categories": categories}
        self.createIndex()

    def found(self, results: Sequence[dict[str, Any]], category_ids: Sequence[int]) -> np.ndarray:
        """Detections: float64 (N, 7), an image's number, x, y, width, height, score and a category's number.

        Args:
            results: MMDetection's, one for each image.
            category_ids: by label.

        Raises:
            Unusual: a number is not finite, or an image is not in the file.
        """
        counts = [len(one["scores"]) for one in results]
        rows = np.empty((sum(counts), 7))
        rows[:, 0] = np.repeat([self.columns.images.get(one["img_id"], -1) for one in results], counts)
        rows[:, 1:5] = np.concatenate([one["bboxes"] for one in results])
        rows[:, 3:5] -= rows[:, 1:3]
        rows[:, 5] = np.concatenate([one["scores"] for one in results])
        categories = np.array([self.columns.classes[one] for one in category_ids], np.int64)
        rows[:, 6] = categories[np.concatenate([one["labels"] for one in results])]
        if (rows[:, 0] < 0).any() or not np.isfinite(rows).all():
            raise Unusual("detections that are not finite, or of an image that the file does not have")
        return rows

    def loadRes(self, found: np.ndarray) -> np.ndarray:  # pycocotools' name
        return found


class _Coco(COCOeval):
    """pycocotools' evaluation, in which hotcoco counts."""

    def __init__(self, truth: _Truth, found: np.ndarray, iou_type: str) -> None:
        super().__init__(iouType=iou_type)
        self._truth, self._found = truth.columns, found

    def evaluate(self) -> None:
        p, truth = self.params, self._truth
        if truth.crowd is None or not p.catIds or not p.imgIds or len(set(p.catIds)) < len(p.catIds):
            raise Unusual("annotations without iscrowd; no image; no category, or one twice")
        if np.ndim(p.iouThrs) != 1 or not all(type(most) is int and most > 0 for most in p.maxDets):
            raise Unusual("iou_thrs or proposal_nums are no lists of numbers")
        p.maxDets = sorted(p.maxDets)
        p.imgIds = sorted({truth.images[one] for one in p.imgIds})
        classes = [truth.classes[one] for one in p.catIds]
        rank = _ranks(sorted(classes) if p.useCats else classes, len(truth.classes))
        judged = _ranks(p.imgIds, len(truth.images)) >= 0
        rows = _in_order(rank[truth.category], judged[truth.image])
        found = self._found[_in_order(rank[self._found[:, 6].astype(int)], judged[self._found[:, 0].astype(int)])]
        category = rank[truth.category[rows]]
        found[:, 6] = rank[found[:, 6].astype(int)]
        if not p.useCats:
            category[:] = found[:, 6] = 0
        self._counted = _evaluation(
            truth,
            rows,
            category,
            found,
            images=[{"id": one} for one in p.imgIds],
            categories=[{"id": one} for one in range(len(classes) if p.useCats else 1)],
            crowd=truth.crowd[rows],
        )
        self._counted.params.iou_thrs = [float(threshold) for threshold in p.iouThrs]
        self._counted.params.max_dets = p.maxDets
        self._counted.evaluate()

    def accumulate(self, _p: Any = None) -> None:
        self._counted.accumulate()
        self.eval = self._counted.eval


class _Lvis:
    """lvis-api's evaluation by hotcoco: of all images of the file, whatever MMDetection asks for."""

    def __init__(self, truth: _Truth, found: np.ndarray, _iou_type: str) -> None:
        self.params = SimpleNamespace()  # lvis-api overlooks what MMDetection puts here: its own names are others
        self._truth, self._found = truth.columns, found

    def evaluate(self) -> None:
        truth, found = self._truth, _best(self._found, _LVIS_MOST)
        frequencies = {truth.classes[one.id]: one.frequency for one in truth.categories}
        if truth.federated is None or truth.ignored or not set(frequencies.values()) <= {"r", "c", "f"}:
            raise Unusual("no file of LVIS")
        rows = np.flatnonzero((truth.image >= 0) & (truth.category >= 0) & _has_area(truth.area))
        numbers = truth.classes
        self._counted = _evaluation(
            truth,
            rows,
            truth.category[rows],
            found[_has_area(found[:, 3] * found[:, 4])],
            images=[
                {
                    "id": number,
                    "neg_category_ids": [numbers[one] for one in absent if one in numbers],
                    "not_exhaustive_category_ids": [numbers[one] for one in partly if one in numbers],
                }
                for number, (absent, partly) in enumerate(truth.federated)
            ],
            categories=[{"id": number, "frequency": frequencies[number]} for number in sorted(frequencies)],
            crowd=np.zeros(len(rows), bool),
            lvis=True,
        )
        self._counted.evaluate()

    def accumulate(self) -> None:
        self._counted.accumulate()
        self.eval = {"precision": self._counted.eval["precision"][..., 0]}

    def summarize(self) -> None:
        self._counted.summarize()

    def get_results(self) -> dict[str, float]:
        results: dict[str, float] = self._counted.get_results()
        return results

    def print_results(self) -> None:
        """`summarize` has."""


def _evaluation(
    truth: GroundTruth,
    rows: np.ndarray,
    category: np.ndarray,
    found: np.ndarray,
    images: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    crowd: np.ndarray,
    lvis: bool = False,
) -> Any:
    """hotcoco's evaluation of `found` by the annotations `rows`, whose categories and crowds are given."""
    own = hotcoco.COCO.from_arrays(
        [{"width": 0, "height": 0, "file_name": "", **one} for one in images],
        [{"name": str(one["id"]), **one} for one in categories],
        truth.image[rows],
        category,
        truth.box[rows],
        area=truth.area[rows],
        iscrowd=crowd,
    )
    return hotcoco.COCOeval(own, own.load_res(found), "bbox", lvis)


def _ranks(numbers: Sequence[int], count: int) -> np.ndarray:
    """The place of each of `count` numbers, and of -1, in `numbers`; -1 where it is not there."""
    ranks = np.full(count + 1, -1)
    ranks[list(numbers)] = np.arange(len(numbers))
    return ranks


def _in_order(rank: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where something `counts` and has a rank, by rank: class by class, as pycocotools goes through an image."""
    order = np.argsort(rank, kind="stable")
    return order[(counts & (rank >= 0))[order]]


def _best(found: np.ndarray, most: int) -> np.ndarray:
    """At most so many detections of each image, those with the highest scores; of equal scores the first."""
    order = np.lexsort((-found[:, 5], found[:, 0]))
    image = found[order, 0]
    return found[order[np.arange(len(order)) - np.searchsorted(image, image) < most]]


def _has_area(area: np.ndarray) -> np.ndarray:
    return (area > 0) & (area < np.inf)


class _Results:
    """What both metrics have in common."""

    def results2json(self: Any, results: Sequence[dict[str, Any]], outfile_prefix: str) -> dict[str, Any]:
        """Detections by metric; writes them to a file where one is asked for."""
        if self.outfile_prefix is not None:
            files: dict[str, Any] = super().results2json(results, outfile_prefix)  # type: ignore[misc]
            if self.format_only:
                return files
        truth = getattr(self, "_lvis_api", None) or self._coco_api
        return dict.fromkeys(("bbox", "proposal"), truth.found(results, self.cat_ids))


def _with(method: Any, **names: Any) -> Any:
    """MMDetection's `method`, which finds `names` where its module has others."""
    return FunctionType(
        method.__code__, method.__globals__ | names, method.__name__, method.__defaults__, method.__closure__
    )


def _class(base: type, **names: Any) -> type:
    methods = {name: _with(getattr(base, name), **names) for name in ("__init__", "compute_metrics")}
    return type(base.__name__, (_Results, base), methods)


def _as_it_is(found: np.ndarray) -> np.ndarray:
    return found


_CLASSES = {
    CocoMetric: _class(CocoMetric, COCO=_Truth, load=_as_it_is, COCOeval=_Coco),
    LVISMetric: _class(
        LVISMetric, lvis=hotcoco, LVIS=_Truth, LVISResults=lambda _, found: found, LVISEval=_Lvis
    ),  # hotcoco stands in for lvis, which need not be installed
}

"""The kind of NMS that a config asks for, and what it may not ask for."""

import numpy as np
import pytest

from shared.errors import UserError
from trainer.device import var
from trainer.models.ops.multiclass_nms import read_multiclass_nms

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [30, 30, 40, 40]], np.float32)
SCORES = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.04]], np.float32)


def picks(nms: dict, score_thr: float = 0.05, max_per_img: int = 10) -> list[tuple]:
    found = read_multiclass_nms({"score_thr": score_thr, "max_per_img": max_per_img, "nms": nms}, "rcnn")(
        var(BOXES), var(SCORES)
    )
    count = found.count.item()
    columns = (x.numpy()[:count].tolist() for x in (found.rows, found.labels))
    return list(zip(*columns, [round(score, 4) for score in found.scores.numpy()[:count].tolist()], strict=True))


def test_hard_nms_keeps_the_best_of_each_class_above_the_score_threshold() -> None:
    assert picks({"type": "nms", "iou_threshold": 0.5}) == [(0, 0, 0.9), (2, 0, 0.3), (1, 1, 0.2)]
    assert picks({"iou_threshold": 0.5}) == picks({"type": "nms", "iou_threshold": 0.5})
    assert picks({"type": "nms", "iou_threshold": 0.5}, max_per_img=2) == [(0, 0, 0.9), (2, 0, 0.3)]


def test_soft_nms_weakens_instead() -> None:
    weaker = np.exp(-(0.8**2) / 0.5)
    found = picks({"type": "soft_nms", "method": "gaussian", "iou_threshold": 0.5})
    expected = [(0, 0, 0.9), (2, 0, 0.3), (1, 0, 0.8 * weaker), (1, 1, 0.2), (0, 1, 0.1 * weaker)]
    assert [pick[:2] for pick in found] == [pick[:2] for pick in sorted(expected, key=lambda pick: -pick[2])]
    np.testing.assert_allclose([p[2] for p in found], sorted((p[2] for p in expected), reverse=True), atol=1e-4)


@pytest.mark.parametrize(
    ("nms", "message"),
    [
        ({"type": "matrix_nms"}, "rcnn.nms: unknown type 'matrix_nms'; known: nms, soft_nms"),
        ({"type": "nms", "iou_treshold": 0.5}, "rcnn.nms: unknown key 'iou_treshold'"),
        ({"type": "soft_nms", "method": "linear"}, "rcnn.nms.method: only 'gaussian' is supported"),
    ],
)
def test_what_is_not_there_is_refused_by_name(nms: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        picks(nms)

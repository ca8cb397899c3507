"""RoIAlign and the kinds of NMS against mmcv's compiled operators, on boxes of every kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parity.oracle.process import Oracle
from tests.parity.oracle.scenes import boxes, many
from trainer.device import jt, var
from trainer.models.ops.nms import batched_nms
from trainer.models.ops.roi_align import roi_align
from trainer.models.ops.soft_nms import hard_nms_of_classes, soft_nms


def distinct_scores(generator: np.random.Generator, shape: tuple) -> np.ndarray:
    """Scores no two of which are equal: mmcv leaves the order of equal ones open."""
    count = int(np.prod(shape))
    return ((generator.permutation(count) + 1) / (count + 2)).astype(np.float32).reshape(shape)


@many
@given(candidates=boxes(), stride=st.sampled_from([4, 16]), size=st.sampled_from([7, 14]), seed=st.integers(0, 999))
def test_features_of_rois_and_their_gradient_are_those_of_mmcv(
    compiled: Oracle, candidates: np.ndarray, stride: int, size: int, seed: int
) -> None:
    # The map is one of 128x96 pixels: boxes also lie partly or wholly outside. mmcv's operator refuses negative sides.
    generator = np.random.default_rng(seed)
    feature = generator.standard_normal((2, 3, 96 // stride, 128 // stride)).astype(np.float32)
    rois = np.concatenate([generator.integers(0, 2, (len(candidates), 1)), candidates], 1).astype(np.float32)
    if not len(rois):
        return
    cotangent = generator.standard_normal((len(rois), 3, size, size)).astype(np.float32)
    maps = [var(feature)]
    output = roi_align(maps, [stride], var(rois), var(np.zeros(len(rois), np.int32)), size)
    gradient = jt.grad((output * var(cotangent)).sum(), maps)[0].numpy()
    expected = compiled.ask(
        "compiled_roi_align", feature=feature, rois=rois, size=size, scale=1 / stride, cotangent=cotangent
    )
    # A coordinate near 1333 pixels has an ulp of 1e-4; a feature changes by up to about 6 from one cell to the next.
    np.testing.assert_allclose(output.numpy(), expected["output"], atol=2e-4)
    np.testing.assert_allclose(gradient, expected["gradient"], rtol=1e-4, atol=1e-4 * len(rois) ** 0.5)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
@many
@given(candidates=boxes(least=1), classes=st.integers(1, 4), seed=st.integers(0, 999))
def test_the_boxes_that_survive_are_those_of_mmcv(
    compiled: Oracle, threshold: float, candidates: np.ndarray, classes: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    scores = distinct_scores(generator, (len(candidates),))
    labels = generator.integers(0, classes, len(candidates)).astype(np.int32)
    kept, count = batched_nms(
        var(candidates[None]), var(scores[None]), var(labels[None]), threshold, -1.0, len(candidates)
    )
    rules = {"type": "nms", "iou_threshold": threshold}
    expected = compiled.ask("compiled_batched_nms", boxes=candidates, scores=scores, labels=labels, rules=rules)
    np.testing.assert_array_equal(kept.numpy()[0, : count.item()], expected["kept"])


NMS = {
    "soft, together": {"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian", "split_thr": 10**9},
    "soft, class by class": {"type": "soft_nms", "iou_threshold": 0.5, "method": "gaussian", "split_thr": 1},
    "hard": {"type": "nms", "iou_threshold": 0.6180339},  # no fraction of small integers, no exact tie
}


@pytest.mark.parametrize("kind", NMS)
@many
@given(
    candidates=boxes(least=1, most=100, kinds=("ordinary", "crowd", "tiny", "whole image")),
    classes=st.sampled_from([2, 5, 80]),
    most=st.sampled_from([1, 20, 100_000]),
    seed=st.integers(0, 999),
)
def test_detections_of_many_classes_are_those_of_mmdet(
    compiled: Oracle, kind: str, candidates: np.ndarray, classes: int, most: int, seed: int
) -> None:
    # Clipped to the image as detections are, with an area: mmcv's soft-NMS of two points divides 0 by 0.
    candidates = np.maximum(candidates, 0)
    candidates[:, 2:] = np.maximum(candidates[:, 2:], candidates[:, :2] + 0.5)
    scores = distinct_scores(np.random.default_rng(seed), (len(candidates), classes)) ** 4
    threshold = 1e-4
    if kind == "hard":
        picks = hard_nms_of_classes(var(candidates), var(scores), threshold, most, NMS[kind]["iou_threshold"])
    else:
        picks = soft_nms(var(candidates), var(scores), threshold, most, split_threshold=NMS[kind]["split_thr"])
    expected = compiled.ask(
        "compiled_multiclass_nms",
        boxes=candidates,
        scores=scores,
        score_threshold=threshold,
        rules=NMS[kind],
        most=most,
    )
    count = picks.count.item()
    found = picks.scores.numpy()[:count]
    assert count == len(expected["scores"])
    np.testing.assert_allclose(found, expected["scores"], rtol=1e-4)
    # Weakened scores may tie: the order within a tie is open, and which of a tie comes last may be cut.
    pairs = picks.rows.numpy()[:count] * classes + picks.labels.numpy()[:count]
    clear = found > found[-1] * (1 + 1e-4) if count else np.zeros(0, bool)
    assert set(pairs[clear]) <= set(expected["pairs"])
    if most > len(candidates) * classes:
        assert set(pairs) == set(expected["pairs"])

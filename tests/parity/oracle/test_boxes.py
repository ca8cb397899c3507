"""Assignment, sampling, coders and anchors against MMDetection's, on boxes of every kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.parity.oracle.process import Oracle
from tests.parity.oracle.scenes import boxes, many
from trainer.device import var
from trainer.models.boxes.anchors import AnchorGenerator
from trainer.models.boxes.assign import MaxIoUAssigner
from trainer.models.boxes.coders import DeltaXYWHBBoxCoder, TBLRBBoxCoder
from trainer.models.boxes.columns import clip
from trainer.models.boxes.sample import RandomSampler
from trainer.models.ops.random_keys import Draw, Use

RULES = {
    "strict": {"pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3},
    "wide": {"pos_iou_thr": 0.3, "neg_iou_thr": 0.1, "min_pos_iou": 0.3},
    "rcnn": {"pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.5, "match_low_quality": False},
}


def padded(truths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(rows) for rows in truths], np.int32)
    table = np.full((len(truths), max(8, -(-counts.max() // 8) * 8), 4), 7, np.float32)
    for i, rows in enumerate(truths):
        table[i, : len(rows)] = rows
    return table, counts


@pytest.mark.parametrize("rules", RULES)
@many
@given(candidates=boxes(least=1), truths=st.tuples(boxes(), boxes(most=20)), seed=st.integers(0, 99))
def test_every_box_is_assigned_as_by_mmdet(
    oracle: Oracle, rules: str, candidates: np.ndarray, truths: tuple, seed: int
) -> None:
    valid = np.random.default_rng(seed).random((2, len(candidates))) < 0.8
    table, counts = padded(list(truths))
    found = MaxIoUAssigner(**RULES[rules])(var(candidates[None]), var(valid), var(table), var(counts)).numpy()
    for i in range(2):
        expected = oracle.ask("assign", boxes=candidates[valid[i]], truths=truths[i], rules=RULES[rules])
        np.testing.assert_array_equal(found[i, valid[i]], expected)
        assert (found[i, ~valid[i]] == -1).all()


def test_boxes_are_drawn_as_often_as_by_mmdet(oracle: Oracle) -> None:
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 60, (150, 2))
    candidates = np.concatenate([corner, corner + 40], 1).astype(np.float32)
    truths = candidates[:3] + 1
    rounds, images, num, fraction = 40, 25, 24, 0.25
    table, counts = padded([truths] * images)
    valid = np.ones((images, 150), bool)
    assigned = MaxIoUAssigner(**RULES["wide"])(var(candidates[None]), var(valid), var(table), var(counts))
    sampler, drawn, numbers = RandomSampler(num, fraction), np.zeros(150), set()
    for step in range(rounds):
        samples = sampler(assigned, Draw(0, step, Use.ROIS))
        used = samples.weight.numpy() > 0
        drawn += np.bincount(samples.index.numpy()[used], minlength=150)
        pairs = zip(samples.positives.numpy().astype(int), samples.negatives.numpy().astype(int), strict=True)
        numbers |= {tuple(pair) for pair in pairs}
    total = rounds * images
    answer = oracle.ask(
        "sample", boxes=candidates, truths=truths, rules=RULES["wide"], num=num, pos_fraction=fraction, rounds=total
    )
    assert [list(pair) for pair in sorted(numbers)] == [list(pair) for pair in answer["numbers"]] == [[6, 18]]
    assert (assigned.numpy()[0] > 0).sum() > 10
    # Both are binomial with the same share: five standard deviations of their difference hold for all boxes at once.
    share = (drawn + answer["drawn"]) / (2 * total)
    assert (np.abs(drawn - answer["drawn"]) <= 5 * np.sqrt(2 * total * share * (1 - share)) + 1e-9).all()


CODERS = {
    "delta of RoIs": (DeltaXYWHBBoxCoder, {"target_means": [0.0] * 4, "target_stds": [0.1, 0.1, 0.2, 0.2]}),
    "delta of anchors": (DeltaXYWHBBoxCoder, {"target_means": [0.0] * 4, "target_stds": [1.0] * 4}),
    "distances": (TBLRBBoxCoder, {"normalizer": 1.0}),
}


@pytest.mark.parametrize("kind", CODERS)
@many
@given(
    candidates=boxes(least=1, most=50, kinds=("ordinary", "crowd", "tiny", "outside", "whole image")),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_boxes_are_coded_as_by_mmdet(
    oracle: Oracle, kind: str, candidates: np.ndarray, seed: int, spread: float
) -> None:
    # Boxes without area get finite codes here and NaN there; they are never positives, so their codes count nowhere.
    candidates[:, 2:] = np.maximum(candidates[:, 2:], candidates[:, :2] + 0.5)
    cls, arguments = CODERS[kind]
    config, coder = {"type": cls.__name__, **arguments}, cls(**arguments)
    generator = np.random.default_rng(seed)
    targets = generator.permutation(candidates)
    codes = coder.encode(var(candidates[None]), var(targets[None])).numpy()[0]
    expected = oracle.ask("encode", coder=config, boxes=candidates, targets=targets)
    # Relative to the largest code: a shift is a difference of coordinates that are much larger than it.
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))

    codes = generator.normal(0, spread, candidates.shape).astype(np.float32)
    boxes_ = coder.decode(var(candidates[None]), var(codes[None]))
    for shape in (None, [200, 300]):
        expected = oracle.ask("decode", coder=config, boxes=candidates, codes=codes, image_shape=shape)
        found = (boxes_ if shape is None else clip(boxes_, var([shape], "float32"))).numpy()[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


@many
@given(
    scales=st.lists(st.sampled_from([1, 2, 4, 8, 11.5, 32]), min_size=1, max_size=5, unique=True),
    ratios=st.lists(st.sampled_from([0.3, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=3, unique=True),
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5),
)
def test_anchors_stand_where_mmdet_puts_them(oracle: Oracle, scales: list, ratios: list, sizes: list) -> None:
    strides = [4 * 2**i for i in range(len(sizes))]
    config = {"type": "AnchorGenerator", "scales": scales, "ratios": ratios, "strides": strides}
    expected = oracle.ask("anchors", generator=config, sizes=sizes)
    anchors, _ = AnchorGenerator(scales, ratios, strides)(sizes, var([[32, 32]], "float32"))
    np.testing.assert_allclose(anchors.numpy(), expected, rtol=1e-6, atol=1e-4)

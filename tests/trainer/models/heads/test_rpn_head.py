"""The stock RPN: proposals against the rules written out, levels, absent rows, empty images, config errors."""

import copy

import numpy as np
import pytest

from shared.errors import UserError
from tests.parity.test_rpn_head import RPN
from tests.trainer.models.examples import random_batch
from tests.trainer.models.ops.test_nms import kept_by_loop
from trainer.device import jt, var
from trainer.models.heads.rpn_head import ABSENT, Predictions, RPNHead
from trainer.models.registry import build

SIZES = [(6, 8), (3, 4)]
STRIDES = [16, 32]


def make_head(**rules: object) -> RPNHead:
    config = copy.deepcopy(RPN)
    config |= {"in_channels": 8, "feat_channels": 8}
    config["anchor_generator"] |= {"strides": STRIDES, "scales": [2, 4]}
    rules = {"nms_pre": 100, "max_per_img": 50, "nms": {"type": "nms", "iou_threshold": 0.5}, **rules}
    assigner = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3}
    sampler = {"type": "RandomSampler", "num": 32, "pos_fraction": 0.5}
    return build(
        config,
        "model.rpn_head",
        train_cfg={"assigner": assigner, "sampler": sampler},
        proposal_cfg=rules,
        test_cfg=rules,
    )


def test_weights_begin_as_small_as_mmdetections() -> None:
    head = make_head(nms_pre=100)
    for layer in (head.rpn_conv, head.rpn_cls, head.rpn_reg):
        assert layer.weight.numpy().std() == pytest.approx(0.01, rel=0.2)  # as many as 96 numbers
        assert not layer.bias.numpy().any()


def random_predictions(head: RPNHead, scale: float = 0.5) -> Predictions:
    count = sum(h * w for h, w in SIZES) * head.anchor_generator.anchors_per_cell
    return Predictions(var(np.random.default_rng(0).normal(0, scale, (2, count, 5)), "float32"), SIZES)


def proposals_by_rules(head: RPNHead, columns: np.ndarray, shape: np.ndarray, best: int, most: int) -> np.ndarray:
    """One image: best of each level, decode, clip, drop empty boxes, NMS level by level, sort, cut."""
    anchors, found, first = head.anchor_generator(SIZES, var(shape[None], "float32"))[0].numpy(), [], 0
    for height, width in SIZES:
        count = height * width * head.anchor_generator.anchors_per_cell
        rows = first + np.argsort(-columns[first : first + count, 0], kind="stable")[:best]
        first += count
        size = anchors[rows, 2:] - anchors[rows, :2]
        centre = (anchors[rows, 2:] + anchors[rows, :2]) / 2 + size * columns[rows, 1:3]
        size = size * np.exp(columns[rows, 3:5])
        boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], 1), 0, shape[[1, 0, 1, 0]])
        scores = 1 / (1 + np.exp(-columns[rows, 0]))
        large = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores = boxes[large], scores[large]
        kept = kept_by_loop(boxes, scores, 0.5)
        found.append(np.concatenate([boxes, scores[:, None]], 1)[kept])
    table = np.concatenate(found)
    return table[np.argsort(-table[:, 4], kind="stable")][:most]


@pytest.mark.parametrize(("best", "most"), [(1000, 1000), (40, 1000), (1000, 20)])
def test_proposals_follow_the_rules(best: int, most: int) -> None:
    head = make_head(nms_pre=best, max_per_img=most)
    predictions = random_predictions(head)
    shapes = np.array([[96, 128], [70, 90]], np.float32)
    table = head.proposals(predictions, var(shapes), "test").numpy()
    candidates = sum(min(best, h * w * 6) for h, w in SIZES)
    assert table.shape == (2, min(most, candidates), 5)
    for i in range(2):
        expected = proposals_by_rules(head, predictions.columns.numpy()[i], shapes[i], best, most)
        np.testing.assert_allclose(table[i, : len(expected)], expected, atol=1e-4)
        assert (table[i, len(expected) :] == [0, 0, 0, 0, ABSENT]).all()
        assert len(expected) == most or len(expected) < table.shape[1]


def test_boxes_as_small_as_the_limit_are_no_proposals() -> None:
    head = make_head(min_bbox_size=30)
    rows = head.proposals(random_predictions(head), var([[96, 128]] * 2, "float32"), "test").numpy().reshape(-1, 5)
    sides = rows[:, 2:4] - rows[:, :2]
    assert (sides[rows[:, 4] > 0] > 30).all()
    assert 0 < (rows[:, 4] > 0).sum() < len(rows)


def test_columns_belong_to_the_anchors_in_the_order_of_the_checkpoints_channels() -> None:
    head = make_head()
    maps = [jt.rand(2, 8, h, w) for h, w in SIZES]
    columns = head(maps).columns.numpy()
    x = head.features(maps[1])
    logits, deltas = head.rpn_cls(x).numpy(), head.rpn_reg(x).numpy()
    row, column, anchor = 1, 2, 3
    at = 6 * 8 * 6 + (row * 4 + column) * 6 + anchor
    np.testing.assert_allclose(columns[:, at, 0], logits[:, anchor, row, column], atol=1e-6)
    np.testing.assert_allclose(columns[:, at, 1:], deltas[:, 4 * anchor : 4 * anchor + 4, row, column], atol=1e-6)


def test_images_without_boxes_have_only_negatives_and_a_finite_gradient() -> None:
    head = make_head()
    terms = head.loss(head([jt.rand(2, 8, h, w) for h, w in SIZES]), random_batch(counts=(0, 0)))
    assert terms["num_positive_anchors"].item() == 0
    assert terms["loss_rpn_bbox"].item() == 0
    assert terms["loss_rpn_cls"].item() > 0
    for gradient in jt.grad(terms["loss_rpn_cls"] + terms["loss_rpn_bbox"], head.parameters()):
        assert np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"nms": {"type": "soft_nms", "iou_threshold": 0.7}}, "model.train_cfg.rpn_proposal.nms.type: only 'nms'"),
        ({"max_num": 7}, "model.train_cfg.rpn_proposal: unknown key 'max_num'"),
    ],
)
def test_rules_that_do_not_exist_are_refused_by_name(rules: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_head(**rules)

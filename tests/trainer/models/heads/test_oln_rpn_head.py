"""OLN-RPN: the reference's golden numbers of a tiny head, border boxes, empty images, proposals."""

import numpy as np
import pytest

from shared.batch import blank_arrays
from shared.errors import UserError
from tests.trainer.models.examples import fill_with_sequences, random_batch, sequence, small_model
from trainer.batch import Batch
from trainer.device import jt, var
from trainer.models import build_detector
from trainer.models.heads.oln_rpn_head import OlnRPNHead
from trainer.models.registry import build

HUGE = 100_000  # as a number of samples: nothing is left to choose


def make_head(strides: list[int], channels: int, num: int, skip_border_boxes: bool = True) -> OlnRPNHead:
    changes = {
        "rpn_head.skip_border_boxes": skip_border_boxes,
        "rpn_head.in_channels": channels,
        "rpn_head.feat_channels": channels,
        "rpn_head.anchor_generator.strides": strides,
        "train_cfg.rpn.sampler.num": num,
        "train_cfg.rpn.objectness_sampler.num": num,
    }
    model = small_model(**changes)
    rules = {"train_cfg": model["train_cfg"]["rpn"], "proposal_cfg": model["train_cfg"]["rpn_proposal"]}
    return build(model["rpn_head"], "model.rpn_head", **rules, test_cfg=model["test_cfg"]["rpn"])


def batch_of(boxes: list[list[list[float]]], height: int, width: int) -> Batch:
    arrays = blank_arrays(len(boxes), height, width)
    for i, rows in enumerate(boxes):
        arrays["boxes"][i, : len(rows)] = np.reshape(rows, (-1, 4))
        arrays["box_counts"][i] = len(rows)
    return Batch.from_arrays(arrays)


def test_golden_targets_and_losses_of_a_tiny_head() -> None:
    head = make_head([4, 8], 8, HUGE)
    fill_with_sequences(head)
    maps = [var(sequence((1, 8, 16, 20), step=0.31)), var(sequence((1, 8, 8, 10), step=0.17))]
    batch = batch_of([[[8, 6, 44, 40], [0, 20, 30, 60]]], 64, 80)
    predictions = head(maps)
    targets = head.targets(predictions.sizes, batch)
    truths = targets.strict.truth.numpy()[targets.strict.positive.numpy() > 0]
    assert np.bincount(truths).tolist() == [4, 3]
    assert targets.strict.negatives.item() == 49
    assert (targets.wide.positives.item(), targets.wide.negatives.item()) == (47, 23)
    # The second ground truth touches the left border.
    assert targets.box_weights.numpy().sum() == 4
    objectness = targets.objectness.numpy()
    assert objectness.sum() == pytest.approx(24.174116, rel=1e-5)
    assert objectness.max() == pytest.approx(0.935414, rel=1e-5)
    terms = head.loss(predictions, batch)
    assert terms["loss_rpn_cls"].item() == 0
    assert terms["loss_rpn_bbox"].item() == pytest.approx(0.467338, rel=1e-4)
    assert terms["loss_rpn_obj"].item() == pytest.approx(0.488944, rel=1e-4)


@pytest.mark.parametrize(
    ("box", "skip", "weighted"),
    [
        ((1, 1, 33, 33), True, True),
        ((0, 1, 33, 33), True, False),
        ((1, 0, 33, 33), True, False),
        ((0, 0, 33, 33), False, True),
    ],
)
def test_a_border_touching_box_gets_no_box_weight_where_the_reference_is_followed(
    box: tuple, skip: bool, weighted: bool
) -> None:
    head = make_head([4, 8, 16, 32, 64], 16, HUGE, skip)
    batch = batch_of([[list(box)], [[40, 40, 80, 80]]], 96, 128)
    targets = head.targets([(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)], batch)
    assert targets.strict.positives.numpy()[0] > 0
    assert (targets.box_weights.numpy()[0].sum() > 0) == weighted
    assert targets.objectness.numpy()[0].max() > 0


def test_anchors_that_leave_the_content_are_not_sampled() -> None:
    head = make_head([4, 8, 16, 32, 64], 16, HUGE)
    sizes = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    batch = batch_of([[[8, 8, 40, 40]], [[8, 8, 40, 40]]], 80, 112)
    samples = head.targets(sizes, batch).strict
    anchors = head.anchor_generator(sizes, batch.image_shapes)[0].numpy()[
        samples.index.numpy()[0][samples.weight.numpy()[0] > 0]
    ]
    assert len(anchors) > 50
    assert (anchors[:, :2] >= 0).all()
    assert (anchors[:, 2] < 112).all()
    assert (anchors[:, 3] < 80).all()


def test_images_without_boxes_have_only_negatives_and_a_finite_gradient() -> None:
    head = make_head([4, 8, 16, 32, 64], 16, 64)
    batch = random_batch(counts=(0, 0))
    maps = [jt.rand(2, 16, 24 // 2**i, 32 // 2**i) for i in range(4)] + [jt.rand(2, 16, 2, 2)]
    terms = head.loss(head(maps), batch)
    assert terms["num_positive_anchors"].item() == 0
    assert terms["loss_rpn_bbox"].item() == 0
    assert terms["loss_rpn_obj"].item() > 0
    total = terms["loss_rpn_cls"] + terms["loss_rpn_bbox"] + terms["loss_rpn_obj"]
    for gradient in jt.grad(total, head.parameters()):
        assert np.isfinite(gradient.numpy()).all()


def test_proposals_are_the_best_of_each_level_clipped_to_the_content() -> None:
    head = make_head([4, 8, 16, 32, 64], 16, 64)
    head.rules["train"]["nms_pre"] = 100
    maps = [jt.rand(2, 16, 24 // 2**i, 32 // 2**i) for i in range(4)] + [jt.rand(2, 16, 2, 2)]
    predictions = head(maps)
    proposals = head.proposals(predictions, var([[80, 100], [96, 128]], "float32"), "train").numpy()
    assert proposals.shape == (2, 100 + 100 + 48 + 12 + 4, 5)
    scores = 1 / (1 + np.exp(-predictions.columns.numpy()[:, :, 5]))
    best = -np.sort(-scores[:, : 24 * 32], axis=1)[:, :100]
    np.testing.assert_allclose(proposals[:, :100, 4], best, rtol=1e-6)
    # A level that is small enough keeps its grid order.
    np.testing.assert_allclose(proposals[:, 200:, 4], scores[:, 24 * 32 + 12 * 16 :], rtol=1e-6)
    assert proposals[0, :, [0, 2]].max() <= 100
    assert proposals[0, :, [1, 3]].max() <= 80
    assert proposals[:, :, :4].min() >= 0


@pytest.mark.parametrize(("key", "value", "only"), [("allowed_border", 1, 0), ("pos_weight", 2, -1)])
def test_a_training_rule_that_is_not_built_is_refused_by_its_place(key: str, value: int, only: int) -> None:
    with pytest.raises(UserError, match=rf"train_cfg\.rpn\.{key}: only {only} is supported, found {value}"):
        build_detector(small_model(**{f"train_cfg.rpn.{key}": value}))

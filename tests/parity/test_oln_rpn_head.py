"""OLN-RPN against the reference: outputs, targets of both samplings, losses, gradients, proposals."""

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.models import EVERYTHING, batch_of, features_of, fill, first_k_keys, gradients, scatter, stage_1
from trainer.device import jt
from trainer.models.heads.oln_rpn_head import OlnRPNHead
from trainer.models.registry import build


def make_head(case: golden.Case, tag: str = "firstk", objectness: str = "Centerness") -> OlnRPNHead:
    model = stage_1(**{"rpn_head.objectness_type": objectness})
    if tag == "all":
        model["train_cfg"]["rpn"]["sampler"]["num"] = EVERYTHING
        model["train_cfg"]["rpn"]["objectness_sampler"]["num"] = EVERYTHING
    head = build(
        model["rpn_head"],
        "model.rpn_head",
        train_cfg=model["train_cfg"]["rpn"],
        proposal_cfg=model["train_cfg"]["rpn_proposal"],
        test_cfg=model["test_cfg"]["rpn"],
    )
    head.strict_sampler.keys = head.wide_sampler.keys = first_k_keys
    fill(head, "rpn_head.", case.seed)
    return head


@pytest.mark.parametrize("file", golden.files(5), ids=lambda name: f"golden-{name}")
def test_outputs_anchors_and_proposals_match(file: str) -> None:
    case = golden.Case(file)
    head, batch = make_head(case), batch_of(case)
    with jt.no_grad():
        predictions = head(features_of(case, "case05"))
        proposals = head.proposals(predictions, batch.image_shapes, "test").numpy()
    anchors, _ = head.anchor_generator(predictions.sizes, batch_of(case).image_shapes)
    case.agrees("out.anchors", anchors.numpy(), 0)
    columns, first = predictions.columns.numpy(), 0
    for i, (height, width) in enumerate(predictions.sizes):
        level = columns[:, first : first + height * width].reshape(-1, height, width, 6).transpose(0, 3, 1, 2)
        case.agrees(f"out.cls.{i}", level[:, :1])
        case.agrees(f"out.reg.{i}", level[:, 1:5])
        case.agrees(f"out.obj.{i}", level[:, 5:])
        first += height * width
    for i in range(len(proposals)):
        case.table_agrees(f"test.proposals.{i}", proposals[i])


@pytest.mark.parametrize("tag", ["all", "firstk"])
@pytest.mark.parametrize("file", golden.files(5), ids=lambda name: f"golden-{name}")
def test_targets_losses_and_gradients_match(file: str, tag: str) -> None:
    case = golden.Case(file)
    head, batch, maps = make_head(case, tag), batch_of(case), features_of(case, "case05")
    predictions = head(maps)
    count = predictions.columns.shape[1]
    targets = head.targets(predictions.sizes, batch)
    strict, wide = targets.strict, targets.wide

    labels = scatter(strict.index, 1.0 - strict.positive, strict.weight, count, rest=1.0)
    np.testing.assert_array_equal(labels, case[f"{tag}.labels"])
    weights = scatter(strict.index, strict.weight, strict.weight, count)
    np.testing.assert_array_equal(weights, case[f"{tag}.label_weights"])
    box_weights = scatter(strict.index, targets.box_weights, strict.weight, count)
    np.testing.assert_array_equal(np.repeat(box_weights[:, :, None], 4, 2), case[f"{tag}.bbox_weights"])
    boxes = scatter(strict.index, targets.boxes * targets.box_weights.unsqueeze(-1), strict.weight, count)
    np.testing.assert_array_equal(boxes, case[f"{tag}.bbox_targets"])
    np.testing.assert_array_equal(
        scatter(wide.index, wide.weight, wide.weight, count), case[f"{tag}.objectness_weights"]
    )
    case.agrees(f"{tag}.objectness_targets", scatter(wide.index, targets.objectness, wide.weight, count), 1e-5)
    assert targets.normaliser.item() == case[f"{tag}.num_total_pos"] + case[f"{tag}.num_total_neg"]

    terms = head.loss(predictions, batch)
    for key in ("loss_rpn_cls", "loss_rpn_bbox", "loss_rpn_obj"):
        assert terms[key].item() == pytest.approx(case[f"{tag}.{key}"].sum(), rel=golden.FORWARD)
    total = terms["loss_rpn_cls"] + terms["loss_rpn_bbox"] + terms["loss_rpn_obj"]
    found = gradients(total, head, "rpn_head.")
    case.gradients_agree(tag, found)
    for leaf in ("rpn_cls", "rpn_obj", "rpn_reg"):
        case.gradient_agrees(f"{tag}.grad:rpn_head.{leaf}.weight", found[f"rpn_head.{leaf}.weight"])
    for i, gradient in enumerate(jt.grad(total, maps)):
        case.gradient_agrees(f"{tag}.grad_feat.{i}", gradient.numpy())


@pytest.mark.parametrize("file", golden.files(5), ids=lambda name: f"golden-{name}")
def test_objectness_as_overlap_matches(file: str) -> None:
    case = golden.Case(file)
    head = make_head(case, "all", objectness="BoxIoU")
    sizes = [tuple(int(n) for n in case[f"in.shape.case05.feat{i}"][2:]) for i in range(5)]
    targets = head.targets(sizes, batch_of(case))
    count = case["out.anchors"].shape[0]
    case.agrees(
        "boxiou.objectness_targets",
        scatter(targets.wide.index, targets.objectness, targets.wide.weight, count),
        1e-5,
    )

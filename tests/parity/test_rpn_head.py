"""The stock RPN of the end-to-end detectors against the reference: outputs, targets, losses, gradients, proposals."""

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.models import EVERYTHING, batch_of, fill, first_k_keys, gradients, scatter
from trainer.device import jt, var
from trainer.models.heads.rpn_head import RPNHead
from trainer.models.registry import build

RPN = {
    "type": "RPNHead",
    "in_channels": 1024,
    "feat_channels": 1024,
    "anchor_generator": {
        "type": "AnchorGenerator",
        "scales": [2, 4, 8, 16, 32],
        "ratios": [0.5, 1.0, 2.0],
        "strides": [16],
    },
    "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [1.0] * 4},
    "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
    "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
}


def make_head(case: golden.Case, num: int = 256, **test: object) -> RPNHead:
    head = build(
        RPN,
        "model.rpn_head",
        train_cfg={
            "assigner": {"type": "MaxIoUAssigner", "pos_iou_thr": 0.7, "neg_iou_thr": 0.3, "min_pos_iou": 0.3},
            "sampler": {"type": "RandomSampler", "num": num, "pos_fraction": 0.5},
        },
        proposal_cfg={"nms_pre": 12000, "max_per_img": 2000, "nms": {"type": "nms", "iou_threshold": 0.7}},
        test_cfg={"nms_pre": 6000, "max_per_img": 1000, "nms": {"type": "nms", "iou_threshold": 0.7}, **test},
    )
    head.strict_sampler.keys = first_k_keys
    fill(head, "rpn_head.", case.seed)
    return head


def maps_of(case: golden.Case) -> list[jt.Var]:
    value = golden.feature(case.seed, "case07", 0, case["in.shape.case07.feat0"], relu=True)
    return [var(case.generated("case07.feat0", value))]


@pytest.mark.parametrize("file", golden.files(7), ids=lambda name: f"golden-{name}")
def test_outputs_anchors_and_proposals_match(file: str) -> None:
    case = golden.Case(file)
    head, batch = make_head(case), batch_of(case)
    with jt.no_grad():
        predictions = head(maps_of(case))
        few = make_head(case, nms_pre=500, max_per_img=100, min_bbox_size=8)
        tables = {
            "test.proposals": head.proposals(predictions, batch.image_shapes, "test"),
            "train_proposals": head.proposals(predictions, batch.image_shapes, "train"),
            "test_pre500": few.proposals(predictions, batch.image_shapes, "test"),
        }
    anchors, _ = head.anchor_generator(predictions.sizes, batch_of(case).image_shapes)
    case.agrees("rpn.out.anchors", anchors.numpy(), 1e-6)
    height, width = predictions.sizes[0]
    columns = predictions.columns.numpy().reshape(-1, height, width, 15, 5)
    case.agrees("rpn.out.cls", columns[..., 0].transpose(0, 3, 1, 2))
    case.agrees("rpn.out.reg", columns[..., 1:].reshape(-1, height, width, 60).transpose(0, 3, 1, 2))
    for key, table in tables.items():
        for i, rows in enumerate(table.numpy()):
            present = rows[:, 4] >= 0
            case.table_agrees(f"rpn.{key}.{i}", rows[present])
            assert (np.diff(rows[present, 4]) <= 0).all()
            assert (rows[~present] == [0, 0, 0, 0, -1]).all()


@pytest.mark.parametrize("tag", ["all", "firstk"])
@pytest.mark.parametrize("file", golden.files(7), ids=lambda name: f"golden-{name}")
def test_targets_losses_and_gradients_match(file: str, tag: str) -> None:
    case = golden.Case(file)
    head, batch, maps = make_head(case, EVERYTHING if tag == "all" else 256), batch_of(case), maps_of(case)
    predictions = head(maps)
    anchors, inside = head.anchor_generator(predictions.sizes, batch.image_shapes)
    samples, normaliser = head.sample(anchors, inside, batch)
    count = anchors.shape[0]
    labels = scatter(samples.index, 1.0 - samples.positive, samples.weight, count, rest=1.0)
    np.testing.assert_array_equal(labels, case[f"rpn.{tag}.labels"])
    weights = scatter(samples.index, samples.weight, samples.weight, count)
    np.testing.assert_array_equal(weights, case[f"rpn.{tag}.label_weights"])
    positive = scatter(samples.index, samples.positive, samples.weight, count)
    np.testing.assert_array_equal(np.repeat(positive[:, :, None], 4, 2), case[f"rpn.{tag}.bbox_weights"])
    assert normaliser.item() == case[f"rpn.{tag}.num_total_pos"] + case[f"rpn.{tag}.num_total_neg"]

    terms = head.loss(predictions, batch)
    for key in ("loss_rpn_cls", "loss_rpn_bbox"):
        assert terms[key].item() == pytest.approx(case[f"rpn.{tag}.{key}"].sum(), rel=golden.FORWARD)
    total = terms["loss_rpn_cls"] + terms["loss_rpn_bbox"]
    found = gradients(total, head, "rpn_head.")
    case.gradients_agree(f"rpn.{tag}", found)
    for leaf in ("rpn_cls", "rpn_reg"):
        case.gradient_agrees(f"rpn.{tag}.grad:rpn_head.{leaf}.weight", found[f"rpn_head.{leaf}.weight"])
    case.gradient_agrees(f"rpn.{tag}.grad_feat.0", jt.grad(total, maps)[0].numpy())


@pytest.mark.parametrize("file", golden.files(7), ids=lambda name: f"golden-{name}")
def test_box_targets_match(file: str) -> None:
    case = golden.Case(file)
    head, batch = make_head(case), batch_of(case)
    height, width = (int(n) for n in case["in.shape.case07.feat0"][2:])
    anchors, inside = head.anchor_generator([(height, width)], batch.image_shapes)
    samples, _ = head.sample(anchors, inside, batch)
    deltas = head.box_targets(anchors, samples, batch) * samples.positive.unsqueeze(-1)
    case.agrees("rpn.firstk.bbox_targets", scatter(samples.index, deltas, samples.weight, anchors.shape[0]), 1e-5)

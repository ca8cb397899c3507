"""The OLN RoI head against the reference: features, outputs, detections, sampling, targets, losses, gradients."""

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.models import batch_of, features_of, fill, first_k_keys, gradients, stage_1
from trainer.batch import Batch
from trainer.device import jt, var
from trainer.models.registry import build
from trainer.models.roi_heads.oln_roi_head import OlnRoIHead
from trainer.models.roi_heads.standard_roi_head import to_rois

FEW = 40  # samples of the 'firstk' variant


def make_head(case: golden.Case, num: int = 512, score: str = "BoxIoU") -> OlnRoIHead:
    model = stage_1(**{"train_cfg.rcnn.sampler.num": num, "roi_head.bbox_head.bbox_score_type": score})
    head = build(
        model["roi_head"],
        "model.roi_head",
        train_cfg=model["train_cfg"]["rcnn"],
        test_cfg=model["test_cfg"]["rcnn"],
    )
    head.sampler.keys = first_k_keys
    fill(head, "roi_head.", case.seed)
    return head


def proposals_of(case: golden.Case) -> jt.Var:
    return var(np.stack([case[f"in.proposals.{i}"] for i in range(2)]))


@pytest.mark.parametrize("file", golden.files(6), ids=lambda name: f"golden-{name}")
def test_features_outputs_and_detections_match(file: str) -> None:
    case = golden.Case(file)
    head, batch, maps, proposals = make_head(case), batch_of(case), features_of(case, "case06"), proposals_of(case)
    with jt.no_grad():
        rois = to_rois(proposals[:, :, :4])
        np.testing.assert_array_equal(head.roi_extractor.map_roi_levels(rois).numpy(), case["out.roi_level"])
        features = head.roi_extractor(maps, rois)
        case.agrees("out.roi_feat", features.numpy(), golden.BEHIND_ROI_ALIGN)
        outputs = head.bbox_head(features)
        case.agrees("out.cls_score", outputs.classes.numpy(), golden.BEHIND_ROI_ALIGN)
        case.agrees("out.bbox_pred", outputs.deltas.numpy(), golden.BEHIND_ROI_ALIGN)
        case.agrees("out.bbox_score", outputs.scores.numpy(), golden.BEHIND_ROI_ALIGN)
        boxes, scores = head.scored_boxes(maps, proposals, batch.image_shapes)
        factors = batch.host["scale_factors"]
        for i in range(2):
            case.agrees(f"test.raw_rescale.{i}.bboxes", boxes[i].numpy() / factors[i], golden.BEHIND_ROI_ALIGN)
            raw = case[f"test.raw_rescale.{i}.scores"][:, 0]
            np.testing.assert_allclose(scores[i].numpy(), raw, atol=golden.BEHIND_ROI_ALIGN)
        for kind, scale in (("rescale", factors), ("norescale", np.ones_like(factors))):
            for i, found in enumerate(head.predict(maps, proposals, batch.image_shapes, var(scale))):
                case.table_agrees(f"test.result_{kind}.{i}", np.c_[found.boxes, found.scores])


@pytest.mark.parametrize("tag", ["all", "firstk"])
@pytest.mark.parametrize("file", golden.files(6), ids=lambda name: f"golden-{name}")
def test_sampling_targets_losses_and_gradients_match(file: str, tag: str) -> None:
    case = golden.Case(file)
    head = make_head(case, 512 if tag == "all" else FEW)
    batch, maps, proposals = batch_of(case), features_of(case, "case06")[:4], proposals_of(case)
    check_sampling(case, tag, head, proposals, batch)
    terms = head.loss(maps, proposals, batch)
    for key in ("loss_cls", "loss_bbox", "loss_bbox_score", "acc"):
        assert terms[key].item() == pytest.approx(float(case[f"{tag}.{key}"]), rel=golden.BEHIND_ROI_ALIGN), key
    total = terms["loss_cls"] + terms["loss_bbox"] + terms["loss_bbox_score"]
    case.gradients_agree(tag, gradients(total, head, "roi_head."))
    for i, gradient in enumerate(jt.grad(total, maps)):
        case.gradient_agrees(f"{tag}.grad_feat.{i}", gradient.numpy())


def check_sampling(case: golden.Case, tag: str, head: OlnRoIHead, proposals: jt.Var, batch: Batch) -> None:
    """Assert that the sampled RoIs and their targets are the stored ones, row by row."""
    sampled = head.sample(proposals, batch)
    used = sampled.samples.weight.numpy() > 0
    positive = sampled.samples.positive.numpy()
    case.agrees(f"{tag}.rois", to_rois(sampled.boxes).numpy().reshape(2, -1, 5)[used], 1e-6)
    np.testing.assert_array_equal(sampled.labels.numpy()[used], case[f"{tag}.labels"])
    np.testing.assert_array_equal(positive.sum(1), case[f"{tag}.num_pos_per_img"])
    np.testing.assert_array_equal(np.repeat(positive[used][:, None], 4, 1), case[f"{tag}.bbox_weights"])
    np.testing.assert_array_equal(positive[used], case[f"{tag}.bbox_score_weights"])
    deltas = head.bbox_head.coder.encode(sampled.boxes, sampled.truths).numpy()
    case.agrees(f"{tag}.bbox_targets", (deltas * positive[:, :, None])[used], 1e-5)
    scores = head.bbox_head.score_targets(sampled).numpy()
    case.agrees(f"{tag}.bbox_score_targets", (scores * positive)[used], 1e-5)


@pytest.mark.parametrize("file", golden.files(6), ids=lambda name: f"golden-{name}")
def test_centerness_as_score_target_matches(file: str) -> None:
    case = golden.Case(file)
    head, batch = make_head(case, score="Centerness"), batch_of(case)
    sampled = head.sample(proposals_of(case), batch)
    scores = (head.bbox_head.score_targets(sampled) * sampled.samples.positive).numpy()
    case.agrees("centerness.bbox_score_targets", scores[sampled.samples.weight.numpy() > 0], 1e-5)

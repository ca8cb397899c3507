"""The whole end-to-end detector (CLIP C4, stock RPN, CLIP head) against the reference: one evaluation, one step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.clip_models import BBOX_HEAD, END_TO_END, RCNN, write_embeddings
from tests.parity.models import batch_of, changed, fill, first_k_keys, gradients
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models import build_detector
from trainer.models.roi_heads.standard_roi_head import to_rois


def slots_needed(case: golden.Case) -> int:
    """How many RoIs per image to sample at most: 512 as the reference, or fewer when that cuts nothing off.

    Empty slots cost as much time as RoIs.
    """
    positives = case["train.num_pos_per_img"]
    most = int((positives + case["train.num_neg_per_img"]).max())
    return most if positives.max() < most // 4 else 512


def prepare(case: golden.Case, folder: Path) -> tuple[nn.Module, Batch]:
    """The filled detector and the case's batch; its images are already normalised and replace the preprocessor."""
    classes = int(case["in.num_classes"])
    head = {
        **BBOX_HEAD,
        "num_classes": classes,
        "zeroshot_path": write_embeddings(folder, case.seed, 0, classes),
        "fed_loss_num_cat": 10,
    }
    detector = build_detector(
        changed(
            END_TO_END,
            **{
                "roi_head.bbox_head": head,
                "test_cfg.rcnn": {**RCNN, "max_per_img": 300},
                "train_cfg.rcnn.sampler.num": slots_needed(case),
            },
        )
    )
    roi_head = detector.roi_head
    for part in (detector.rpn_head.strict_sampler, roi_head.sampler, roi_head.bbox_head):
        part.keys = first_k_keys
    fill(detector, "", case.seed)
    images = var(case.image_batch())
    detector.preprocessor = lambda *_: images
    return detector, batch_of(case)


def in_stored_order(rois: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """For each stored RoI the index of the nearest one of `rois`, both (n,5)."""
    return np.abs(rois[None] - stored[:, None]).max(-1).argmin(1)


@pytest.mark.parametrize("file", golden.files(10), ids=lambda name: f"golden-{name}")
def test_maps_proposals_outputs_and_detections_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    detector, batch = prepare(case, tmp_path)
    roi_head = detector.roi_head
    with jt.no_grad():
        maps = detector.extract(batch)
        case.agrees("out.c4", maps[0].numpy())
        proposals = detector.proposals(maps, batch)
        stored = np.concatenate(
            [np.c_[np.full(len(rows), i), rows] for i in range(2) for rows in [case[f"test.rpn_proposals.{i}"]]]
        ).astype(np.float32)
        for i, rows in enumerate(proposals.numpy()):
            case.table_agrees(f"test.rpn_proposals.{i}", rows[rows[:, 4] >= 0])
        features = roi_head.shared_head(roi_head.roi_extractor(maps, var(stored[:, :5])))
        outputs = roi_head.bbox_head(features)
        case.agrees("test.cls_score", outputs.classes.numpy(), golden.BEHIND_ROI_ALIGN)
        case.agrees("test.bbox_pred", outputs.deltas.numpy(), golden.BEHIND_ROI_ALIGN)
        # Rows without a proposal cost as much time as proposals.
        most = max(len(case[f"test.rpn_proposals.{i}"]) for i in range(2))
        assert (proposals.numpy()[:, most:, 4] < 0).all()
        scales = var(batch.host["scale_factors"])
        detections = roi_head.predict(maps, proposals[:, :most], batch.image_shapes, scales)
    for i, found in enumerate(detections):
        # They come by descending score: those of a lower limit are the first ones.
        for kind, most in (("softnms", 100), ("softnms300", 300)):
            table, key = np.c_[found.boxes, found.scores][:most], f"test.{kind}.{i}"
            case.table_agrees(f"{key}.dets", table, f"{key}.labels", found.labels[:most])


@pytest.mark.parametrize("file", golden.files(10), ids=lambda name: f"golden-{name}")
def test_losses_sampled_rois_and_all_gradients_of_a_step_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    detector, batch = prepare(case, tmp_path)
    maps = detector.extract(batch)
    proposals = detector.rpn_head.proposals(detector.rpn_head(maps), batch.image_shapes, "train")
    sampled = detector.roi_head.sample(proposals, batch)
    used = sampled.samples.weight.numpy().reshape(-1) > 0
    np.testing.assert_array_equal(sampled.samples.positives.numpy(), case["train.num_pos_per_img"])
    np.testing.assert_array_equal(sampled.samples.negatives.numpy(), case["train.num_neg_per_img"])
    # Proposals of nearly equal scores may have changed places.
    rois = to_rois(sampled.boxes).numpy()[used]
    order = in_stored_order(rois, case["train.rois"])
    case.agrees("train.rois", rois[order])
    np.testing.assert_array_equal(sampled.labels.numpy().reshape(-1)[used][order], case["train.labels"])

    terms = detector.loss(batch)
    for key in ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"):
        expected = float(case[f"train.{key}"].sum())
        assert terms[key].item() == pytest.approx(expected, rel=golden.BEHIND_ROI_ALIGN), key
    total = sum(value for key, value in terms.items() if "loss" in key)
    assert total.item() == pytest.approx(float(case["train.total"]), rel=golden.BEHIND_ROI_ALIGN)
    case.gradients_agree("train", gradients(total, detector, ""))


def test_parameter_names_and_shapes_are_those_of_the_golden_checkpoints(tmp_path: Path) -> None:
    detector, _ = prepare(golden.Case(golden.files(10)[0]), tmp_path)
    found = {name: tuple(value.shape) for name, value in detector.named_parameters()}
    assert found == golden.parameters("end2end_detector")

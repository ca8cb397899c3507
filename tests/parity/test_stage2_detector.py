"""The whole stage-2 detector against the reference: evaluation with each kind of head, one step on two data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.clip_models import BBOX_HEAD, RCNN, STAGE_2, write_embeddings, write_image_counts
from tests.parity.models import batch_of, changed, fill, first_k_keys, gradients
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models import build_detector
from trainer.models.roi_heads.standard_roi_head import to_rois


def prepare(case: golden.Case, bbox_head: dict, max_per_img: int = 100) -> tuple[nn.Module, Batch]:
    """The filled detector and the case's batch; its images are already normalised and replace the preprocessor."""
    detector = build_detector(
        changed(
            STAGE_2,
            **{
                "roi_head.bbox_head": {**BBOX_HEAD, **bbox_head},
                "test_cfg.rcnn": {**RCNN, "max_per_img": max_per_img},
            },
        )
    )
    detector.roi_head.sampler.keys = detector.roi_head.bbox_head.keys = first_k_keys
    fill(detector, "", case.seed)
    images = var(case.image_batch())
    detector.preprocessor = lambda *_: images
    batch = batch_of(case)
    # Rows behind the last proposal, as the feed pads them: whole images with high scores.
    padding = np.tile(np.array([0, 0, 64, 64, 1], np.float32), (4, 1))
    batch.proposals = var(np.stack([np.r_[case[f"in.proposals.{i}"], padding] for i in range(2)]))
    batch.proposal_counts = var([len(case[f"in.proposals.{i}"]) for i in range(2)], "int32")
    return detector, batch


def partitioned(case: golden.Case, folder: Path) -> dict:
    classes = case["in.num_classes_per_dataset"]
    return {
        "type": "BBoxHeadCLIPPartitioned",
        "num_classes": int(classes.max()),
        "zeroshot_path": [write_embeddings(folder, case.seed, i, n) for i, n in enumerate(classes)],
        "cat_freq_path": [None, write_image_counts(folder, case["in.image_count.1"])],
        "fed_loss_num_cat": 6,
    }


def check_detections(case: golden.Case, kind: str, detector: nn.Module, batch: Batch) -> None:
    for i, found in enumerate(detector.predict(batch)):
        table = np.c_[found.boxes, found.scores]
        case.table_agrees(f"test.{kind}.dets.{i}", table, f"test.{kind}.labels.{i}", found.labels)


@pytest.mark.parametrize("file", golden.files(9), ids=lambda name: f"golden-{name}")
def test_all_intermediate_values_and_detections_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    detector, batch = prepare(case, partitioned(case, tmp_path))
    roi_head, bbox_head = detector.roi_head, detector.roi_head.bbox_head
    count = len(case["in.proposals.0"])
    with jt.no_grad():
        maps = detector.extract(batch)
        case.agrees("out.c4", maps[0].numpy())
        features = roi_head.roi_extractor(maps, to_rois(batch.proposals[:, :count, :4]))
        case.agrees("out.roi_align", features.numpy(), golden.BEHIND_ROI_ALIGN)
        features = roi_head.shared_head(features)
        case.agrees("out.shared_head", features.numpy(), golden.BEHIND_ROI_ALIGN)
        case.agrees("out.attnpool", bbox_head.attnpool(features).numpy(), golden.BEHIND_ROI_ALIGN)
        outputs = bbox_head(features)
        classes, first = outputs.classes.numpy(), 0
        for i, size in enumerate(case["in.num_classes_per_dataset"]):
            scores = np.c_[classes[:, first : first + size], classes[:, -1]]
            case.agrees(f"out.cls_score.{i}", scores, golden.BEHIND_ROI_ALIGN)
            first += size
        case.agrees("out.bbox_pred", outputs.deltas.numpy(), golden.BEHIND_ROI_ALIGN)
        check_detections(case, "partitioned", detector, batch)


@pytest.mark.parametrize("kind", ["infer", "calib"])
@pytest.mark.parametrize("file", golden.files(9), ids=lambda name: f"golden-{name}")
def test_open_world_detections_match_with_and_without_calibration(file: str, kind: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    classes = int(case["in.num_classes_per_dataset"][1])
    embeddings = write_embeddings(tmp_path, case.seed, 1, classes)
    head = {"type": "BBoxHeadCLIPInference", "num_classes": classes, "zeroshot_path": embeddings, "beta": 0.3}
    if kind == "calib":
        np.save(tmp_path / "counts.npy", case["in.raw_results_counts"].sum(0))
        head |= {"gamma": 0.6, "detection_counts": str(tmp_path / "counts.npy")}
    check_detections(case, kind, *prepare(case, head, max_per_img=300))


@pytest.mark.parametrize("file", golden.files(9), ids=lambda name: f"golden-{name}")
def test_losses_sampled_rois_and_all_gradients_of_a_step_match(file: str, tmp_path: Path) -> None:
    case = golden.Case(file)
    detector, batch = prepare(case, partitioned(case, tmp_path))
    sampled = detector.roi_head.sample(detector.proposals([], batch), batch)
    used = sampled.samples.weight.numpy() > 0
    np.testing.assert_array_equal(to_rois(sampled.boxes).numpy()[used.reshape(-1)], case["train.rois"])
    np.testing.assert_array_equal(sampled.labels.numpy()[used], case["train.labels"])
    np.testing.assert_array_equal(sampled.samples.positives.numpy(), case["train.num_pos_per_img"])
    np.testing.assert_array_equal(sampled.samples.negatives.numpy(), case["train.num_neg_per_img"])

    terms = detector.loss(batch)
    for key in ("loss_cls", "loss_bbox"):
        assert terms[key].item() == pytest.approx(float(case[f"train.{key}"]), rel=golden.FORWARD), key
    total = terms["loss_cls"] + terms["loss_bbox"]
    assert total.item() == pytest.approx(float(case["train.total"]), rel=golden.FORWARD)
    case.gradients_agree("train", gradients(total, detector, ""))


def test_parameter_names_and_shapes_are_those_of_the_golden_checkpoints(tmp_path: Path) -> None:
    case = golden.Case(golden.files(9)[0])
    detector, _ = prepare(case, partitioned(case, tmp_path))
    found = {name: tuple(value.shape) for name, value in detector.named_parameters()}
    assert found == golden.parameters("stage2_detector")

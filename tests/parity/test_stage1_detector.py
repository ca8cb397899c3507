"""The whole stage-1 detector against the reference: one evaluation and one training step of two images."""

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.models import STAGE_1, batch_of, fill, first_k_keys, gradients
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.models import build_detector
from trainer.models.roi_heads.standard_roi_head import to_rois


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    detector = build_detector(STAGE_1)
    for sampler in (detector.rpn_head.strict_sampler, detector.rpn_head.wide_sampler, detector.roi_head.sampler):
        sampler.keys = first_k_keys
    return detector


def prepare(file: str, detector: nn.Module) -> tuple[golden.Case, Batch]:
    """The case and its batch; its images are already normalised, so the preprocessor is replaced by them."""
    case = golden.Case(file)
    fill(detector, "", case.seed)
    images = var(case.image_batch())
    detector.preprocessor = lambda *_: images
    return case, batch_of(case)


def test_parameter_names_and_shapes_are_those_of_the_golden_checkpoints(detector: nn.Module) -> None:
    expected = golden.parameters("stage1_detector")
    assert {name: tuple(value.shape) for name, value in detector.named_parameters()} == expected


@pytest.mark.parametrize("file", golden.files(8), ids=lambda name: f"golden-{name}")
def test_maps_proposals_and_detections_match(file: str, detector: nn.Module) -> None:
    case, batch = prepare(file, detector)
    with jt.no_grad():
        maps = detector.extract(batch)
        predictions = detector.rpn_head(maps)
        proposals = detector.rpn_head.proposals(predictions, batch.image_shapes, "test").numpy()
    columns, first = predictions.columns.numpy(), 0
    for i, (height, width) in enumerate(predictions.sizes):
        case.agrees(f"out.fpn.{i}", maps[i].numpy())
        level = columns[:, first : first + height * width].reshape(-1, height, width, 6).transpose(0, 3, 1, 2)
        case.agrees(f"out.rpn_reg.{i}", level[:, 1:5])
        case.agrees(f"out.rpn_obj.{i}", level[:, 5:])
        first += height * width
    for i, found in enumerate(detector.predict(batch)):
        case.table_agrees(f"test.rpn_proposals.{i}", proposals[i])
        case.table_agrees(f"test.result.{i}", np.c_[found.boxes, found.scores])
        assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("file", golden.files(8), ids=lambda name: f"golden-{name}")
def test_losses_sampled_rois_and_all_gradients_of_a_step_match(file: str, detector: nn.Module) -> None:
    case, batch = prepare(file, detector)
    maps = detector.extract(batch)
    predictions = detector.rpn_head(maps)
    proposals = detector.rpn_head.proposals(predictions, batch.image_shapes, "train")
    sampled = detector.roi_head.sample(proposals, batch)
    used = sampled.samples.weight.numpy() > 0
    case.agrees("train.rois", to_rois(sampled.boxes).numpy().reshape(2, -1, 5)[used], golden.FORWARD)
    np.testing.assert_array_equal(sampled.labels.numpy()[used], case["train.labels"])

    terms = detector.loss(batch)
    for key, value in terms.items():
        if f"train.{key}" in case.values:
            expected = case[f"train.{key}"].sum()
            assert value.item() == pytest.approx(expected, rel=golden.BEHIND_ROI_ALIGN), key
    total = sum(value for key, value in terms.items() if "loss" in key)
    assert total.item() == pytest.approx(float(case["train.total"]), rel=golden.BEHIND_ROI_ALIGN)
    case.gradients_agree("train", gradients(total, detector, ""))

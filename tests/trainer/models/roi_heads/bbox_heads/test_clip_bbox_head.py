"""The CLIP box head: golden losses of the authors' code, the background, the draw of classes, wrong configs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.models.clip_examples import make_head, sampled_rois, write_vocabulary
from tests.trainer.models.examples import sequence
from trainer import device
from trainer.device import jt, var
from trainer.models.ops.random_keys import Draw, Use
from trainer.models.roi_heads.bbox_heads.clip_bbox_head import CLIPHead, Outputs
from trainer.models.roi_heads.standard_roi_head import SampledRoIs


def golden_loss(folder: Path, number: int) -> tuple[CLIPHead, Outputs, SampledRoIs]:
    """Six RoIs of 80 classes, with an empty slot that must not count."""
    head = make_head(folder, num_classes=80, zeroshot_path=write_vocabulary(folder, 80), fed_loss_num_cat=number)
    logits = np.r_[sequence((6, 81), 5, 0.37), np.full((1, 81), 9, np.float32)]
    logits[:, 80] = 0
    deltas = np.r_[sequence((6, 4), 1, 0.9), np.full((1, 4), 9, np.float32)]
    targets = np.r_[sequence((6, 4), 0.5, 0.4), np.zeros((1, 4), np.float32)]
    sampled = sampled_rois(head, [[3, 3, 17, 80, 80, 80, -1]], [[1, 1, 1, 0, 0, 0, 0]], targets, [0])
    return head, Outputs(var(logits), var(deltas)), sampled


@pytest.mark.parametrize(("number", "expected"), [(1, 3.061553), (81, 138.230591)])
def test_golden_losses(number: int, expected: float, tmp_path: Path) -> None:
    head, outputs, sampled = golden_loss(tmp_path, number)
    terms = head.loss(outputs, sampled)
    assert terms["loss_cls"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["loss_bbox"].item() == pytest.approx(1.28348, rel=1e-4)


def test_the_mean_loss_over_draws_is_the_golden_one(tmp_path: Path) -> None:
    head, outputs, sampled = golden_loss(tmp_path, 50)
    losses = []
    for step in range(200):
        drawn = replace(sampled, class_draw=Draw(0, step, Use.CLASSES))
        losses.append(head.loss(outputs, drawn)["loss_cls"].item())
    assert np.mean(losses) == pytest.approx(84.562, abs=1.9)
    assert np.std(losses) > 1


def test_the_background_scores_a_cosine_of_zero_and_classes_a_hundred_cosines(tmp_path: Path) -> None:
    head = make_head(tmp_path)
    features = jt.randn(3, 64, 2, 2)
    vectors, text = head.attnpool(features).numpy(), np.load(tmp_path / "vocabulary_12_0.npy").astype(np.float32)
    classes = head(features).classes.numpy()
    cosine = vectors @ text.T / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(text, axis=1)
    np.testing.assert_allclose(classes[:, :12], 100 * cosine, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(classes[:, 12], np.zeros(3))


def test_a_vocabulary_smaller_than_the_draw_trains_on_all_its_classes(tmp_path: Path) -> None:
    losses = []
    for number in (13, 50):
        device.seed(0)
        head = make_head(tmp_path, fed_loss_num_cat=number)
        sampled = sampled_rois(head, [[3, 12], [12, 12]], [[1, 0], [0, 0]], np.zeros((4, 4), np.float32))
        losses.append(head.loss(head(jt.randn(4, 64, 2, 2)), sampled)["loss_cls"].item())
    assert losses[0] == losses[1] > 0


def test_the_vocabulary_is_no_parameter_that_trains(tmp_path: Path) -> None:
    named = dict(make_head(tmp_path).named_parameters())
    assert named["zs_weights"].shape == [32, 13]
    assert [name for name, value in named.items() if value.is_stop_grad()] == ["zs_weights"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 11}, r"bbox_head\.num_classes: 12 is expected"),
        ({"in_channels": 100}, r"bbox_head\.in_channels: a multiple of 64"),
        ({"loss_cls": {"type": "CrossEntropyLoss"}}, r"bbox_head\.loss_cls\.use_sigmoid: only True"),
    ],
)
def test_wrong_values_are_refused_by_their_full_name(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_head(tmp_path, **changes)

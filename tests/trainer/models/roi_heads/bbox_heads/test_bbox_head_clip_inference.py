"""Fusion with proposal scores and calibration: golden values of the authors' code, extreme logits, wrong files."""

from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests import tampering
from tests.trainer.models.clip_examples import make_head, write_vocabulary
from trainer.device import var
from trainer.models.roi_heads.bbox_heads.bbox_head_clip_inference import BBoxHeadCLIPInference, _read_counts
from trainer.vocabulary import calibration

LOGITS = var([[[2, -1, 0.5], [-3, 1, -2]]], "float32")
OBJECTNESS = var([[0.64, 0.25]], "float32")


def make_inference(folder: Path, counts: list[float] | None = None, **changes: object) -> BBoxHeadCLIPInference:
    if counts is not None:
        np.save(folder / "counts.npy", np.array(counts))
        changes = {"detection_counts": str(folder / "counts.npy"), "gamma": 0.6, **changes}
    three = {"type": "BBoxHeadCLIPInference", "num_classes": 3, "zeroshot_path": write_vocabulary(folder, 3)}
    return make_head(folder, **{**three, "beta": 0.3, **changes})


def write_calibration(folder: Path, head: BBoxHeadCLIPInference, counts: list[int], gamma: float) -> str:
    names = ["a", "b", "c"]
    made = calibration.Calibration(names, calibration.digest(head.embeddings()), gamma, counts, images=5)
    calibration.save(folder / "calibration.json", made)
    return str(folder / "calibration.json")


def test_golden_scores_without_calibration(tmp_path: Path) -> None:
    scores = make_inference(tmp_path).scores(LOGITS, OBJECTNESS).numpy()
    expected = [[0.70435, 0.493427, 0.634687], [0.151832, 0.34494, 0.200191]]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)


def test_golden_scores_with_calibration(tmp_path: Path) -> None:
    scores = make_inference(tmp_path, [100, 10, 1]).scores(LOGITS, OBJECTNESS).numpy()
    expected = [[0.393839, 0.417593, 0.812997], [0.084897, 0.291926, 0.256433]]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)


def test_a_class_never_detected_counts_as_detected_once(tmp_path: Path) -> None:
    with_zero = make_inference(tmp_path, [100, 10, 0]).scores(LOGITS, OBJECTNESS).numpy()
    np.testing.assert_array_equal(with_zero, make_inference(tmp_path, [100, 10, 1]).scores(LOGITS, OBJECTNESS).numpy())


def test_the_original_scores_nothing_when_a_class_was_never_detected(tmp_path: Path) -> None:
    head = make_inference(tmp_path, [100, 10, 0], least_count=0.0)
    np.testing.assert_array_equal(head.scores(LOGITS, OBJECTNESS).numpy(), np.zeros((1, 2, 3)))


def test_a_calibration_file_says_the_same_as_its_counts_and_gamma(tmp_path: Path) -> None:
    file = write_calibration(tmp_path, make_inference(tmp_path), [100, 10, 1], gamma=0.6)
    scores = make_inference(tmp_path, calibration=file).scores(LOGITS, OBJECTNESS).numpy()
    np.testing.assert_array_equal(scores, make_inference(tmp_path, [100, 10, 1]).scores(LOGITS, OBJECTNESS).numpy())


def test_the_gamma_of_the_config_takes_the_place_of_the_file_s(tmp_path: Path) -> None:
    file = write_calibration(tmp_path, make_inference(tmp_path), [100, 10, 1], gamma=0.9)
    scores = make_inference(tmp_path, calibration=file, gamma=0.6).scores(LOGITS, OBJECTNESS).numpy()
    np.testing.assert_array_equal(scores, make_inference(tmp_path, [100, 10, 1]).scores(LOGITS, OBJECTNESS).numpy())


def test_a_calibration_of_other_embeddings_is_refused(tmp_path: Path) -> None:
    file = write_calibration(tmp_path, make_inference(tmp_path), [100, 10, 1], gamma=0.6)
    other = write_vocabulary(tmp_path, 3, seed=1)
    with pytest.raises(UserError, match=r"bbox_head\.calibration: .*made for another vocabulary: 3 names, 'a' to 'c'"):
        make_inference(tmp_path, calibration=file, zeroshot_path=other)


def test_very_negative_logits_keep_their_small_scores(tmp_path: Path) -> None:
    # A sigmoid that ends at e^-30 would give 1.2e-4 here, above the usual threshold.
    scores = make_inference(tmp_path).scores(var([[[-100, 0, 100]]], "float32"), var([[1.0]], "float32")).numpy()
    np.testing.assert_allclose(scores[0, 0], [np.exp(-30), 0.5**0.3, 1], rtol=1e-4)


def test_proposals_without_a_score_score_nothing(tmp_path: Path) -> None:
    scores = make_inference(tmp_path).scores(LOGITS, var([[0.0, -1.0]], "float32")).numpy()
    np.testing.assert_array_equal(scores, np.zeros((1, 2, 3)))


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([1, 2], {}, r"detection_counts: .*counts\.npy should hold 3 numbers"),
        ([1, 2, -3], {}, r"detection_counts: .*counts\.npy should hold 3 numbers"),
        ([1, 2, 3], {"gamma": None}, r"bbox_head\.gamma: detection_counts needs it"),
        ([1, 2, 3], {"calibration": "any.json"}, r"bbox_head: calibration and detection_counts exclude each other"),
        (None, {"calibration": "none.json"}, r"bbox_head\.calibration: cannot read 'none\.json'"),
        (None, {"gamma": 0.6, "detection_counts": "none.npy"}, r"detection_counts: cannot read 'none\.npy'"),
    ],
)
def test_wrong_values_are_refused_by_their_full_name(
    counts: list[float] | None, changes: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make_inference(tmp_path, counts, **changes)


def test_tampered_counts_are_refused_in_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "counts.npy"
    np.save(path, np.arange(8, dtype=np.float32))
    refused = tampering.assert_safe(
        path,
        tampering.npy_files(path.read_bytes()),
        lambda: _read_counts(str(path), 8, "head"),
        lambda counts: counts.shape == (8,) and bool((np.isfinite(counts) & (counts >= 0)).all()),
    )
    assert refused > 40

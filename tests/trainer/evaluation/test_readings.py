"""Readings of a head's scores: what calibration and shuffled embeddings would have given, without another pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.errors import UserError
from tests.trainer.models.clip_examples import make_head, write_vocabulary
from trainer.device import var
from trainer.evaluation.readings import CALIBRATED, PLAIN, SHUFFLED, deranged, readings, uncalibrated

LOGITS = var(np.random.default_rng(0).normal(0, 2, (1, 5, 12)), "float32")
OBJECTNESS = var(np.linspace(0.1, 0.9, 5)[None], "float32")


def inference_head(folder: Path, **changes: object):
    return make_head(folder, **{"type": "BBoxHeadCLIPInference", "beta": 0.4, **changes})


@pytest.fixture
def calibrated(tmp_path: Path):
    np.save(tmp_path / "counts.npy", np.arange(1, 13))
    return inference_head(tmp_path, gamma=0.6, detection_counts=str(tmp_path / "counts.npy"))


def test_the_calibrated_reading_of_uncalibrated_scores_is_what_the_head_says_itself(calibrated, tmp_path: Path) -> None:
    own = calibrated.scores(LOGITS, OBJECTNESS).numpy()
    ways = readings(calibrated, chance=False)
    assert list(ways) == [PLAIN, CALIBRATED]
    with uncalibrated(calibrated):
        scores = calibrated.scores(LOGITS, OBJECTNESS)
    np.testing.assert_allclose(ways[CALIBRATED](scores).numpy(), own, rtol=1e-6)
    plain = inference_head(tmp_path).scores(LOGITS, OBJECTNESS).numpy()
    np.testing.assert_allclose(ways[PLAIN](scores).numpy(), plain, rtol=1e-6)
    np.testing.assert_array_equal(calibrated.scores(LOGITS, OBJECTNESS).numpy(), own)


def test_the_shuffled_reading_is_that_of_a_head_with_the_embeddings_in_another_order(tmp_path: Path) -> None:
    file = write_vocabulary(tmp_path, 12)
    head = make_head(tmp_path, zeroshot_path=file)
    givers = deranged(12)
    np.save(tmp_path / "shuffled.npy", np.load(file)[givers])
    other = make_head(tmp_path, zeroshot_path=str(tmp_path / "shuffled.npy"))
    for name, parameter in other.named_parameters():
        if "zs_weights" not in name:
            parameter.update(dict(head.named_parameters())[name])
    features = var(np.random.default_rng(1).normal(0, 1, (5, 64, 2, 2)), "float32")
    scores = head.scores(head(features).classes[:, :-1].unsqueeze(0), OBJECTNESS)
    expected = other.scores(other(features).classes[:, :-1].unsqueeze(0), OBJECTNESS)
    np.testing.assert_allclose(readings(head, chance=True)[SHUFFLED](scores).numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 24, 365])
def test_no_name_keeps_its_own_embedding(count: int) -> None:
    givers = deranged(count)
    assert sorted(givers) == list(range(count))
    assert (givers != np.arange(count)).all()


def test_chance_needs_names() -> None:
    with pytest.raises(UserError, match=r"--chance .*needs a CLIP box head"):
        readings(object(), chance=True)

"""Before training, layers have weights of the spread that UniDetector and MMDetection draw them with."""

import numpy as np
import pytest

from tests.trainer.models.examples import small_model
from trainer import device
from trainer.models import build_detector


@pytest.mark.parametrize(
    ("layer", "spread"),
    [
        ("rpn_head.rpn_conv", 0.01),
        ("rpn_head.rpn_obj", 0.01),
        ("rpn_head.rpn_reg", 0.01),
        ("roi_head.bbox_head.fc_cls", 0.01),
        ("roi_head.bbox_head.fc_reg", 0.001),
        ("roi_head.bbox_head.fc_bbox_score", 0.01),
    ],
)
def test_a_heads_layers_begin_with_a_normal_distribution_of_the_originals_spread(layer: str, spread: float) -> None:
    device.seed(0)
    found = dict(build_detector(small_model()).named_parameters())
    weight, bias = found[f"{layer}.weight"].numpy(), found[f"{layer}.bias"].numpy()
    error = 4 / np.sqrt(2 * weight.size)  # four standard errors of a standard deviation
    assert weight.std() == pytest.approx(spread, rel=error) and not bias.any()
    assert abs(weight.mean()) < 4 * spread / np.sqrt(weight.size)


def test_shared_layers_begin_with_xaviers_spread() -> None:
    device.seed(0)
    found = dict(build_detector(small_model()).named_parameters())
    for layer in ("roi_head.bbox_head.shared_fcs.0", "roi_head.bbox_head.shared_fcs.1"):
        weight = found[f"{layer}.weight"].numpy()
        expected = np.sqrt(2 / sum(weight.shape))
        assert weight.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * weight.size)), layer

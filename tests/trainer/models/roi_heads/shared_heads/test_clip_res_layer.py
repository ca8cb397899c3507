"""CLIP's layer4 on RoI features: golden values of the authors' code, and that all of it trains."""

import numpy as np
import pytest

from tests.trainer.models.examples import fill_with_sequences, sequence
from trainer.device import jt, var
from trainer.models.roi_heads.shared_heads.clip_res_layer import CLIPResLayer


def test_golden_values() -> None:
    head = CLIPResLayer()
    fill_with_sequences(head)
    with jt.no_grad():
        out = head(var(np.abs(sequence((2, 1024, 14, 14), step=0.0171)))).numpy()
    assert out.shape == (2, 2048, 7, 7)
    assert out.sum() == pytest.approx(23288.3931, rel=1e-3)
    assert np.abs(out).mean() == pytest.approx(0.11603353, rel=1e-3)


def test_everything_but_the_statistics_trains() -> None:
    for name, value in CLIPResLayer([1, 1, 1, 2], 8).named_parameters():
        assert value.is_stop_grad() == ("running" in name), name

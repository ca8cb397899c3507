"""The models of the configs, at their full size, are as large as the PyTorch ones, and train as much."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.configs import files
from tests.configs.shipped import load
from trainer.device import nn
from trainer.models import build_detector
from trainer.models.summary import counts

LENGTH = 1024
# parameters, of which trainable, and tensors of a PyTorch state dict
SIZES = {
    "coco stage 1": (41_346_893, 41_121_549, 352),
    "coco stage 2": (38_320_996, 38_076_420, 342),
    "three sets stage 2": (38_320_996, 38_076_420, 344),
    "coco end to end": (47_836_079, 47_591_503, 348),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_model_has_as_many_parameters_and_tensors_as_upstreams(name: str, tmp_path: Path) -> None:
    config = load(name, data_root=str(tmp_path))
    files.write(config.model.roi_head.bbox_head, LENGTH)
    model = build_detector(config.model)
    trainable, frozen, _ = counts(model)
    assert (trainable + frozen, trainable, state_tensors(model)) == SIZES[name]


def state_tensors(model: nn.Module) -> int:
    """PyTorch's norms have one tensor more, ``num_batches_tracked``."""
    names = [name for name, _ in model.named_parameters()]
    return len(names) + sum(name.endswith("running_mean") for name in names)

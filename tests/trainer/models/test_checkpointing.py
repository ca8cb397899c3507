"""Checkpointed blocks: the same gradients, less memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import ROOT
from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model
from tests.trainer.models.examples import random_batch, small_model
from trainer.device import jt, seed
from trainer.models import build_detector
from trainer.training.terms import total_loss

WIDE = {"neck.in_channels": [32, 64, 128, 256]}


def loss_and_gradients(config: dict) -> dict[str, np.ndarray]:
    seed(0)
    model = build_detector(config)
    model.train()
    for name, parameter in model.named_parameters():  # a last norm of 0 passes no gradient to its block
        if not parameter.is_stop_grad() and not parameter.numpy().any():
            parameter.assign(jt.ones(parameter.shape) * (0.1 if name.endswith("weight") else 0.0))
    trained = {name: value for name, value in model.named_parameters() if not value.is_stop_grad()}
    seed(1)
    loss = total_loss(model.loss(random_batch() if config["type"] == "FasterRCNN" else batch_with_proposals()))
    gradients = jt.grad(loss, list(trained.values()))
    return {"loss": loss.numpy(), **{name: g.numpy() for name, g in zip(trained, gradients, strict=True)}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet-18", "ResNet-50", "ResNet without a frozen stage", "CLIP"])
def test_loss_and_gradients_are_those_of_blocks_that_keep_their_maps(name: str, tmp_path: Path) -> None:
    configs = {
        "ResNet-18": lambda with_cp: small_model(**with_cp),
        "ResNet-50": lambda with_cp: small_model(**WIDE, **{"backbone.depth": 50, **with_cp}),
        "ResNet without a frozen stage": lambda with_cp: small_model(**{"backbone.frozen_stages": -1, **with_cp}),
        "CLIP": lambda with_cp: small_clip_model(
            tmp_path, **with_cp, **{key.replace("backbone", "roi_head.shared_head"): with_cp[key] for key in with_cp}
        ),
    }
    kept, again = (loss_and_gradients(configs[name](with_cp)) for with_cp in ({}, {"backbone.with_cp": True}))
    assert kept.keys() == again.keys()
    for key, expected in kept.items():
        np.testing.assert_allclose(again[key], expected, rtol=0, atol=1e-6 * np.abs(expected).max(), err_msg=key)
    moved = [key for key, gradient in kept.items() if "layer" in key and gradient.any()]
    assert len(moved) > 0.9 * sum("layer" in key for key in kept)


STEP = """
import sys
from trainer.device import device_memory, jt, seed
from trainer.models.backbones.resnet import ResNet
seed(0)
backbone = ResNet(50, base_channels=16, frozen_stages=1, with_cp=sys.argv[1] == "True")
backbone.train()
images = jt.rand(2, 3, 512, 640).stop_grad()
trained = [parameter for parameter in backbone.parameters() if not parameter.is_stop_grad()]
jt.sync_all()
jt.gc()
gradients = jt.grad(sum(x.sqr().mean() for x in backbone(images)), trained)
jt.sync_all()
print(device_memory())
"""


@pytest.mark.slow
def test_inner_maps_are_not_kept() -> None:
    taken = []
    for with_cp in (False, True):
        command = [sys.executable, "-c", STEP, str(with_cp)]
        taken.append(int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    assert taken[1] < 0.85 * taken[0], taken


def test_detections_need_no_second_pass() -> None:
    seed(0)
    model = build_detector(small_model(**{"backbone.with_cp": True}))
    plain = build_detector(small_model())
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        one.assign(other.copy())
    images = random_batch().images.float32().permute(0, 3, 1, 2)
    model.eval()
    plain.eval()
    with jt.no_grad():
        for found, expected in zip(model.backbone(images), plain.backbone(images), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy())

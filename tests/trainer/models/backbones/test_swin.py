"""Swin against MMDetection's in a process of its own: names, maps, gradients, weights of the original program; and what
is drawn, frozen and refused here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import UserError
from tests.cluster import ROOT
from tests.trainer.models.examples import random_batch, small_model
from trainer.device import jt, seed, var
from trainer.models import build_detector
from trainer.models.backbones.swin import SwinTransformer
from trainer.training.terms import total_loss
from trainer.weights import names, swin_names

SMALL = {"embed_dims": 12, "depths": [2, 2, 3, 1], "num_heads": [2, 3, 4, 6], "window_size": 4, "drop_path_rate": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "windows of four": SMALL,
    "windows of five, fewer maps": {
        **SMALL,
        "window_size": 5,
        "qkv_bias": False,
        "qk_scale": 0.3,
        "out_indices": [1, 3],
    },
}
TORCH = """
import json, sys
import numpy as np
import torch
from benchmarks.networks.mmcv_operators import Uncompiled
try:
    import mmcv._ext
except ImportError:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")
from mmdet.models.backbones import swin
keys, folder = json.loads(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
model = swin.SwinTransformer(**keys)
model.eval()
for name, value in model.named_parameters():
    value.data = 0.2 * torch.randn(value.shape) + ("norm" in name and name.endswith("weight"))
images = torch.randn(2, 3, 70, 99)
maps = model(images)
weights = [torch.randn(one.shape) for one in maps]
sum((one * weight).sum() for one, weight in zip(maps, weights)).backward()
found = {"images": images} | {f"map {i}": one.detach() for i, one in enumerate(maps)}
found |= {f"weight {i}": one for i, one in enumerate(weights)}
found |= {f"parameter {name}": value.detach() for name, value in model.named_parameters()}
found |= {f"gradient {name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
np.savez(f"{folder}/found.npz", **{name: value.numpy() for name, value in found.items()})
original = {name: torch.tensor(value) for name, value in np.load(f"{folder}/original.npz").items()}
converted = {name: value.numpy() for name, value in swin.swin_converter(original).items()}
np.savez(f"{folder}/converted.npz", **converted)
"""


def original_weights() -> dict[str, np.ndarray]:
    """Random weights with some of the names of the original program."""
    generator = np.random.default_rng(0)
    block = {
        "norm1.weight": (12,),
        "attn.relative_position_bias_table": (49, 2),
        "attn.relative_position_index": (16, 16),
        "attn.qkv.weight": (36, 12),
        "attn.proj.bias": (12,),
        "mlp.fc1.weight": (48, 12),
        "mlp.fc2.bias": (12,),
    }
    shapes = {f"layers.{stage}.blocks.1.{name}": shape for stage in (0, 2) for name, shape in block.items()}
    shapes |= {"layers.0.blocks.1.attn_mask": (4, 16, 16), "patch_embed.proj.weight": (12, 3, 4, 4)}
    shapes |= {"patch_embed.norm.bias": (12,), "norm.weight": (96,), "head.weight": (10, 96)}
    shapes |= {"layers.0.downsample.reduction.weight": (24, 48), "layers.0.downsample.norm.weight": (48,)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def ask_mmdetection(keys: dict[str, Any], folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Its maps and gradients, and what it makes of `original_weights`."""
    if importlib.util.find_spec("mmdet") is None:
        pytest.skip("MMDetection is not installed: its SwinTransformer cannot be run")
    np.savez(folder / "original.npz", **original_weights())
    command = [sys.executable, "-W", "ignore", "-c", TORCH, json.dumps(keys), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "found.npz")), dict(np.load(folder / "converted.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_names_maps_and_gradients_are_mmdetections(case: str, tmp_path: Path) -> None:
    expected, converted = ask_mmdetection(CASES[case], tmp_path)
    model = SwinTransformer(**CASES[case])
    parameters = dict(model.named_parameters())
    assert {f"parameter {name}" for name in parameters} == {name for name in expected if name.startswith("parameter")}
    for name, value in parameters.items():
        value.assign(var(expected[f"parameter {name}"]))
    maps = model(var(expected["images"]))
    total = sum((one * var(expected[f"weight {number}"])).sum() for number, one in enumerate(maps))
    trained = [name for name in parameters if f"gradient {name}" in expected]
    gradients = jt.grad(total, [parameters[name] for name in trained])
    for number, one in enumerate(maps):
        # float32 on both sides, sums in another order, eight blocks one after the other
        np.testing.assert_allclose(one.numpy(), expected[f"map {number}"], rtol=1e-4, atol=1e-4)
    for name, gradient in zip(trained, gradients, strict=True):
        other = expected[f"gradient {name}"]
        np.testing.assert_allclose(gradient.numpy(), other, rtol=1e-4, atol=1e-4 * np.abs(other).max(), err_msg=name)
    title, arrays = names.ours({f"module.{name}": array for name, array in original_weights().items()})
    assert title == swin_names.TITLE
    computed = ("attn_mask", "relative_position_index")
    used = {name for name in converted if not name.endswith(computed) and not name.startswith("backbone.norm.")}
    assert arrays.keys() == used
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, converted[name], err_msg=name)


def test_blocks_are_left_out_in_training_alone_evenly_more_often_and_never_the_first() -> None:
    model = SwinTransformer(**{**SMALL, "drop_path_rate": 0.7})
    blocks = [block for stage in vars(model)["stages"] for block in stage.blocks]
    np.testing.assert_allclose([block.drop_rate for block in blocks], np.linspace(0, 0.7, 8))
    np.random.seed(0)
    for block, rate in zip(blocks, np.linspace(0, 0.7, 8), strict=True):
        block.draw(4000)
        kept = np.stack([one.numpy().ravel() for one in block.kept]) if block.kept else np.ones((2, 4000))
        assert set(np.unique(kept.round(4))) <= {0.0, np.float32(1 / (1 - rate)).round(4)}
        np.testing.assert_allclose((kept == 0).mean(1), rate, atol=0.04)
        np.testing.assert_allclose(kept.mean(), 1, atol=0.06)
    model.eval()
    blocks[-1].draw(4)
    assert blocks[-1].kept == ()


def gradients(model: SwinTransformer) -> list[np.ndarray]:
    """Of its parameters, by the same images and the same draw."""
    seed(5)
    generator = np.random.default_rng(1)
    maps = model(var(generator.standard_normal((3, 3, 64, 96)), "float32"))
    total = sum((one * var(generator.standard_normal(one.shape), "float32")).sum() for one in maps)
    return [one.numpy() for one in jt.grad(total, [one for _, one in model.named_parameters()])]


def test_checkpointed_blocks_have_the_same_gradients_with_what_is_left_out() -> None:
    keys = {**SMALL, "depths": [1, 2, 1, 1], "drop_path_rate": 0.5}
    plain, checkpointed = SwinTransformer(**keys), SwinTransformer(**keys, with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    for one, other in zip(gradients(plain), gradients(checkpointed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * max(np.abs(one).max(), 1e-6))


@pytest.mark.parametrize("stages", [-1, 0, 2, 4])
def test_frozen_stages_do_not_train_and_leave_no_block_out(stages: int) -> None:
    model = SwinTransformer(**{**SMALL, "drop_path_rate": 0.5}, frozen_stages=stages)
    frozen = ("patch_embed.",) if stages >= 0 else ()
    for stage in range(max(stages, 0)):
        frozen += (f"stages.{stage}.", f"norm{stage}.")
    for name, value in model.named_parameters():
        assert value.is_stop_grad() == name.startswith(frozen), name
    rates = [block.drop_rate for stage in vars(model)["stages"][: max(stages, 0)] for block in stage.blocks]
    assert not any(rates)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"num_heads": [2, 5, 4, 6]}, r"num_heads\[1\]: a divisor of the map's 24 channels is expected, found 5"),
        ({"drop_path_rate": 1.0}, "drop_path_rate: a number from 0 to below 1"),
        ({"frozen_stages": 5}, "frozen_stages: -1 to 4 is expected, found 5"),
        ({"use_abs_pos_embed": True}, "use_abs_pos_embed"),
        ({"patch_size": 2}, "patch_size"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_key(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SwinTransformer(**{**SMALL, **keys})


@pytest.mark.slow
def test_losses_of_a_stage_1_reach_every_parameter() -> None:
    backbone = {"type": "SwinTransformer", **SMALL, "drop_path_rate": 0.2, "convert_weights": True}
    model = small_model(**{"neck.in_channels": [12, 24, 48, 96]})
    model["backbone"] = backbone
    detector = build_detector(model)
    detector.train()
    parameters = dict(detector.backbone.named_parameters())
    gradients = jt.grad(total_loss(detector.loss(random_batch())), list(parameters.values()))
    assert all(one.numpy().any() for one in gradients)

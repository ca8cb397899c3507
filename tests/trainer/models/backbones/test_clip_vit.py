"""CLIP's vision transformer against open_clip's in a process of its own: tokens, maps, gradients, weights; and what is
frozen, checkpointed, refused and trained here."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from shared.config import load_config
from shared.errors import UserError
from tests.cluster import ROOT
from tests.trainer.models.examples import random_batch, small_model
from trainer.device import jt, nn, seed, var
from trainer.models import build_detector
from trainer.models.backbones.clip_vit import CLIPViT, ResidualAttentionBlock
from trainer.training.terms import total_loss
from trainer.weights import pretrained
from trainer.weights.formats import torch_writer

SMALL = {"patch_size": 16, "width": 24, "layers": 4, "heads": 3, "image_size": 64, "out_indices": [0, 1, 2, 3]}
# 70x99 pixels are 5x7 patches of 16 and 9x13 of 8, behind which there are zeros.
CASES: dict[str, dict[str, Any]] = {
    "more places than were learnt": SMALL,
    "fewer places, exact GELU, a block between": {
        **SMALL,
        "patch_size": 8,
        "layers": 5,
        "heads": 2,
        "image_size": 120,
        "out_indices": [0, 2, 2, 4],
        "quick_gelu": False,
    },
}


def sizes(keys: dict[str, Any]) -> str:
    """What ``open_clip_vit.py`` reads."""
    vision = {key: keys[key] for key in ("layers", "width", "image_size", "patch_size")}
    vision["head_width"] = keys["width"] // keys["heads"]
    others = {"quick_gelu": keys.get("quick_gelu", True), "height": 70, "width": 99}
    return json.dumps({"vision_cfg": vision, "out_indices": keys["out_indices"], **others})


@pytest.fixture(scope="module")
def open_clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each case the folder that ``open_clip_vit.py`` fills."""
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip is not installed: pip install -e '.[embed]'")
    folders = {case: tmp_path_factory.mktemp("open_clip") for case in CASES}
    for case, folder in folders.items():
        (folder / "sizes.json").write_text(sizes(CASES[case]))
    module = "tests.trainer.models.backbones.open_clip_vit"
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, folders.values())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_names_tokens_maps_and_gradients_are_open_clips(case: str, open_clips: dict[str, Path]) -> None:
    expected = dict(np.load(open_clips[case] / "found.npz"))
    model = CLIPViT(**CASES[case])
    parameters = dict(model.named_parameters())
    assert {f"parameter {name}" for name in parameters} == {name for name in expected if name.startswith("parameter")}
    for name, value in parameters.items():
        value.assign(var(expected[f"parameter {name}"]))
    images = var(expected["images"])
    maps = model(images)
    total = sum((one * var(expected[f"weight {number}"])).sum() for number, one in enumerate(maps))
    gradients = jt.grad(total, list(parameters.values()))
    # float32 on both sides, sums in another order, four or five blocks one after the other
    np.testing.assert_allclose(model.after_each_block(images)[-1].numpy(), expected["tokens"], rtol=1e-5, atol=1e-5)
    for number, one in enumerate(maps):
        np.testing.assert_allclose(one.numpy(), expected[f"map {number}"], rtol=1e-5, atol=1e-5)
    for name, gradient in zip(parameters, gradients, strict=True):
        other = expected[f"gradient {name}"]
        np.testing.assert_allclose(gradient.numpy(), other, rtol=1e-5, atol=1e-5 * np.abs(other).max(), err_msg=name)


def detector_config(backbone: dict[str, Any]) -> dict[str, Any]:
    """A small stage 1 on maps of `SMALL`."""
    model = small_model(**{"neck.in_channels": [SMALL["width"]] * 4})
    model["backbone"] = {"type": "CLIPViT", **SMALL, **backbone}
    return model


@pytest.mark.slow
@pytest.mark.parametrize("file", ["clip.pth", "archive.pt"])
def test_every_tensor_of_a_clip_that_a_map_needs_is_loaded_and_no_other(file: str, open_clips: dict[str, Path]) -> None:
    folder = open_clips["more places than were learnt"]
    config = detector_config({"init_cfg": {"type": "Pretrained", "checkpoint": str(folder / file)}})
    model = build_detector(config)
    said: list[str] = []
    pretrained.initialise(model, Config({"model": config}), said.append)
    expected = dict(np.load(folder / "found.npz"))
    loaded = {name: value for name, value in model.backbone.named_parameters() if not name.startswith("fpn")}
    for name, value in loaded.items():
        array = expected[f"parameter {name}"]
        array = array.astype(np.float16).astype(np.float32) if file == "archive.pt" else array
        np.testing.assert_array_equal(value.numpy(), array, err_msg=name)
    fresh = ", ".join(f"backbone.{name}" for name in ("fpn1.0.bias [24]", "fpn1.0.weight [24, 24, 2, 2]"))
    assert said[0].startswith(f"weights {folder / file} (CLIP's ViT): {len(loaded)} tensors fit; 8 missing: {fresh}, ")
    assert "unexpected" not in said[0] and len(said) == 1


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"patch_size": 32, "image_size": 128}, r"conv1\.weight \[24, 3, 16, 16\], expected \[24, 3, 32, 32\]"),
        ({"image_size": 96}, r"positional_embedding \[17, 24\], expected \[37, 24\]"),
        ({"width": 48}, r"0 tensors fit; .*ln_pre\.bias \[24\], expected \[48\]"),
    ],
)
def test_weights_of_another_size_are_refused_and_change_nothing(
    keys: dict[str, Any], says: str, tmp_path: Path
) -> None:
    tower = {f"visual.{name}": one.numpy() for name, one in CLIPViT(**SMALL).named_parameters() if "fpn" not in name}
    (tmp_path / "clip.pth").write_bytes(torch_writer.dumps(tower))
    config = detector_config({**keys, "init_cfg": {"type": "Pretrained", "checkpoint": str(tmp_path / "clip.pth")}})
    model = nn.Module()
    model.backbone = CLIPViT(**{**SMALL, **keys})
    before = model.state_dict(to="numpy")
    with pytest.raises(UserError, match=rf"clip\.pth \(CLIP's ViT\) do not fit the model's backbone: .*{says}"):
        pretrained.initialise(model, Config({"model": config}), print)
    for name, array in model.state_dict(to="numpy").items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def gradients(model: CLIPViT) -> dict[str, np.ndarray]:
    """Of its parameters that train, by the same images and the same numbers."""
    generator = np.random.default_rng(1)
    maps = model(var(generator.standard_normal((2, 3, 64, 96)), "float32"))
    total = sum((one * var(generator.standard_normal(one.shape), "float32")).sum() for one in maps)
    trained = {name: value for name, value in model.named_parameters() if not value.is_stop_grad()}
    return {name: one.numpy() for name, one in zip(trained, jt.grad(total, list(trained.values())), strict=True)}


@pytest.mark.parametrize(("frozen_stages", "twice"), [(-1, [0, 1, 2, 3]), (2, [2, 3])])
def test_checkpointed_blocks_that_train_run_twice_and_have_the_same_gradients(
    frozen_stages: int, twice: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {**SMALL, "frozen_stages": frozen_stages}
    plain, checkpointed = CLIPViT(**keys), CLIPViT(**keys, with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    expected, ran, execute = gradients(plain), [], ResidualAttentionBlock.execute

    def noted(block: ResidualAttentionBlock, x: jt.Var) -> jt.Var:
        ran.append(next(n for n, one in enumerate(checkpointed.transformer.resblocks) if one is block))
        return execute(block, x)

    monkeypatch.setattr(ResidualAttentionBlock, "execute", noted)
    found = gradients(checkpointed)
    assert sorted(ran) == sorted([0, 1, 2, 3, *twice])
    assert expected.keys() == found.keys()
    for name, one in expected.items():
        assert one.any(), name
        np.testing.assert_allclose(found[name], one, rtol=0, atol=1e-6 * np.abs(one).max(), err_msg=name)


@pytest.mark.parametrize("stages", [-1, 0, 2, 4])
def test_frozen_are_what_is_before_the_blocks_and_the_first_blocks_and_never_what_scales_maps(stages: int) -> None:
    model = CLIPViT(**SMALL, frozen_stages=stages)
    frozen = ("conv1.", "class_embedding", "positional_embedding", "ln_pre.") if stages >= 0 else ()
    frozen += tuple(f"transformer.resblocks.{block}." for block in range(stages))
    for name, value in model.named_parameters():
        assert value.is_stop_grad() == name.startswith(frozen), name
    tokens = model.after_each_block(jt.ones((2, 3, 64, 64)).stop_grad())
    assert [one.is_stop_grad() for one in tokens[:3]] == [number < stages for number in range(3)]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"heads": 5}, r"backbone\.heads: a divisor of width, 24, is expected, found 5"),
        ({"image_size": 60}, r"backbone\.image_size: a multiple of patch_size, 16, is expected, found 60"),
        (
            {"out_indices": [0, 1, 2, 4]},
            r"backbone\.out_indices: 3, the last of 4 layers, as the largest is expected, found \[0, 1, 2, 4\]",
        ),
        ({"out_indices": [0, 1, 2, 2]}, r"backbone\.out_indices: 3, the last of 4 layers, .* found \[0, 1, 2, 2\]"),
        ({"out_indices": [1, 2, 3]}, r"backbone\.out_indices.*four whole numbers, each 0 or more"),
        ({"out_indices": [-1, 1, 2, 3]}, r"backbone\.out_indices.*four whole numbers, each 0 or more"),
        ({"frozen_stages": 5}, r"backbone\.frozen_stages: -1 to 4 is expected, found 5"),
        ({"quick_gelu": "no"}, r"backbone\.quick_gelu"),
        ({"drop_rate": 0.1}, r"backbone \(CLIPViT\): unknown key 'drop_rate'"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_key(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_detector(detector_config(keys))


@pytest.mark.long
def test_a_stage_1_trains_every_parameter_and_its_loss_falls() -> None:
    seed(0)
    detector = build_detector(detector_config({}))
    detector.train()
    parameters = dict(detector.backbone.named_parameters())
    before = {name: value.numpy() for name, value in parameters.items()}
    optimizer = nn.AdamW(detector.parameters(), lr=1e-3)
    batch, losses = random_batch(), []
    for _ in range(4):
        loss = total_loss(detector.loss(batch))
        optimizer.step(loss)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    still = [name for name, value in parameters.items() if np.array_equal(value.numpy(), before[name])]
    assert not still


@pytest.mark.parametrize(("patch", "strides"), [(14, [3.5, 7, 14, 28, 56]), (32, [8, 16, 32, 64, 128])])
def test_patches_of_other_sizes_give_maps_of_other_strides(patch: int, strides: list[float]) -> None:
    config = detector_config({"patch_size": patch, "image_size": 4 * patch})
    config["rpn_head"]["anchor_generator"]["strides"] = strides
    with pytest.raises(UserError, match=r"CLIPViT makes of .*featmap_strides\[0\] says stride 4"):
        build_detector(config)
    config["roi_head"]["bbox_roi_extractor"]["featmap_strides"] = strides[:4]
    detector = build_detector(config | {"data_preprocessor": {**config["data_preprocessor"], "pad_size_divisor": 1}})
    shapes = [tuple(one.shape[2:]) for one in detector.backbone(jt.zeros((1, 3, 5 * patch, 6 * patch + 1)))]
    assert shapes == [(20, 28), (10, 14), (5, 7), (3, 4)]


def test_the_config_of_the_page_is_a_detectors(tmp_path: Path) -> None:
    page = (ROOT / "docs/configs.md").read_text()
    (text,) = re.findall(r"^## CLIP's Vision Transformer\n.*?^```python\n(.*?)^```$", page, re.M | re.S)
    base = ROOT / "configs/mixed_mode_coco_objects365_1ststage_rpn.py"
    (tmp_path / "vit.py").write_text(f"_base_ = [{str(base)!r}]\n{text}")
    narrow = {"model.backbone.width": 24, "model.neck.in_channels": [24] * 4}
    config = load_config(str(tmp_path / "vit.py"), {"data_root": str(tmp_path), **narrow})
    assert len(build_detector(config.model).backbone.transformer.resblocks) == 12

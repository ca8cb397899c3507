"""CLIP's ResNet C4 and its layer4 as shared head against the reference: forward, odd sizes, all gradients."""

import numpy as np
import pytest

from tests.parity import golden
from tests.parity.models import fill, gradients
from trainer.device import jt, nn, var
from trainer.models.backbones.clip_backbone import CLIPResNet
from trainer.models.roi_heads.shared_heads.clip_res_layer import CLIPResLayer


@pytest.fixture(scope="module")
def backbone() -> CLIPResNet:
    return CLIPResNet()


@pytest.fixture(scope="module")
def shared_head() -> CLIPResLayer:
    return CLIPResLayer()


def check_gradients(case: golden.Case, output: jt.Var, module: nn.Module, prefix: str) -> jt.Var:
    """Assert the objective Σ output · R and all gradients of the parameters; returns the objective."""
    weights = golden.normal(f"{case.seed}|{case.name[:6]}|R", output.shape)
    objective = (output * var(weights, "float32")).sum()
    # The objective is a sum of terms of both signs: its error is compared with the terms' size.
    scale = np.abs(output.numpy() * weights).sum()
    assert abs(objective.item() - float(case["train.objective"])) < golden.FORWARD * scale
    found = gradients(objective, module, prefix)
    case.gradients_agree("train", found)
    for name in found:
        if f"train.grad:{name}" in case.values or f"train.grad:{name}@val" in case.values:
            case.gradient_agrees(f"train.grad:{name}", found[name])
    return objective


@pytest.mark.parametrize("file", golden.files(1), ids=lambda name: f"golden-{name}")
def test_stem_stages_and_an_odd_sized_image_match(file: str, backbone: CLIPResNet) -> None:
    case = golden.Case(file)
    fill(backbone, "backbone.", case.seed)
    odd = case.generated("image_odd", golden.image(case.seed, "case01odd", case["in.shape.image_odd"]))
    with jt.no_grad():
        x = backbone.stem(var(case.image_batch()))
        case.agrees("out.stem", x.numpy())
        for name in ("layer1", "layer2"):
            x = getattr(backbone, name)(x)
            case.agrees(f"out.{name}", x.numpy())
        case.agrees("out.c4", backbone.layer3(x).numpy())
        case.agrees("odd.c4", backbone(var(odd))[0].numpy())


@pytest.mark.parametrize("file", golden.files(1), ids=lambda name: f"golden-{name}")
def test_gradients_of_all_trainable_parameters_of_the_backbone_match(file: str, backbone: CLIPResNet) -> None:
    case = golden.Case(file)
    fill(backbone, "backbone.", case.seed)
    statistics = {name: value.numpy() for name, value in backbone.named_parameters() if "running" in name}
    check_gradients(case, backbone(var(case.image_batch()))[0], backbone, "backbone.")
    for name, value in backbone.named_parameters():
        if "running" in name:
            np.testing.assert_array_equal(value.numpy(), statistics[name])


@pytest.mark.parametrize("file", golden.files(2), ids=lambda name: f"golden-{name}")
def test_output_and_all_gradients_of_the_shared_head_match(file: str, shared_head: CLIPResLayer) -> None:
    case = golden.Case(file)
    fill(shared_head, "roi_head.shared_head.", case.seed)
    shape = case["in.shape.roi_feat"]
    features = var(case.generated("roi_feat", golden.roi_features(case.seed, "case02", shape)))
    output = shared_head(features)
    case.agrees("out.feat", output.numpy())
    objective = check_gradients(case, output, shared_head, "roi_head.shared_head.")
    case.gradient_agrees("train.grad_input", jt.grad(objective, features).numpy())


def test_parameter_names_and_shapes_are_those_of_the_golden_checkpoints(
    backbone: CLIPResNet, shared_head: CLIPResLayer
) -> None:
    for module, prefix, model in (
        (backbone, "backbone.", "clip_backbone"),
        (shared_head, "roi_head.shared_head.", "clip_shared_head"),
    ):
        found = {prefix + name: tuple(value.shape) for name, value in module.named_parameters()}
        assert found == golden.parameters(model)

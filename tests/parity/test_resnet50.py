"""ResNet-50 against the reference: forward of both styles, odd sizes, and all gradients."""

import pytest

from tests.parity import golden
from tests.parity.models import STAGE_1, fill, gradients
from trainer.device import jt, var
from trainer.models.backbones.resnet import ResNet

ARGUMENTS = {key: value for key, value in STAGE_1["backbone"].items() if key != "type"}


@pytest.fixture(scope="module")
def backbones() -> dict[str, ResNet]:
    return {style: ResNet(**{**ARGUMENTS, "style": style}) for style in ("pytorch", "caffe")}


@pytest.mark.parametrize("style", ["pytorch", "caffe"])
@pytest.mark.parametrize("file", golden.files(11), ids=lambda name: f"golden-{name}")
def test_all_four_maps_match(file: str, style: str, backbones: dict[str, ResNet]) -> None:
    case = golden.Case(file)
    fill(backbones[style], "backbone.", case.seed)
    odd = case.generated("image_odd", golden.image(case.seed, "case11odd", case["in.shape.image_odd"]))
    with jt.no_grad():
        for kind, images in (("out", case.image_batch()), ("odd", odd)):
            for i, output in enumerate(backbones[style](var(images))):
                case.agrees(f"{style}.{kind}.c{i + 2}", output.numpy())


@pytest.mark.parametrize("file", golden.files(11), ids=lambda name: f"golden-{name}")
def test_gradients_of_all_trainable_parameters_match(file: str, backbones: dict[str, ResNet]) -> None:
    case = golden.Case(file)
    backbone = backbones["pytorch"]
    fill(backbone, "backbone.", case.seed)
    outputs = backbone(var(case.image_batch()))
    objective = sum(
        (output * var(golden.normal(f"{case.seed}|case11|R{i}", output.shape), "float32")).sum()
        for i, output in enumerate(outputs)
    )
    found = gradients(objective, backbone, "backbone.")
    # The objective is a sum of millions of terms of both signs, compared with the gradient's tolerance for that reason.
    assert abs(objective.item() / float(case["pytorch.train.objective"]) - 1) < 1e-4
    case.gradients_agree("pytorch.train", found)
    for name in found:
        if f"pytorch.train.grad:{name}" in case.values or f"pytorch.train.grad:{name}@val" in case.values:
            case.gradient_agrees(f"pytorch.train.grad:{name}", found[name])

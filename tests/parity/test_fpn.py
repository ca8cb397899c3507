"""The feature pyramid against the reference: five outputs and all gradients."""

import pytest

from tests.parity import golden
from tests.parity.models import fill, gradients
from trainer.device import jt, var
from trainer.models.necks.fpn import FPN


@pytest.mark.parametrize("file", golden.files(7), ids=lambda name: f"golden-{name}")
def test_outputs_and_gradients_match(file: str) -> None:
    case = golden.Case(file)
    neck = FPN([256, 512, 1024, 2048], 256, 5)
    fill(neck, "neck.", case.seed)
    inputs = []
    for i in range(4):
        name = f"case07fpn.feat{i}"
        value = golden.feature(case.seed, "case07fpn", i, case[f"in.shape.{name}"], relu=True)
        inputs.append(var(case.generated(name, value)))
    outputs = neck(inputs)
    for i, output in enumerate(outputs):
        case.agrees(f"fpn.out.{i}", output.numpy())
    objective = sum(
        (output * var(golden.normal(f"{case.seed}|case07|R{i}", output.shape), "float32")).sum()
        for i, output in enumerate(outputs)
    )
    case.gradients_agree("fpn", gradients(objective, neck, "neck."))
    for i, gradient in enumerate(jt.grad(objective, inputs)):
        case.gradient_agrees(f"fpn.grad_feat.{i}", gradient.numpy())

"""A network in half precision against the same in float32. The CPU has no kernels for half: it rounds what they would
round, and computes in float32."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from shared.errors import UserError
from tests.trainer.models.clip_examples import batch_with_proposals, small_clip_model
from tests.trainer.models.examples import drawn, random_batch, small_model
from trainer import device
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.models import precision
from trainer.process.gpu import Card, Gpu
from trainer.training.terms import total_loss

EPS = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}  # of one number; jittor's CPU cuts off for bfloat16 instead of rounding
STAGES = [1, 2]


def built(stage: int, folder: Path, dtype: str, **changes: object) -> tuple[nn.Module, Batch]:
    model = drawn(small_model(**changes) if stage == 1 else small_clip_model(folder, **changes))
    model.train()
    model.trains_in = model.predicts_in = dtype
    return model, random_batch() if stage == 1 else batch_with_proposals()


def gradients(model: nn.Module, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and the gradient of each parameter that trains."""
    trained = {name: value for name, value in model.named_parameters() if not value.is_stop_grad()}
    loss = total_loss(model.loss(batch))
    found = jt.grad(loss, list(trained.values()))
    assert {str(gradient.dtype) for gradient in found} == {"float32"}
    return loss.item(), {name: one.numpy() for name, one in zip(trained, found, strict=True)}


@pytest.mark.parametrize(("stage", "dtype"), [(1, "float16"), (2, "float16"), (2, "bfloat16")])
def test_maps_are_of_the_type_asked_for_and_near_those_of_float32(stage: int, dtype: str, tmp_path: Path) -> None:
    model, batch = built(stage, tmp_path, dtype)
    found, _ = model.extract_in_training(batch)
    assert {str(one.dtype) for one in found} == {dtype}
    model.trains_in = "float32"
    for half, whole in zip(found, model.extract_in_training(batch)[0], strict=True):
        # A score of layers, each of which rounds.
        np.testing.assert_allclose(
            half.float32().numpy(), whole.numpy(), rtol=0, atol=20 * EPS[dtype] * np.abs(whole.numpy()).max()
        )
        assert (half.float32().numpy() != whole.numpy()).any()


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_parameters_are_float32_and_near_those_of_float32(stage: int, tmp_path: Path) -> None:
    loss, half = gradients(*built(stage, tmp_path, "float16"))
    expected, whole = gradients(*built(stage, tmp_path, "float32"))
    assert loss == pytest.approx(expected, rel=1e-2)
    error = np.sqrt(sum(((half[name] - whole[name]) ** 2).sum() for name in whole))
    assert error < 0.05 * np.sqrt(sum((gradient**2).sum() for gradient in whole.values()))
    assert [name for name in whole if not half[name].any() and whole[name].any()] == []


def test_checkpointed_blocks_have_the_same_gradients_in_half(tmp_path: Path) -> None:
    _, plain = gradients(*built(2, tmp_path, "float16"))
    _, twice = gradients(*built(2, tmp_path, "float16", **{"backbone.with_cp": True}))
    for name, gradient in plain.items():
        np.testing.assert_allclose(twice[name], gradient, rtol=1e-2, atol=2e-3 * np.abs(gradient).max(), err_msg=name)


def test_detections_in_half_are_near_those_in_float32(tmp_path: Path) -> None:
    model, batch = built(2, tmp_path, "float16")
    model.eval()
    half = model.predict(batch)[0]
    model.predicts_in = "float32"
    whole = model.predict(batch)[0]
    assert len(half.scores) == len(whole.scores) > 0
    np.testing.assert_allclose(np.sort(half.scores), np.sort(whole.scores), rtol=0.05)
    assert (half.scores != whole.scores).any()


class _WithoutHalf(nn.Module):
    """A backbone that says nothing of half precision."""

    computes_in_half = False

    def execute(self, images: jt.Var) -> list[jt.Var]:
        assert images.dtype == "float32"
        maps = [images[:, :1, ::stride, ::stride] for stride in (4, 8, 16, 32)]
        return [one.repeat(1, 8 * 2**i, 1, 1) for i, one in enumerate(maps)]


def test_a_backbone_that_does_not_compute_in_half_is_given_float32_and_the_neck_is_not() -> None:
    model, batch = built(1, Path(), "float16")
    model.backbone = _WithoutHalf()
    assert {str(one.dtype) for one in model.extract_in_training(batch)[0]} == {"float16"}


AMP = Config({"optim_wrapper": {"type": "AmpOptimWrapper"}, "val_cfg": {"fp16": True}})


def test_a_cpu_computes_in_float32_whatever_a_config_asks_for() -> None:
    assert [precision.of_training(AMP), precision.of_evaluation(AMP, "val")] == ["float32"] * 2


def test_a_gpu_computes_in_the_type_that_a_config_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_gpu", Gpu((Card("V100", (7, 0), 32 << 30),)))
    assert [precision.of_training(AMP), precision.of_evaluation(AMP, "val")] == ["float16"] * 2
    assert precision.of_evaluation(AMP, "test") == precision.of_training(Config({"optim_wrapper": {}})) == "float32"
    brain = Config({"optim_wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16"}})
    with pytest.raises(UserError, match=r"needs a card of compute capability 8\.0 or more, and this is V100"):
        precision.of_training(brain)
    monkeypatch.setattr(device, "_gpu", Gpu((Card("A100", (8, 0), 80 << 30),)))
    assert precision.of_training(brain) == "bfloat16"

"""The guards on a real model: each finds what it is there to find, and finds nothing in a healthy one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.batch import blank_arrays
from shared.config import load_config
from tests.trainer.runs import ROOT
from trainer.batch import Batch
from trainer.device import jt, seed
from trainer.models import build_detector
from trainer.training import guards
from trainer.training.guards import TrainingFault, assert_trains, check_gradients, check_losses, check_skips
from trainer.training.loss_scale import Gradients, Skips
from trainer.training.optimizer import Optimizer, build_optimizer

CONFIG = load_config(str(ROOT / "configs/demo/cln.py"))
HEALTHY = {"loss_cls": 0.4, "loss_bbox": 0.0, "acc": 0.0}


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two pictures of noise with a box each."""
    random = np.random.default_rng(0)
    arrays = blank_arrays(2, 160, 192)
    arrays["images"][:] = random.integers(0, 255, (2, 160, 192, 3), np.uint8)
    arrays["image_shapes"][:] = 144, 192
    arrays["image_ids"][:] = 7, 8
    arrays["boxes"][:, 0] = [[20, 30, 90, 80], [40, 10, 150, 120]]
    arrays["box_counts"][:] = 1
    return Batch.from_arrays(arrays, step=41)


@pytest.fixture
def model() -> jt.Module:
    seed(0)
    model = build_detector(CONFIG.model)
    model.train()
    return model


def test_a_healthy_model_passes_and_is_left_as_it_was(model, batch) -> None:
    before = {name: parameter.numpy().copy() for name, parameter in model.named_parameters()}
    assert_trains(model, CONFIG, batch)
    for name, parameter in model.named_parameters():
        assert np.array_equal(before[name], parameter.numpy()), name


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer.lr": 1e-4, "optimizer.weight_decay": 1e-4},  # together too little to change a float32 in one step
        {"paramwise_cfg": {"custom_keys": {"rpn_cls": {"decay_mult": 0.0}, "backbone": {"lr_mult": 0.0}}}},
    ],
    ids=["tiny decay", "rates of zero"],
)
def test_a_config_by_which_one_step_does_not_move_everything_is_healthy(model, batch, options) -> None:
    options = {f"optim_wrapper.{key}": value for key, value in options.items()}
    assert_trains(model, load_config(str(ROOT / "configs/demo/cln.py"), options), batch)


HALF = {"optim_wrapper.type": "AmpOptimWrapper"}


def test_a_first_scale_that_is_too_large_for_the_gradients_is_no_fault(model, batch) -> None:
    model.trains_in = "float16"  # by 2^16 they overflow
    assert_trains(model, load_config(str(ROOT / "configs/demo/cln.py"), HALF), batch)


def test_a_scale_by_which_all_updates_are_skipped_is_one(model, batch) -> None:
    model.trains_in = "float16"
    config = load_config(str(ROOT / "configs/demo/cln.py"), HALF | {"optim_wrapper.loss_scale": 1e30})
    with pytest.raises(
        TrainingFault, match=r"^self-test: 50 updates in a row were skipped, .* scaled by 1e\+30; lower"
    ):
        assert_trains(model, config, batch)


def test_a_parameter_that_the_optimizer_does_not_hold_is_named(model, batch, monkeypatch) -> None:
    def forgetful(wrapper: dict, model: jt.Module) -> Optimizer:
        bias = model.rpn_head.rpn_cls.bias
        bias.stop_grad()
        optimizer = build_optimizer(wrapper, model)
        bias.start_grad()
        return optimizer

    monkeypatch.setattr(guards, "build_optimizer", forgetful)
    with pytest.raises(TrainingFault, match=r"^self-test: rpn_head.rpn_cls.bias is trainable but did not move$"):
        assert_trains(model, CONFIG, batch)


def test_a_part_that_no_gradient_reaches_is_named(model, batch) -> None:
    maps = model.extract
    model.extract_in_training = lambda batch: ([level.detach() for level in maps(batch)], batch)
    with pytest.raises(TrainingFault, match=r"no gradient reaches backbone.layer4; no gradient reaches neck"):
        assert_trains(model, CONFIG, batch)


def test_a_frozen_parameter_that_moves_is_named(model, batch) -> None:
    loss = model.loss

    def loss_that_updates_statistics(batch: Batch) -> dict[str, jt.Var]:
        model.backbone.bn1.running_var.assign(model.backbone.bn1.running_var * 0.9)
        return loss(batch)

    model.loss = loss_that_updates_statistics
    with pytest.raises(TrainingFault, match=r"backbone.bn1.running_var is frozen but moved"):
        assert_trains(model, CONFIG, batch)


def test_updates_that_are_skipped_stop_a_run_once_no_scale_will_help(batch) -> None:
    skips = Skips()
    for _ in range(49):
        assert skips.count(math.inf)
        check_skips(skips, Gradients(math.inf, 2.0**-33), batch, "run/cln.py")
    assert skips.count(math.nan)
    said = r"50 updates in a row were skipped: .* norm is nan, .* scale of the loss is 1.16\S*e-10 by now"
    with pytest.raises(TrainingFault, match=said):
        check_skips(skips, Gradients(math.nan, 2.0**-33), batch, "run/cln.py")


def test_finite_losses_pass_even_when_one_of_them_is_zero(batch) -> None:
    check_losses(HEALTHY, batch, "run/cln.py")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_images(batch, value) -> None:
    with pytest.raises(TrainingFault, match=r"loss_cls is (nan|inf) at step 41 \(image ids \[7, 8\]\)"):
        check_losses(HEALTHY | {"loss_cls": value}, batch, "run/cln.py")


def test_a_loss_of_exactly_zero_stops_where_there_are_boxes(batch) -> None:
    with pytest.raises(TrainingFault, match=r"exactly 0.0 at step 41 .* replay --config run/cln.py --step 41"):
        check_losses({"loss_cls": 0.0, "loss_bbox": 0.0, "acc": 50.0}, batch, "run/cln.py")


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_named_with_their_batch(batch, norm) -> None:
    with pytest.raises(TrainingFault, match=rf"norm is {norm} at step 41 \(image ids \[7, 8\]\).*replay --config C"):
        check_gradients(norm, batch, "C")
    check_gradients(1e30, batch, "C")

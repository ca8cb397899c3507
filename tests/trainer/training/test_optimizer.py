"""The optimizer against torch's SGD, Adam and AdamW on the same numbers; torch runs in a process of its own."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from shared.errors import UserError
from shared.train_loop import TrainLoop
from tests.trainer.models.examples import random_batch, small_model
from tests.trainer.training.updates import (
    ADAMW,
    SGD,
    STEPS,
    Model,
    assert_equal,
    loss_of,
    make_model,
    numbers,
    train,
    weights_of_torch,
)
from trainer.device import jt, nn, seed, var
from trainer.models import build_detector
from trainer.models.layers import FixedBatchNorm
from trainer.training.accumulation import Accumulation
from trainer.training.optimizer import build_optimizer
from trainer.training.schedule import Schedule
from trainer.training.terms import total_loss

CUSTOM_KEYS = {"backbone": {"lr_mult": 0.1}, "backbone.bias": {"lr_mult": 2.0, "decay_mult": 0.0}}
WRAPPERS = {
    "SGD": {"type": "OptimWrapper", "optimizer": SGD},
    "SGD with Nesterov momentum": {"optimizer": SGD | {"nesterov": True}},
    "SGD clipped": {"optimizer": SGD, "clip_grad": {"max_norm": 0.5, "norm_type": 2}},
    "SGD with a limit above the norm": {"optimizer": SGD, "clip_grad": {"max_norm": 1e6}},
    "SGD with custom keys": {"optimizer": SGD, "paramwise_cfg": {"custom_keys": CUSTOM_KEYS}},
    "SGD with batches in threes": {"optimizer": SGD, "accumulative_counts": 3, "clip_grad": {"max_norm": 0.5}},
    "AdamW with batches in threes": {"optimizer": ADAMW, "accumulative_counts": 3},
    "SGD dampened": {"optimizer": SGD | {"dampening": 0.3}},
    "SGD dampened without momentum": {"optimizer": SGD | {"dampening": 0.3, "momentum": 0}},
    "SGD dampened, batches in threes": {"optimizer": SGD | {"dampening": 0.5}, "accumulative_counts": 3},
    "SGD clipped by value": {"optimizer": SGD, "clip_grad": {"type": "value", "clip_value": 0.1}},
    "SGD clipped by the L1 norm": {"optimizer": SGD, "clip_grad": {"max_norm": 2, "norm_type": 1}},
    "SGD clipped by the L3 norm": {"optimizer": SGD, "clip_grad": {"max_norm": 0.3, "norm_type": 3.0}},
    "SGD clipped by the largest": {"optimizer": SGD, "clip_grad": {"max_norm": 0.2, "norm_type": "inf"}},
    "Adam with torch's defaults": {"optimizer": {"type": "Adam", "lr": 1e-2}},
    "Adam with decay": {"optimizer": ADAMW | {"type": "Adam"}, "paramwise_cfg": {"custom_keys": CUSTOM_KEYS}},
    "Adam by the largest moments": {"optimizer": ADAMW | {"type": "Adam", "amsgrad": True}},
    "AdamW by the largest moments": {"optimizer": ADAMW | {"amsgrad": True}, "clip_grad": {"max_norm": 0.5}},
    "AdamW clipped by value": {"optimizer": ADAMW, "clip_grad": {"type": "value", "clip_value": 0.05}},
    "AdamW": {"optimizer": ADAMW},
    "AdamW with torch's defaults": {"optimizer": {"type": "AdamW", "lr": 1e-2}},
    "AdamW clipped, with custom keys": {
        "optimizer": ADAMW,
        "clip_grad": {"max_norm": 0.5},
        "paramwise_cfg": {"custom_keys": CUSTOM_KEYS},
    },
}

LOOP = TrainLoop.of({"max_epochs": 10})


@pytest.fixture(scope="module")
def torch_weights() -> dict[str, dict[str, list]]:
    return weights_of_torch(WRAPPERS, {})


@pytest.mark.parametrize("name", WRAPPERS)
def test_twenty_steps_give_the_weights_of_torch(name: str, torch_weights: dict) -> None:
    model = make_model()
    train(model, build_optimizer(WRAPPERS[name], model), STEPS)
    assert_equal(model, torch_weights[name])


class NormedModel(Model):
    def __init__(self) -> None:
        super().__init__()
        self.norm = FixedBatchNorm(4)

    def execute(self, inputs: jt.Var) -> jt.Var:
        return self.head(self.norm(self.backbone(inputs).reshape(-1, 4, 1, 1)).reshape(-1, 4))


TORCH_NORMED = """
import json, sys, torch
from mmengine.optim import build_optim_wrapper
wrappers, weights, inputs, targets, steps = json.load(sys.stdin)
inputs, targets = torch.tensor(inputs), torch.tensor(targets)
result = []
for wrapper in wrappers:
    parts = {"backbone": torch.nn.Linear(5, 4), "norm": torch.nn.BatchNorm1d(4), "head": torch.nn.Linear(4, 3)}
    model = torch.nn.ModuleDict(parts).eval()
    model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()}, strict=False)
    wrapper = build_optim_wrapper(model, wrapper)
    for _ in range(steps):
        wrapper.update_params(((model["head"](model["norm"](model["backbone"](inputs))) - targets) ** 2).mean())
    result.append({name: value.tolist() for name, value in model.named_parameters()})
print("RESULT" + json.dumps(result))
"""
PARAMWISE = {
    "norms": {"norm_decay_mult": 0.0},
    "biases": {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0},
    "a custom key goes first": {
        "norm_decay_mult": 0.0,
        "bias_lr_mult": 2.0,
        "bias_decay_mult": 0.5,
        "custom_keys": {"head": {"lr_mult": 0.1}, "norm.bias": {"decay_mult": 3.0}},
    },
}
BY_KIND = {
    f"{name}, {optimizer['type']}": {"optimizer": optimizer | {"weight_decay": 0.3}, "paramwise_cfg": parameters}
    for name, parameters in PARAMWISE.items()
    for optimizer in (SGD, ADAMW)
}


@pytest.fixture(scope="module")
def weights_by_kind() -> dict[str, dict[str, list]]:
    """MMEngine's, after twenty updates by each of BY_KIND."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: its optimizers cannot be run")
    weights, inputs, targets = numbers()
    plain = {key: weight.tolist() for key, weight in weights.items()}
    question = json.dumps([list(BY_KIND.values()), plain, inputs.tolist(), targets.tolist(), 20])
    done = subprocess.run([sys.executable, "-c", TORCH_NORMED], input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(BY_KIND, json.loads(done.stdout.split("RESULT")[1]), strict=True))


@pytest.mark.parametrize("name", BY_KIND)
def test_twenty_updates_by_kinds_of_parameters_give_mmengines_weights(name: str, weights_by_kind: dict) -> None:
    wrapper, (weights, _, _) = BY_KIND[name], numbers()
    model = NormedModel()
    for key, weight in weights.items():
        model.state_dict()[key].update(var(weight))
    built = build_optimizer(wrapper, model)
    for _ in range(20):
        built.step(loss_of(model))
        jt.sync_all()
    ours = model.state_dict(to="numpy")
    for key, expected in weights_by_kind[name].items():
        # float32 on both sides; products and squares are summed in another order, and twenty steps add it up
        np.testing.assert_allclose(ours[key], expected, rtol=1e-6, atol=1e-6, err_msg=key)


def test_jittors_own_norms_are_norms() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            self.norms = nn.ModuleList([nn.GroupNorm(2, 4), nn.InstanceNorm(4), nn.LayerNorm(4), FixedBatchNorm(4)])
            self.head = nn.Linear(4, 4)

    model = Normed()
    optimizer = build_optimizer({"optimizer": SGD, "paramwise_cfg": {"norm_decay_mult": 0.0}}, model)
    before = model.state_dict(to="numpy")
    optimizer.step(sum((one.sum() for one in model.parameters()), jt.zeros(1)) * 0.0)  # nothing but decay
    jt.sync_all()
    after = model.state_dict(to="numpy")
    assert {name for name in before if (before[name] != after[name]).any()} == {"head.weight", "head.bias"}


def test_a_frozen_parameter_is_neither_moved_nor_decayed() -> None:
    model = make_model()
    optimizer = build_optimizer(WRAPPERS["SGD"], model)
    train(model, optimizer, 2)
    assert model.frozen.numpy().tolist() == [1.0, 1.0]
    assert not any("frozen" in name for name in optimizer.state_dict())


def test_step_returns_the_norm_before_clipping() -> None:
    model = make_model()
    weights, inputs, targets = (numbers()[0], *numbers()[1:])
    hidden = inputs @ weights["backbone.weight"].T + weights["backbone.bias"]
    error = 2 * (hidden @ weights["head.weight"].T + weights["head.bias"] - targets) / targets.size
    back = error @ weights["head.weight"]
    gradients = [error.T @ hidden, error.sum(0), back.T @ inputs, back.sum(0)]
    norm = build_optimizer(WRAPPERS["SGD clipped"], model).step(loss_of(model))
    expected = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients))
    np.testing.assert_allclose(norm.item(), expected, rtol=1e-5)


def test_the_norm_of_25_million_gradients_does_not_saturate() -> None:
    model = nn.Module()
    model.weight = jt.zeros((5000, 5000))
    optimizer = build_optimizer({"optimizer": {"type": "SGD", "lr": 1.0}, "clip_grad": {"max_norm": 1.0}}, model)
    # every gradient is 1; one float32 accumulator would stop at 2**24 and give 4096
    assert optimizer.step(model.weight.sum()).item() == pytest.approx(5000, rel=1e-5)


def test_a_float_as_loss_is_refused() -> None:
    model = make_model()
    with pytest.raises(TypeError, match="must be a Jittor Var"):
        build_optimizer(WRAPPERS["SGD"], model).step(loss_of(model).item())


def test_the_rate_of_every_group_follows_the_schedule() -> None:
    model = make_model()
    optimizer = build_optimizer(
        {"optimizer": {"type": "SGD", "lr": 1.0}, "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.5}}}},
        model,
    )
    schedule = Schedule([{"type": "ConstantLR", "factor": 0.25, "end": 5}], optimizer.base_rate, 10, LOOP)
    before = model.state_dict(to="numpy")
    assert optimizer.follow(schedule, 3) == 0.25
    optimizer.step(sum(parameter.sum() for parameter in (model.backbone.weight, model.head.weight)))
    after = model.state_dict(to="numpy")
    np.testing.assert_allclose(before["head.weight"] - after["head.weight"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(before["backbone.weight"] - after["backbone.weight"], 0.125, rtol=1e-5)


def test_two_batches_of_four_are_one_batch_of_eight() -> None:
    """With a loss that is a mean over rows; numpy's update of the eight is the reference."""
    generator = np.random.default_rng(3)
    inputs, targets = generator.standard_normal((8, 5)), generator.standard_normal((8, 3))
    layer = nn.Linear(5, 3)
    layer.train()
    weight, bias = layer.weight.numpy().astype(np.float64), layer.bias.numpy().astype(np.float64)
    optimizer = build_optimizer(
        {"optimizer": {"type": "SGD", "lr": 0.5}, "accumulative_counts": 2, "clip_grad": {"max_norm": 0.1}}, layer
    )
    for number, rows in enumerate((slice(0, 4), slice(4, 8))):
        loss = ((layer(var(inputs[rows], "float32")) - var(targets[rows], "float32")) ** 2).mean()
        norm = optimizer.step(loss, Accumulation(2, 2).share(number))
        jt.sync_all()
    slope = 2 * (inputs @ weight.T + bias - targets) / targets.size
    gradients = slope.T @ inputs, slope.sum(0)
    expected = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    np.testing.assert_allclose(norm.item(), expected, rtol=1e-6)
    for parameter, before, gradient in zip((layer.weight, layer.bias), (weight, bias), gradients, strict=True):
        np.testing.assert_allclose(parameter.numpy(), before - 0.5 * gradient * 0.1 / expected, atol=1e-6)


def test_two_batches_of_four_images_move_a_detector_by_the_mean_of_their_gradients() -> None:
    seed(0)
    model = build_detector(small_model())
    model.train()
    optimizer = build_optimizer({"optimizer": {"type": "SGD", "lr": 0.02}, "accumulative_counts": 2}, model)
    trained = {name: parameter for name, parameter in model.named_parameters() if not parameter.is_stop_grad()}
    before = {name: parameter.numpy() for name, parameter in trained.items()}
    gradients = []

    def loss_of_batch(number: int) -> jt.Var:
        return total_loss(model.loss(random_batch(counts=(3, 2, 0, 1), seed=number)))

    for number in (0, 1):
        gradients.append([gradient.numpy() for gradient in jt.grad(loss_of_batch(number), list(trained.values()))])
    for number in (0, 1):
        optimizer.step(loss_of_batch(number), Accumulation(2, 2).share(number))
        jt.sync_all()
    for name, first, second in zip(trained, *gradients, strict=True):
        expected = before[name] - 0.02 * (first + second) / 2
        np.testing.assert_allclose(trained[name].numpy(), expected, rtol=1e-6, atol=1e-6, err_msg=name)
        assert (before[name] != trained[name].numpy()).any() == (first + second).any()


@pytest.mark.parametrize("steps", [3, 4, 5])
@pytest.mark.parametrize(
    "name",
    [
        "SGD clipped",
        "SGD dampened",
        "AdamW by the largest moments",
        "AdamW clipped, with custom keys",
        "SGD with batches in threes",
        "AdamW with batches in threes",
    ],
)
def test_a_restored_state_continues_bit_for_bit(name: str, steps: int) -> None:
    straight = make_model()
    train(straight, build_optimizer(WRAPPERS[name], straight), STEPS)

    first = make_model()
    optimizer = build_optimizer(WRAPPERS[name], first)
    train(first, optimizer, steps)
    state, weights = optimizer.state_dict(), first.state_dict(to="numpy")

    second = make_model()
    for parameter_name, parameter in second.state_dict().items():
        parameter.update(var(weights[parameter_name]))
    optimizer = build_optimizer(WRAPPERS[name], second)
    optimizer.load_state_dict(state)
    train(second, optimizer, STEPS - steps, steps)
    for parameter_name, expected in straight.state_dict(to="numpy").items():
        np.testing.assert_array_equal(second.state_dict(to="numpy")[parameter_name], expected)


def test_the_state_is_keyed_by_parameter_name() -> None:
    model = make_model()
    optimizer = build_optimizer(WRAPPERS["SGD"], model)
    assert set(optimizer.state_dict()) == {"step"} | {f"{name}.momentum_buffer" for name in numbers()[0]}
    assert set(build_optimizer(WRAPPERS["AdamW"], model).state_dict()) == {"step"} | {
        f"{name}.{buffer}" for name in numbers()[0] for buffer in ("exp_avg", "exp_avg_sq")
    }
    most = {f"{name}.max_exp_avg_sq" for name in numbers()[0]}
    for kind in ("Adam", "AdamW"):
        state = set(build_optimizer({"optimizer": ADAMW | {"type": kind, "amsgrad": True}}, model).state_dict())
        assert most < state and len(state) == 3 * len(most) + 1


def test_a_state_that_does_not_fit_is_listed_and_changes_nothing() -> None:
    model = make_model()
    optimizer = build_optimizer(WRAPPERS["SGD"], model)
    train(model, optimizer, 1)
    before = optimizer.state_dict()
    wrong = dict(before)
    wrong["head.bias.momentum_buffer"] = np.zeros(7, np.float32)
    wrong["neck.weight.momentum_buffer"] = wrong.pop("head.weight.momentum_buffer")
    with pytest.raises(UserError) as caught:
        optimizer.load_state_dict(wrong)
    text = str(caught.value)
    assert "1 missing: head.weight.momentum_buffer float32[3, 4]" in text
    assert "1 unexpected: neck.weight.momentum_buffer float32[3, 4]" in text
    assert "head.bias.momentum_buffer is float32[7], expected float32[3]" in text
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("wrapper", "text"),
    [
        ({"optimizer": {"type": "SDG", "lr": 1}}, "optim_wrapper.optimizer: unknown type 'SDG' (did you mean 'SGD'?)"),
        ({"optimizer": {"type": "SGD"}}, "optim_wrapper.optimizer.lr is missing"),
        ({"optimizer": SGD | {"momentun": 0.9}}, "unknown key 'momentun' (did you mean 'momentum'?)"),
        ({"optimizer": SGD | {"lr": "0.02"}}, "optim_wrapper.optimizer.lr='0.02': expected a number"),
        (
            {"optimizer": SGD, "clip_grad": {"max_norm": 35, "norm_type": 0}},
            "optim_wrapper.clip_grad.norm_type=0: expected a number above 0",
        ),
        (
            {"optimizer": SGD, "clip_grad": {"type": "values"}},
            "clip_grad.type' is 'values'; expected 'norm' or 'value'",
        ),
        (
            {"optimizer": SGD, "clip_grad": {"type": "value"}},
            "optim_wrapper.clip_grad.clip_value=None: expected a numb",
        ),
        (
            {"optimizer": SGD, "clip_grad": {"type": "value", "clip_value": 1, "max_norm": 2}},
            "optim_wrapper.clip_grad.max_norm has no effect with type='value': remove it",
        ),
        ({"optimizer": SGD, "clip_grad": {"clip_value": 1}}, "clip_grad.clip_value has no effect with type='norm'"),
        (
            {"optimizer": SGD | {"nesterov": True, "momentum": 0}},
            "optimizer.nesterov=True needs a momentum above 0, and",
        ),
        (
            {"optimizer": SGD | {"nesterov": True, "dampening": 0.1}},
            "nesterov=True needs a momentum above 0, and no damp",
        ),
        ({"optimizer": SGD | {"nesterov": 1}}, "optim_wrapper.optimizer.nesterov is 1; expected True or False"),
        ({"optimizer": ADAMW | {"betas": [0.9, 1]}}, "optim_wrapper.optimizer.betas is [0.9, 1]; expected two numbers"),
        ({"optimizer": SGD | {"amsgrad": True}}, "optim_wrapper.optimizer: unknown key 'amsgrad'"),
        ({"optimizer": SGD, "clip_grad": {"norm_type": 2}}, "clip_grad.max_norm=None: expected a number"),
        ({"optimizer": SGD, "paramwise_cfg": {"custom_keys": {"backbon.": {}}}}, "'backbon.' is part of no parameter"),
        ({"optimizer": SGD, "paramwise_cfg": {"custom_keys": {"head": {"lr": 1}}}}, "unknown key 'lr'"),
        ({"optimizer": SGD, "accumulative_counts": 0}, "'optim_wrapper.accumulative_counts' is 0; expected 1 or more"),
        ({"optimizer": SGD | {"maximize": True}}, "optim_wrapper.optimizer.maximize' is True, which is not supported"),
        ({"optimizer": SGD, "paramwise_cfg": {"norm_decay_mult": "0"}}, "norm_decay_mult='0': expected a number"),
        ({"optimizer": SGD, "paramwise_cfg": {"flat_decay_mult": 0.0}}, "flat_decay_mult' is 0.0, which is not supp"),
        ({"type": "ApexOptimWrapper", "optimizer": SGD}, "'optim_wrapper.type' is 'ApexOptimWrapper', which is"),
    ],
)
def test_a_mistake_in_the_config_is_named(wrapper: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        build_optimizer(wrapper, make_model())
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_in_evaluation_mode_has_nothing_to_train() -> None:
    model = make_model()
    model.eval()
    with pytest.raises(UserError, match="no trainable parameter"):
        build_optimizer(WRAPPERS["SGD"], model)


def test_keys_of_mmengine_and_torch_that_ask_for_nothing_are_accepted_and_all_rates_follow_the_factor() -> None:
    wrapper = {
        "type": "mmengine.OptimWrapper",
        "accumulative_counts": 1,
        "constructor": "DefaultOptimWrapperConstructor",
        "optimizer": SGD | {"type": "torch.optim.SGD", "dampening": 0, "foreach": True, "maximize": False},
        "paramwise_cfg": {"bypass_duplicate": True, "norm_decay_mult": 1.0},
        "clip_grad": {"max_norm": 35, "norm_type": 2.0},
    }
    assert build_optimizer(wrapper, make_model()).base_rate == SGD["lr"]
    assert build_optimizer(wrapper, make_model(), 0.125).base_rate == SGD["lr"] * 0.125

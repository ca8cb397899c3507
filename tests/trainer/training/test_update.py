"""The update of models with more parameters than one operator takes."""

import numpy as np
import pytest

from tests.trainer.models.examples import random_batch, small_model
from trainer.device import jt, seed, var
from trainer.models import build_detector
from trainer.training.terms import total_loss
from trainer.training.update import SGD, AdamW, gradient_norm

RATE, DECAY, MAX_NORM = 0.01, 0.1, 0.5
ALGORITHMS = (SGD, AdamW)


def after_a_step(algorithm: type, weight: np.ndarray, gradient: np.ndarray, norm: float) -> np.ndarray:
    """A parameter after the first step, as torch defines it."""
    gradient = gradient * min(MAX_NORM / (norm + 1e-6), 1.0)
    if algorithm is SGD:
        return weight - RATE * (gradient + DECAY * weight)
    return weight * (1 - RATE * DECAY) - RATE * gradient / (np.abs(gradient) + 1e-8)


def assert_steps(algorithm: type, parameters: list[jt.Var], gradients: list[jt.Var]) -> None:
    """A step moves every parameter as torch's rule does."""
    optimizer = algorithm(parameters, lr=RATE, weight_decay=DECAY)
    optimizer.n_step = 1
    optimizer.param_groups[0] |= {"lr": RATE, "weight_decay": DECAY, "grads": gradients}
    slopes, before = ([one.numpy() for one in group] for group in (gradients, parameters))
    norm = gradient_norm(gradients)
    optimizer.update(norm, MAX_NORM)
    jt.sync_all()
    expected_norm = np.sqrt(sum((slope.astype(np.float64) ** 2).sum() for slope in slopes))
    np.testing.assert_allclose(norm.item(), expected_norm, rtol=1e-6)
    for now, weight, slope in zip(parameters, before, slopes, strict=True):
        expected = after_a_step(algorithm, weight, slope, expected_norm)
        np.testing.assert_allclose(now.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_thousand_parameters_take_a_step(algorithm: type) -> None:
    generator = np.random.default_rng(0)
    some = [[var(generator.standard_normal((2, 3)), "float32") for _ in range(1000)] for _ in range(2)]
    assert_steps(algorithm, *some)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("depth", [50, *(pytest.param(depth, marks=pytest.mark.long) for depth in (101, 152))])
def test_detectors_on_deep_backbones_take_a_step(depth: int, algorithm: type) -> None:
    seed(0)
    model = build_detector(small_model(**{"backbone.depth": depth, "neck.in_channels": [32, 64, 128, 256]}))
    model.train()
    trained = [parameter for parameter in model.parameters() if not parameter.is_stop_grad()]
    assert_steps(algorithm, trained, jt.grad(total_loss(model.loss(random_batch())), trained))


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, np.inf])
def test_a_norm_of_many_gradients_is_that_of_all_their_numbers_and_not_finite_where_one_is_not(power: float) -> None:
    generator = np.random.default_rng(0)
    gradients = [generator.standard_normal((7, 30)).astype(np.float32) for _ in range(250)]
    expected = np.linalg.norm(np.concatenate(gradients).astype(np.float64).ravel(), power)
    np.testing.assert_allclose(gradient_norm([var(one) for one in gradients], power).item(), expected, rtol=1e-5)
    for spoilt in (np.nan, np.inf, -np.inf):
        gradients[3][2, 1] = spoilt
        assert not np.isfinite(gradient_norm([var(one) for one in gradients[:9]], power).item())

"""What stops a training run that has silently gone wrong.

    check_losses     every step: a loss that is NaN, infinite or, against expectation, exactly 0.0
    assert_trains    once at the start: a trainable parameter that does not move, or a frozen one that does

Jittor turns many mistakes into a loss of exactly 0.0 or into a gradient of nothing at all, without an error; these two are how they show.
"""

from __future__ import annotations

import math

import numpy as np
from mmengine.config import Config

from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import jt, nn, var
from trainer.optim import build_optimizer
from trainer.terms import minimised, total_loss

_NUDGE = 0.05  # standard deviation of what replaces an all-zero parameter during the self-test


class TrainingFault(UserError):
    """The numbers of a training step cannot be right; the text names the batch."""


def check_losses(terms: dict[str, float], batch: Batch) -> None:
    """Raises TrainingFault when a term is not finite, or the loss is exactly 0.0 although the batch has boxes."""
    images = batch.host["image_ids"].tolist()
    where = f"step {batch.step} (image ids {images})"
    for name, value in terms.items():
        if not math.isfinite(value):
            raise TrainingFault(f"{name} is {value} at {where}; lower the learning rate, or look at these images' boxes")
    losses = {name: terms[name] for name in minimised(terms)}
    if sum(losses.values()) == 0.0 and batch.host["box_counts"].any():
        raise TrainingFault(f"the loss is exactly 0.0 at {where}: {losses}; nothing would be learnt from it")


def assert_trains(model: nn.Module, config: Config, batch: Batch) -> None:
    """Takes one optimizer step on `batch` and puts everything back.

    Parameters that start at zero are nudged first: a block whose last norm is zero passes no gradient to the convolutions before it.

    Raises:
        TrainingFault: lists the parameters that should have moved and did not, or did and should not have.
    """
    parameters = dict(model.named_parameters())
    before = {name: parameter.numpy().copy() for name, parameter in parameters.items()}
    trainable = {name for name, parameter in parameters.items() if not parameter.is_stop_grad()}
    random = np.random.default_rng(0)
    for name in trainable:
        if not before[name].any():
            nudged = random.normal(0, _NUDGE, before[name].shape).astype(before[name].dtype)
            parameters[name].assign(var(nudged))
    start = {name: parameter.numpy().copy() for name, parameter in parameters.items()}
    optimizer = build_optimizer(config.optim_wrapper, model)
    optimizer.step(total_loss(model.loss(batch)))
    jt.sync_all()
    moved = {name for name, parameter in parameters.items() if not np.array_equal(start[name], parameter.numpy())}
    for name in trainable:
        parameters[name].assign(var(before[name]))
    jt.sync_all()
    faults = [f"{name} is trainable but did not move" for name in sorted(trainable - moved)]
    faults += [f"{name} is frozen but moved" for name in sorted(moved - trainable)]
    if faults:
        raise TrainingFault("self-test: " + "; ".join(faults))

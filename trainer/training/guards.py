"""Stops a training run that has silently gone wrong.

    check_losses     every step: a loss that is NaN, infinite or, against expectation, exactly 0.0
    check_gradients  every step: gradients that are not finite although the loss is
    assert_trains    once at the start: a trainable parameter that does not move, or a frozen one that does
    check_skips      every step with a scaled loss: too many updates in a row that were skipped
    memory_advised   every step: memory that is used up

Jittor turns many mistakes into a loss of exactly 0.0 or into a gradient of nothing at all, without an error; these
checks reveal them.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config

from shared.errors import UserError
from trainer.batch import Batch
from trainer.device import card_memory, device_memory, jt, nn, var
from trainer.process.out_of_memory import REMEDY, OutOfMemory, sign
from trainer.training.loss_scale import Gradients, Skips
from trainer.training.optimizer import Optimizer, build_optimizer
from trainer.training.terms import minimised, total_loss

_NUDGE = 0.05  # size of what replaces an all-zero parameter during the self-test
_OTHERS_SECONDS = 10.0
_MOST_SKIPS = 50  # in a row: torch's first scale has come down to 2^-34 by then
_DECAYED = 0.01  # share of itself that weight decay takes from a parameter during the self-test


class TrainingFault(UserError):
    """The numbers of a training step cannot be right; the text names the batch."""


def check_losses(terms: dict[str, float], batch: Batch, config_file: str) -> None:
    """Raises TrainingFault when a term is not finite, or the loss is exactly 0.0 although the batch has boxes.

    Args:
        config_file: the run's whole config, for the command that makes the batch again.
    """
    where, look = _where(batch), _look(batch, config_file)
    for name, value in terms.items():
        if not math.isfinite(value):
            raise TrainingFault(f"{name} is {value} at {where}; lower the learning rate, or {look}")
    losses = {name: terms[name] for name in minimised(terms)}
    if sum(losses.values()) == 0.0 and batch.host["box_counts"].any():
        raise TrainingFault(f"the loss is exactly 0.0 at {where}: {losses}; nothing is learnt from it; {look}")


def check_others(terms: dict[str, float], step: int) -> None:
    """Raises TrainingFault when a term of another rank's batch is not finite, after that rank has had time to say so
    itself: it knows the images."""
    for name, value in terms.items():
        if not math.isfinite(value):
            time.sleep(_OTHERS_SECONDS)
            raise TrainingFault(f"{name} is {value} at step {step}, of another rank")


def check_gradients(norm: float, batch: Batch | None, config_file: str) -> None:
    """Raises TrainingFault when `norm`, that of all gradients of the step on `batch`, is not finite: the update has
    spoilt the weights, whatever the loss was. For `config_file` see `check_losses`."""
    if not math.isfinite(norm):
        if batch is None:
            raise TrainingFault(f"the gradients' norm is {norm}, in a turn without a batch of this rank")
        raise TrainingFault(
            f"the gradients' norm is {norm} at {_where(batch)}, and the loss is finite; nothing of this step is saved; "
            f"resume from the last checkpoint with a lower learning rate, or {_look(batch, config_file)}"
        )


def check_skips(skips: Skips, gradients: Gradients, batch: Batch | None, config_file: str) -> None:
    """Raises TrainingFault when so many updates in a row were skipped that no scale of the loss will help: up to the
    one on `batch`, with `gradients`. For `config_file` see `check_losses`."""
    if skips.in_a_row < _MOST_SKIPS:
        return
    where = f" at {_where(batch)}; {_look(batch, config_file)}" if batch else ""
    raise TrainingFault(
        f"{skips.in_a_row} updates in a row were skipped: the gradients' norm is {gradients.norm}, although the scale "
        f"of the loss is {gradients.scale:g} by now; lower the learning rate, or train in float32 "
        f"(optim_wrapper.type='OptimWrapper'){where}"
    )


@contextlib.contextmanager
def memory_advised(batch: Batch | None) -> Iterator[None]:
    """Inside, a step on `batch`, where there is one, that finds no memory left raises OutOfMemory, with sizes and what
    to lower."""
    try:
        yield
    except RuntimeError as error:
        if not (found := sign(error)) or batch is None:
            raise
        images, height, width = batch.images.shape[:3]
        card = card_memory()
        held = f"{device_memory() / 2**30:.2f} GiB" + (f" of the card's {card[1] / 2**30:.2f}" if card else "")
        raise OutOfMemory(
            f"the device's memory is used up in step {batch.step}: {images} images of {height}x{width}, Jittor holds "
            f"{held} ({found}); {REMEDY}"
        ) from None


def assert_trains(model: nn.Module, config: Config, batch: Batch) -> None:
    """Takes optimizer steps on `batch`, looks at what they move, and puts everything back.

    With weight decay every trainable parameter must move, without any at least one of each part of the network: the
    first shows what the optimizer does not hold, the second what no gradient reaches. (Single parameters may rightly
    have none, such as those of pyramid levels too coarse for the batch.) That decay is large enough to move a float32,
    and no parameter is spared, as a config may do.

    Raises:
        TrainingFault: lists what should have moved and did not, or did and should not have.
    """
    parameters = dict(model.named_parameters())
    trainable = {name for name, parameter in parameters.items() if not parameter.is_stop_grad()}
    optimizer = config.optim_wrapper.optimizer
    by_gradient = _moved(model, _with_decay(config, 0.0), batch)
    moved = by_gradient | (
        _moved(model, _with_decay(config, _DECAYED / optimizer.lr), batch)
        if optimizer.get("weight_decay") and optimizer.lr
        else trainable
    )
    faults = [f"{name} is trainable but did not move" for name in sorted(trainable - moved)]
    faults += [f"{name} is frozen but moved" for name in sorted(moved - trainable)]
    reached = {_part(name) for name in by_gradient}
    faults += [f"no gradient reaches {part}" for part in sorted({_part(name) for name in trainable} - reached)]
    if faults:
        raise TrainingFault("self-test: " + "; ".join(faults))


def _where(batch: Batch) -> str:
    return f"step {batch.step} (image ids {batch.host['image_ids'].tolist()})"


def _look(batch: Batch, config_file: str) -> str:
    return f"look at them: python -m data_server replay --config {config_file} --step {batch.step} --draw replay"


def _moved(model: nn.Module, wrapper: dict, batch: Batch) -> set[str]:
    """The names of the parameters that one step with this optim_wrapper changes. Leaves them as they were.

    Parameters that start at zero are nudged first: a block whose last norm is zero passes no gradient to the
    convolutions before it, and boxes without extent pass none to the box regression.
    """
    parameters = dict(model.named_parameters())
    before = {name: parameter.numpy().copy() for name, parameter in parameters.items()}
    random = np.random.default_rng(0)
    for name, parameter in parameters.items():
        if not parameter.is_stop_grad() and not before[name].any():
            parameter.assign(var(np.abs(random.normal(0, _NUDGE, before[name].shape)), "float32"))
    start = {name: parameter.numpy().copy() for name, parameter in parameters.items()}
    optimizer = build_optimizer(wrapper, model)
    _update_once(optimizer, model, batch)
    moved = {name for name, parameter in parameters.items() if not np.array_equal(start[name], parameter.numpy())}
    for name, parameter in parameters.items():
        if not parameter.is_stop_grad():
            parameter.assign(var(before[name]))
    jt.sync_all()
    return moved


def _update_once(optimizer: Optimizer, model: nn.Module, batch: Batch) -> None:
    """One step; of a scaled loss the first that is not skipped, because a first scale is often too large.

    Raises:
        TrainingFault: all of many are.
    """
    for _ in range(_MOST_SKIPS):
        norm = optimizer.step(total_loss(model.loss(batch)))
        jt.sync_all()
        if optimizer.loss_scale is None or math.isfinite(norm.item()):
            return
    raise TrainingFault(
        f"self-test: {_MOST_SKIPS} updates in a row were skipped, the last of a loss scaled by "
        f"{optimizer.scale[0].item():g}; lower optim_wrapper.loss_scale, or train in float32 "
        f"(optim_wrapper.type='OptimWrapper'); {_where(batch)}"
    )


def _with_decay(config: Config, decay: float) -> dict:
    """The config's optim_wrapper with this weight decay, and the same rates for all parameters."""
    wrapper = {**config.optim_wrapper, "optimizer": {**config.optim_wrapper.optimizer, "weight_decay": decay}}
    wrapper.pop("paramwise_cfg", None)
    return wrapper


def _part(name: str) -> str:
    """The part of the network that a parameter belongs to: a stage of the backbone, the neck, a head."""
    return ".".join(name.split(".")[: 2 if name.startswith("backbone.") else 1])

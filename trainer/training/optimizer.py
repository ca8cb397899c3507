"""The optimizer, built from a config's ``optim_wrapper`` as MMDetection 3 writes it.

The update rules are SGD, Adam and AdamW as torch has them (trainer/training/update.py). Added here: parameter groups
from ``paramwise_cfg``, clipping, updates from several batches, and a state keyed by parameter name.

One training step, in this order (a parameter that changes between forward and backward silently loses its gradient)::

    optimizer.follow(schedule, step)    learning rate of every group, momentum
    loss = model(batch)                 forward
    optimizer.step(loss, share)         backward -> after a group's last batch: clip and update
    jt.sync_all()                       the one place where the step's graph is run

Several ranks do the same in two halves, and between them gradients are numbers on the host::

    optimizer.backward(loss, share) -> gradients() -> sum over the ranks -> put_gradients() -> optimizer.complete(share)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from shared.config_keys import CLIP_GRAD, OPTIM_WRAPPER, OPTIMIZER, PARAMWISE_CFG, check_section, class_name
from shared.errors import UserError
from shared.keys import SWITCH, Values, check_keys, check_number, check_type, nearest
from trainer.device import jt, nn, var
from trainer.models.layers import FixedBatchNorm
from trainer.models.ops.operator import forgetting
from trainer.training.accumulation import WHOLE, Share
from trainer.training.kept import Kept
from trainer.training.loss_scale import LossScale, build_loss_scale
from trainer.training.schedule import Schedule
from trainer.training.update import NO_LIMIT, SGD, Adam, AdamW, gradient_norm
from trainer.weights.names import describe_mismatch


class _Algorithm(NamedTuple):
    """An update rule: its class, its keys with torch's defaults, and what torch calls each of the class's buffers."""

    make: Callable[..., SGD | AdamW]
    defaults: dict[str, Any]
    buffers: dict[str, str]


_ALGORITHMS = {
    "SGD": _Algorithm(
        SGD,
        {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
        {"values": "momentum_buffer"},
    ),
    "Adam": _Algorithm(
        Adam,
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False},
        {"m": "exp_avg", "values": "exp_avg_sq"},
    ),
    "AdamW": _Algorithm(
        AdamW,
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False},
        {"m": "exp_avg", "values": "exp_avg_sq"},
    ),
}
_AMSGRAD = {"most": "max_exp_avg_sq"}
# which values an optimizer's keys may have; the others' are numbers
_OTHERS = {
    "betas": Values(
        lambda value: isinstance(value, list | tuple) and len(value) == 2 and all(0 <= beta < 1 for beta in value),
        "two numbers, 0 or more and below 1",
    ),
    "nesterov": SWITCH,
    "amsgrad": SWITCH,
}
_NORMS = (FixedBatchNorm, nn.GroupNorm, nn.InstanceNorm, nn.LayerNorm)  # all but the first in a user's own backbone
_SCALE = "loss_scale"
_WAITING = "waiting_share"  # beside the gradients that wait for an update, under these names:
_GRADIENT = "gradient"


class Clipping(NamedTuple):
    """How gradients are clipped: all together at `max_norm`, measured by `power`, or each number at `limit`."""

    max_norm: float = NO_LIMIT
    power: float = 2.0
    limit: float = NO_LIMIT


class Optimizer:
    """Updates the trainable parameters of a model; made by `build_optimizer`.

    Attributes:
        base_rate: the config's ``lr``: the rate of every parameter that no custom key matches.
        base_momentum: the config's ``momentum``, or the first of its ``betas``.
        counts: how many batches make an update; `trainer.training.accumulation` says which.
        loss_scale: what gradients are scaled by, if they are.
        waiting: the share of the last batch, where no update has followed it yet.
    """

    def __init__(
        self,
        algorithm: SGD | AdamW,
        buffers: dict[str, str],
        clipping: Clipping,
        counts: int,
        loss_scale: LossScale | None,
    ) -> None:
        self.base_rate: float = algorithm.lr
        self.base_momentum: float = algorithm.momentum
        self.counts = counts
        self.loss_scale = loss_scale
        self.waiting: Share | None = None
        self._algorithm = algorithm
        self._buffers = buffers
        self._clipping = clipping
        self._kept = Kept()
        self._kept_numbers: tuple[int, Share | None] = (0, None)

    @property
    def parameters(self) -> dict[str, jt.Var]:
        """What it updates, by name."""
        groups = self._algorithm.param_groups
        return {name: one for group in groups for name, one in zip(group["names"], group["params"], strict=True)}

    @property
    def scale(self) -> list[jt.Var]:
        """What the next loss is multiplied by, f32 (1,), if it is."""
        return [] if self.loss_scale is None else [self.loss_scale.value]

    @property
    def bytes(self) -> int:
        """Of the parameters that it updates, and of its buffers."""
        return sum(variable.numel() * np.dtype(np.float32).itemsize for variable in self._variables())

    def follow(self, schedule: Schedule, step: int) -> float:
        """Sets the momentum and every group's learning rate for the 0-based global `step`; returns the base rate's."""
        self._algorithm.momentum = schedule.momentum(step, self.base_momentum)
        for group in self._algorithm.param_groups:
            group["lr"] = schedule.rate(step, group["lr_mult"])
        return schedule.rate(step)

    def check(self, schedule: Schedule) -> None:
        """Raises UserError for a schedule whose momenta the update rule cannot follow."""
        momenta = schedule.momenta(self.base_momentum)
        if isinstance(self._algorithm, AdamW) and momenta.max() >= 1:
            raise UserError(
                f"param_scheduler: the momentum is {momenta.max():g} at step {momenta.argmax()}; it is the first of "
                "the betas here, which has to stay below 1"
            )
        if isinstance(self._algorithm, SGD) and self._algorithm.dampening and momenta.any() and not momenta.all():
            raise UserError(
                f"param_scheduler: the momentum is 0 at step {(momenta == 0).argmax()}, and not always; with "
                "optim_wrapper.optimizer.dampening it has to stay above 0"
            )

    def step(self, loss: jt.Var, share: Share = WHOLE) -> jt.Var:
        """Backward of the scalar `loss`; after the last batch of its group clipping and update. The caller runs
        ``jt.sync_all()`` afterwards.

        Returns the global norm of the group's mean gradient, so far and before clipping, (1,) float32: L2 unless
        clip_grad has another. With a `loss_scale` nothing is updated where it is not finite.

        Raises:
            TypeError: `loss` is not a Var. Jittor silently accepts a float here and trains nothing.
        """
        self.backward(loss, share)
        return self.complete(share)

    def backward(self, loss: jt.Var, share: Share, adds: bool = True) -> None:
        """The first half of `step`. Unless it `adds`, the gradients that wait are left out."""
        if not isinstance(loss, jt.Var):
            raise TypeError(f"the loss must be a Jittor Var that depends on the parameters, not {type(loss).__name__}")
        waiting = [one.detach() for one in self._gradients()] if adds and self.waiting is not None else []
        self._algorithm.zero_grad()
        if self.loss_scale is not None:
            loss = loss * self.loss_scale.value
        with forgetting():  # else what every operator keeps for its gradient lives until the end of the step
            self._algorithm.backward(loss if share == WHOLE else loss / share.batches)
        self._algorithm.n_step -= 1  # Jittor counts backwards, the rules need updates
        for before, gradient in zip(waiting, self._gradients(), strict=bool(waiting)):
            # Fused with what makes the gradient, the addition might be done in the midst of it, and be rounded there.
            gradient.update(gradient.stop_fuse() + before)

    def complete(self, share: Share) -> jt.Var:
        """The second half of `step`, with the gradients that are there."""
        norm, scaled = gradient_norm(self._gradients(), self._clipping.power), None
        self.waiting = None if share.completes else share
        if not share.completes:
            return norm if self.loss_scale is None else norm / self.loss_scale.value
        self._algorithm.n_step += 1
        if self.loss_scale is not None:
            norm, scaled = self.loss_scale.follow(norm, getattr(self._algorithm, "betas", (0.0, 0.0)))
        self._algorithm.update(norm, self._clipping.max_norm, self._clipping.limit, scaled)
        return norm

    def gradients(self) -> np.ndarray:
        """A copy of all gradients, f32 (n,)."""
        return np.concatenate([one.numpy().reshape(-1) for one in self._gradients()])

    def no_gradients(self) -> np.ndarray:
        """Zeros in their place, f32 (n,)."""
        return np.zeros(sum(value.numel() for value in self.parameters.values()), np.float32)

    def put_gradients(self, numbers: np.ndarray) -> None:
        """Takes over what `gradients` may have given."""
        start = 0
        for group in self._algorithm.param_groups:
            group["grads"] = []
            for value in group["params"]:
                group["grads"].append(var(numbers[start : start + value.numel()].reshape(value.shape)))
                start += value.numel()

    def keep(self) -> None:
        """From now on parameters, buffers and gradients that wait are what `restore` brings back."""
        self._kept.keep(self._variables())
        self._kept_numbers = self._algorithm.n_step, self.waiting

    def restore(self) -> None:
        """Back to the last `keep`, from a step that failed at any point."""
        self._algorithm.n_step, self.waiting = self._kept_numbers
        self._kept.restore(self._variables())
        if self.waiting is None:
            for group in self._algorithm.param_groups:
                group.pop("grads", None)  # they would be computed once more, and fail again

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all buffers as ``<parameter>.<torch's buffer name>``, and ``step``, (1,) int64: updates done.

        With a `loss_scale` its state, f32 (3,), as ``loss_scale``; updates are those that were not skipped then.
        Between the batches of a group the gradients so far as ``<parameter>.gradient``, and ``waiting_share``, (2,)
        int64: `waiting`.
        """
        state = {name: buffer.numpy() for name, buffer in self._named(self._buffers).items()}
        state["step"] = np.array([self._algorithm.n_step], np.int64)
        if self.loss_scale is not None:
            state[_SCALE] = self.loss_scale.state.numpy()
            state["step"][0] = state[_SCALE][2]
        if self.waiting is not None:
            state |= {name: gradient.numpy() for name, gradient in self._named({"grads": _GRADIENT}).items()}
            state[_WAITING] = np.array(self.waiting, np.int64)
        return state

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            UserError: entries are missing, unexpected or of another shape; lists all of them, and changes nothing.
        """
        buffers = self._named(self._buffers)
        expected = {name: (str(buffer.dtype), tuple(buffer.shape)) for name, buffer in buffers.items()}
        expected["step"] = ("int64", (1,))
        if self.loss_scale is not None:
            expected[_SCALE] = ("float32", (3,))
        parameters = self._named({"params": _GRADIENT}) if _WAITING in state else {}
        if parameters:
            expected[_WAITING] = ("int64", (2,))
            expected |= {name: (str(value.dtype), tuple(value.shape)) for name, value in parameters.items()}
        mismatch = describe_mismatch(expected, state)
        if mismatch:
            raise UserError(f"the optimizer's state does not fit the configured optimizer and model: {mismatch}")
        for name, buffer in buffers.items():
            buffer.update(var(state[name]))
        self._algorithm.n_step = int(state["step"][0])
        if self.loss_scale is not None:
            self.loss_scale.state.update(var(state[_SCALE]))
        if parameters:
            self.waiting = Share(*state[_WAITING].tolist())
            for group in self._algorithm.param_groups:
                group["grads"] = [var(state[f"{name}.{_GRADIENT}"]) for name in group["names"]]

    def _variables(self) -> list[jt.Var]:
        state = self._named({"params": "", **self._buffers}).values()
        scale = [] if self.loss_scale is None else [self.loss_scale.state]
        return [*state, *scale, *(self._gradients() if self.waiting is not None else [])]

    def _gradients(self) -> list[jt.Var]:
        return [gradient for group in self._algorithm.param_groups for gradient in group["grads"]]

    def _named(self, columns: dict[str, str]) -> dict[str, jt.Var]:
        """What the groups have beside each parameter, in `columns`, as ``<parameter>.<the column's name>``."""
        return {
            f"{name}.{shown}": value
            for group in self._algorithm.param_groups
            for column, shown in columns.items()
            for name, value in zip(group["names"], group[column], strict=True)
        }


def build_optimizer(optim_wrapper: dict, model: nn.Module, rate_factor: float = 1.0) -> Optimizer:
    """Builds the optimizer of all parameters that are not stopped (``stop_grad``); the model must be in train mode.

    Keys are those of MMEngine's DefaultOptimWrapperConstructor: ``optimizer`` (``SGD``, ``Adam`` or ``AdamW``, torch's
    defaults), ``clip_grad`` (see `_clipping`), ``accumulative_counts``, AmpOptimWrapper's ``loss_scale``,
    ``paramwise_cfg.custom_keys`` (substring of the parameter's full name -> ``lr_mult``, ``decay_mult``; the longest
    matching key wins), and for parameters that no custom key matches ``norm_decay_mult``, ``bias_lr_mult`` of biases
    that are no norm's, and ``bias_decay_mult`` of biases, a norm's only without ``norm_decay_mult``. Weight decay
    applies to every other parameter, as in torch.
    Every learning rate is multiplied by `rate_factor` (`trainer.training.schedule.rate_factor`).

    Raises:
        UserError: an unknown type or key, a bad number, a custom key that matches no parameter, or nothing to train.
    """
    where = "optim_wrapper"
    check_section(where, optim_wrapper, OPTIM_WRAPPER)
    settings = dict(optim_wrapper.get("optimizer") or {})
    settings.pop("_scope_", None)
    kind = check_type(f"{where}.optimizer", class_name(settings.pop("type", None)), tuple(_ALGORITHMS))
    make, defaults, buffers = _ALGORITHMS[kind]
    for extra in OPTIMIZER:
        if extra.name in settings:
            extra.check(f"{where}.optimizer.{extra.name}", settings.pop(extra.name))
    check_keys(f"{where}.optimizer", settings, ("lr", *defaults))
    settings = defaults | settings
    for key, value in settings.items():
        if key in _OTHERS:
            _OTHERS[key].check(f"{where}.optimizer.{key}", value)
        else:
            check_number(f"{where}.optimizer.{key}", value, 0.0)
    if settings.get("nesterov") and (settings["dampening"] or not settings["momentum"]):
        raise UserError(f"{where}.optimizer.nesterov=True needs a momentum above 0, and no dampening")
    if "lr" not in settings:
        raise UserError(f"{where}.optimizer.lr is missing: give the base learning rate, e.g. lr=0.02")
    if settings.get("amsgrad"):
        buffers = buffers | _AMSGRAD
    clipping = _clipping(f"{where}.clip_grad", optim_wrapper.get("clip_grad") or {})
    paramwise = optim_wrapper.get("paramwise_cfg") or {}
    check_section(f"{where}.paramwise_cfg", paramwise, PARAMWISE_CFG)
    settings["lr"] *= rate_factor
    groups = _group(model, paramwise, settings["lr"], settings["weight_decay"])
    counts, loss_scale = optim_wrapper.get("accumulative_counts", 1), build_loss_scale(optim_wrapper, where)
    return Optimizer(make(groups, **settings), buffers, clipping, counts, loss_scale)


def _clipping(where: str, clip_grad: dict) -> Clipping:
    """MMEngine's ``clip_grad``: of type 'norm', ``max_norm`` with torch's ``norm_type``, or 'value', ``clip_value``."""
    check_section(where, clip_grad, CLIP_GRAD)
    by_value = clip_grad.get("type") == "value"
    if stray := {"max_norm", "norm_type"} & clip_grad.keys() if by_value else {"clip_value"} & clip_grad.keys():
        raise UserError(f"{where}.{min(stray)} has no effect with type={clip_grad.get('type', 'norm')!r}: remove it")
    if not clip_grad:
        return Clipping()
    if by_value:
        return Clipping(limit=check_number(f"{where}.clip_value", clip_grad.get("clip_value"), 0.0))
    power = clip_grad.get("norm_type", 2.0)
    power = check_number(f"{where}.norm_type", math.inf if power == "inf" else power, 0.0, above=True)
    return Clipping(check_number(f"{where}.max_norm", clip_grad.get("max_norm"), 0.0), float(power))


def _group(model: nn.Module, paramwise: dict, rate: float, decay: float) -> list[dict]:
    """One parameter group for each pair of multipliers; its ``names`` and ``lr_mult`` are ours, Jittor ignores them."""
    kinds = {
        key: check_number(f"optim_wrapper.paramwise_cfg.{key}", paramwise[key], 0.0)
        for key in ("norm_decay_mult", "bias_lr_mult", "bias_decay_mult")
        if paramwise.get(key) is not None
    }
    norms = {name for name, module in model.named_modules() if isinstance(module, _NORMS)}
    custom_keys = paramwise.get("custom_keys") or {}
    where = "optim_wrapper.paramwise_cfg.custom_keys"
    parameters = dict(model.named_parameters())
    for key, multipliers in custom_keys.items():
        check_keys(f"{where}[{key!r}]", multipliers, ("lr_mult", "decay_mult"))
        for name, value in multipliers.items():
            check_number(f"{where}[{key!r}].{name}", value, 0.0)
        if not any(key in name for name in parameters):
            words = sorted({word for name in parameters for word in name.split(".")})
            raise UserError(f"{where}: {key!r} is part of no parameter's name{nearest(key, words)}")
    longest_first = sorted(sorted(custom_keys), key=len, reverse=True)
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in parameters.items():
        if parameter.is_stop_grad():
            continue
        module, _, own_name = name.rpartition(".")
        by_kind: dict[str, float] = {}
        if own_name == "bias":
            by_kind["decay_mult"] = kinds.get("bias_decay_mult", 1.0)
            by_kind["lr_mult"] = 1.0 if module in norms else kinds.get("bias_lr_mult", 1.0)
        if module in norms and "norm_decay_mult" in kinds:
            by_kind["decay_mult"] = kinds["norm_decay_mult"]
        multipliers = next((custom_keys[key] for key in longest_first if key in name), by_kind)
        lr_mult, decay_mult = multipliers.get("lr_mult", 1.0), multipliers.get("decay_mult", 1.0)
        rates = {"lr": rate * lr_mult, "lr_mult": lr_mult, "weight_decay": decay * decay_mult}
        group = groups.setdefault((lr_mult, decay_mult), {"params": [], "names": [], **rates})
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise UserError("the model has no trainable parameter: all are frozen, or the model is in evaluation mode")
    return list(groups.values())

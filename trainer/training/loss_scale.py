"""The scale of the loss, with which small gradients survive in half precision: MMEngine's AmpOptimWrapper.

    loss ── · scale ── backward ── gradients · scale ─┬─ norm finite: / scale, clip, update; after `growth_interval`
                                                      │               updates in a row  scale · growth_factor
                                                      └─ else: nothing is updated       scale · backoff_factor

That is torch's GradScaler. The scale is a number on the device and is decided on there, so no step waits for the one
before; the host learns of an update that was skipped when it reads the step's losses. A static scale neither grows nor
shrinks, and skips as well.

Micikevicius et al., "Mixed Precision Training".
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from shared.config_keys import class_name
from shared.errors import UserError
from shared.keys import COUNT, SWITCH, Values, check_keys, check_number
from trainer.device import jt, var
from trainer.device.kernels import kernel

WRAPPER = "AmpOptimWrapper"


def _between(low: float, high: float, words: str) -> Values:
    return Values(lambda value: type(value) in (int, float) and low < value < high, words)


# The keywords of torch's GradScaler, with its defaults and which values they may have.
_DYNAMIC: dict[str, tuple[Any, Values]] = {
    "init_scale": (65536.0, _between(0, math.inf, "a number above 0")),
    "growth_factor": (2.0, _between(1, math.inf, "a number above 1")),
    "backoff_factor": (0.5, _between(0, 1, "a number above 0 and below 1")),
    "growth_interval": (2000, COUNT),
    "enabled": (True, SWITCH),
}

_CALL = """
    const loss_scale::Rules rules{(float)data["growth"], (float)data["backoff"], (float)data["interval"],
                                  data["beta1"], data["beta2"]};
    loss_scale::follow(in0_p, in1_p, rules, out0_p, out1_p, out2_p);
"""


class LossScale:
    """The scale and its rule.

    Attributes:
        state: f32 (3,): the scale, updates in a row since it last changed, updates in all.
    """

    def __init__(self, init_scale: float, growth_factor: float, backoff_factor: float, growth_interval: int) -> None:
        self.state = var([init_scale, 0, 0], "float32").stop_grad()
        self._rules = {"growth": growth_factor, "backoff": backoff_factor, "interval": float(growth_interval)}

    @property
    def value(self) -> jt.Var:
        """The scale, f32 (1,)."""
        return self.state[:1]

    def follow(self, norm: jt.Var, betas: tuple[float, float]) -> tuple[jt.Var, jt.Var]:
        """Judges the scaled gradients of an update by their norm, f32 (1,).

        Returns:
            The norm without the scale, f32 (1,), and what the update, the n-th, has to know, f32 (4,): the scale,
            1 - beta1^n, the root of 1 - beta2^n, and n - 1.
        """
        state, scaled, measured = jt.code(
            [(3,), (4,), (1,)],
            ["float32"] * 3,
            [norm, self.state],
            data={**self._rules, "beta1": betas[0], "beta2": betas[1]},
            **kernel(__file__, _CALL),
        )
        self.state.update(state)
        return measured, scaled


class Gradients(NamedTuple):
    """Of a step: their norm, and what they were scaled by meanwhile, None: by nothing."""

    norm: float
    scale: float | None = None


class Skips:
    """How many updates were skipped.

    Attributes:
        in_a_row: up to the last update.
    """

    def __init__(self) -> None:
        self.in_a_row = 0

    def count(self, norm: float) -> bool:
        """Counts an update by gradients of this norm; returns whether it was skipped."""
        finite = math.isfinite(norm)
        self.in_a_row = 0 if finite else self.in_a_row + 1
        return not finite


def build_loss_scale(optim_wrapper: dict, where: str) -> LossScale | None:
    """That of a config's ``optim_wrapper``; None: gradients are not scaled.

    Raises:
        UserError: a `loss_scale` that is neither a number above 0, nor 'dynamic', nor a dict of torch's GradScaler; one
            of another wrapper than AmpOptimWrapper.
    """
    if class_name(optim_wrapper.get("type")) != WRAPPER:
        for key in ("loss_scale", "dtype"):
            if key in optim_wrapper:
                raise UserError(f"{where}.{key} is of half precision: set {where}.type='{WRAPPER}', or remove it")
        return None
    where, asked = f"{where}.loss_scale", optim_wrapper.get("loss_scale", "dynamic")
    if type(asked) in (int, float):
        return LossScale(check_number(where, asked, 0.0, above=True), 1.0, 1.0, 1)
    if asked != "dynamic" and not isinstance(asked, dict):
        raise UserError(f"{where}: a number, 'dynamic' or a dict is expected, found {asked!r}")
    given = {} if asked == "dynamic" else asked
    check_keys(where, given, _DYNAMIC)
    settings = {name: given.get(name, default) for name, (default, _) in _DYNAMIC.items()}
    for name, (_, values) in _DYNAMIC.items():
        values.check(f"{where}.{name}", settings[name])
    return LossScale(**settings) if settings.pop("enabled") else None

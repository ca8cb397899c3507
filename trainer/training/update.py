"""The update of parameters, many in one operator, and the norm of all gradients in another.

Jittor's own optimizers make several small kernels for each rank of parameter and run them parameter by parameter. Here
a kernel has a table with a row for each of its parameters; the CPU's threads share out pieces of all rows, a GPU's
blocks those of a few dozen.

    row       in                                 out
    SGD       parameter, gradient, momentum      parameter, momentum
    AdamW     parameter, gradient, m, v          parameter, m, v
    AMSGrad   parameter, gradient, m, v, most v  parameter, m, v, most v
    Average   average, parameter                 average

Jittor writes the source of an operator anew in every process, compiled or not, in a time that grows with the square of
its inputs. So a model's rows are shared out among several operators, and a GPU has a few launches more. Networks repeat
convolution, scale and shift: with a multiple of three rows most operators have the same kernel. 162 rows by AdamW:

    rows of an operator    96      48      24      12
    CPU seconds of a start 6.2     1.1     0.42    0.08
    ms of an update        2.1     2.3     2.3     2.9
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from trainer.device import jt
from trainer.device.kernels import kernel

ROWS = 24  # of an operator
GRADIENTS = 240  # that an operator takes the norm of
NO_LIMIT = 1e30  # of a gradient, or of their norm
SUMS = 1024  # of each of them, at most, in a GPU's working memory: MOST_BLOCKS

_Item = TypeVar("_Item")


def gradient_norm(gradients: list[jt.Var], power: float = 2.0) -> jt.Var:
    """The norm f32 (1,) of all numbers of all gradients f32 (...): L2, or by another power up to infinity.

    Jittor's own sums in one float32 accumulator, which is off by percents at 20 million parameters.
    """
    if len(gradients) > GRADIENTS:
        return gradient_norm([gradient_norm(part, power) for part in _parts(gradients, GRADIENTS)], power)
    count = len(gradients)
    rows = ", ".join(f"{{in{i}->num, {{in{i}_p}}, {{}}}}" for i in range(count))
    kind = {2.0: "TwoNorm{}", math.inf: "MostNorm{}"}.get(power, 'AnyNorm{(float)data["power"]}')
    norm, _ = jt.code(
        [(1,), (count * SUMS,)],
        ["float32", "float32"],
        gradients,
        data={"power": power} if kind.startswith("Any") else {},
        **kernel(__file__, f"update::measure({{{rows}}}, out0_p, out1_p, update::{kind});"),
    )
    return norm


def _update_together(
    rows: list[tuple[list[jt.Var], jt.Var]],
    norm: jt.Var,
    rule: str,
    numbers: dict[str, float],
    scaled: jt.Var | None,
) -> None:
    """Updates rows of (what changes, the parameter first) and gradient, in one operator; for the rest see `_update`."""
    changing: list[jt.Var] = []
    inputs, table = [norm, *([] if scaled is None else [scaled])], []
    for variables, gradient in rows:
        first, out = len(inputs), len(changing)
        inputs += [variables[0], gradient, *variables[1:]]
        changing += variables
        ins = ", ".join(f"in{first + i}_p" for i in range(len(variables) + 1))
        outs = ", ".join(f"out{out + i}_p" for i in range(len(variables)))
        table.append(f"{{in{first}->num, {{{ins}}}, {{{outs}}}}}")
    members = ", ".join(f'(float)data["{name}"]' for name in numbers if name not in ("max_norm", "limit"))
    clip = f'in0_p, {"nullptr" if scaled is None else "in1_p"}, data["max_norm"], data["limit"]'
    call = f"update::apply({{{', '.join(table)}}}, {clip}, update::{rule}{{{members}}});"
    updated = jt.code(
        [tuple(variable.shape) for variable in changing],
        ["float32"] * len(changing),
        inputs,
        data=numbers,
        **kernel(__file__, call),
    )
    for variable, value in zip(changing, updated, strict=True):
        variable.update(value)


def _update(
    rows: list[tuple[list[jt.Var], jt.Var]],
    norm: jt.Var,
    rule: str,
    numbers: dict[str, float],
    scaled: jt.Var | None = None,
) -> None:
    """Updates rows of (what changes, the parameter first) and gradient.

    Args:
        rule: a struct of update_rules.h.
        numbers: max_norm, limit, and the struct's members in their order.
        scaled: f32 (4,), where the gradients are those of a scaled loss (`trainer.training.loss_scale`).
    """
    for part in _parts(rows, ROWS):
        _update_together(part, norm, rule, numbers, scaled)


def blend(averages: list[jt.Var], weights: list[jt.Var], share: float) -> None:
    """Moves averages f32 (...) by a `share` of the way to the weights f32 (...)."""
    rows = [([average], weight) for average, weight in zip(averages, weights, strict=True)]
    _update(rows, jt.ones(1), "Average", {"max_norm": 1.0, "limit": NO_LIMIT, "share": share})


def _parts(items: list[_Item], most: int) -> list[list[_Item]]:
    return [items[first : first + most] for first in range(0, len(items), most)]


class SGD(jt.optim.SGD):
    """torch's SGD, with its update in operators of our own."""

    def update(self, norm: jt.Var, max_norm: float, limit: float = NO_LIMIT, scaled: jt.Var | None = None) -> None:
        """Moves the parameters by the gradients of the last backward, scaled by max_norm / norm where that is below 1,
        and cut at `limit` and -`limit`.

        Args:
            norm: f32 (1,), the gradients' norm.
            scaled: f32 (4,), where the gradients are those of a scaled loss: of `LossScale.follow`, as is `norm` then.
                The device alone knows the number of updates then.
        """
        # torch's momentum begins as the first gradient
        dampens = self.momentum and (self.n_step > 1 or scaled is not None)
        for group in self.param_groups:
            rows = _rows(group, ("values",))
            numbers = {
                "max_norm": max_norm,
                "limit": limit,
                "rate": group["lr"],
                "decay": group["weight_decay"],
                "momentum": self.momentum,
                "dampening": self.dampening if dampens else 0.0,
                "nesterov": float(self.nesterov),
            }
            _update(rows, norm, "SGD", numbers, scaled)


class AdamW(jt.optim.AdamW):
    """torch's AdamW, with its update in operators of our own; with `amsgrad` by the largest second moment so far."""

    decoupled = True  # weight decay is no part of the gradient
    betas: tuple[float, float]

    @property
    def momentum(self) -> float:
        """The first beta: what MMEngine's schedulers of the momentum change."""
        return float(self.betas[0])

    @momentum.setter
    def momentum(self, value: float) -> None:
        self.betas = value, self.betas[1]

    def __init__(self, params: list, lr: float, amsgrad: bool = False, **settings: Any) -> None:
        super().__init__(params, lr, **settings)
        self.amsgrad = amsgrad
        for group in self.param_groups if amsgrad else ():
            group["most"] = [jt.zeros(value.shape).stop_grad() for value in group["values"]]

    def update(self, norm: jt.Var, max_norm: float, limit: float = NO_LIMIT, scaled: jt.Var | None = None) -> None:
        """See SGD.update."""
        beta1, beta2 = self.betas
        begins = 1.0 - beta1**self.n_step, (1.0 - beta2**self.n_step) ** 0.5
        first, second = begins if scaled is None else (1.0, 1.0)
        for group in self.param_groups:
            rows = _rows(group, ("m", "values", "most") if self.amsgrad else ("m", "values"))
            decay = group["weight_decay"]
            numbers = {
                "max_norm": max_norm,
                "limit": limit,
                "shrink": 1.0 - group["lr"] * decay if self.decoupled else 1.0,
                "decay": 0.0 if self.decoupled else decay,
                "step": group["lr"] / first,
                "root": second,
                "eps": self.eps,
                "beta1": beta1,
                "beta2": beta2,
            }
            _update(rows, norm, "AMSGrad" if self.amsgrad else "AdamW", numbers, scaled)


class Adam(AdamW):
    """torch's Adam: weight decay is a part of the gradient."""

    decoupled = False


def _rows(group: dict, buffers: tuple[str, ...]) -> list[tuple[list[jt.Var], jt.Var]]:
    columns = zip(group["params"], group["grads"], *(group[name] for name in buffers), strict=True)
    return [([p, *more], g) for p, g, *more in columns if not p.is_stop_grad()]

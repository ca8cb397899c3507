"""The update of parameters, many in one operator, and the norm of all gradients in another.

Jittor's own optimizers make several small kernels for each rank of parameter and run them parameter by parameter. Here
a kernel has a table with a row for each of its parameters; the CPU's threads share out pieces of all rows, a GPU's
blocks those of a few dozen.

    row       in                              out
    SGD       parameter, gradient, momentum   parameter, momentum
    AdamW     parameter, gradient, m, v       parameter, m, v
    Average   average, parameter              average

Jittor numbers an operator's inputs with three digits, and compiling one takes a time that grows with the square of its
inputs: models with many parameters take several. Networks repeat convolution, scale and shift, so that with a multiple
of three rows most of these have the same kernel.
"""

from __future__ import annotations

from typing import TypeVar

from trainer.device import jt
from trainer.device.kernels import kernel

ROWS = 60  # of an operator
GRADIENTS = 240  # that an operator takes the norm of
SUMS = 1024  # of each of them, at most, in a GPU's working memory: MOST_BLOCKS

_Item = TypeVar("_Item")


def gradient_norm(gradients: list[jt.Var]) -> jt.Var:
    """The L2 norm f32 (1,) of all numbers of all gradients f32 (...).

    Jittor's own sums in one float32 accumulator, which is off by percents at 20 million parameters.
    """
    if len(gradients) > GRADIENTS:
        return gradient_norm([gradient_norm(part) for part in _parts(gradients, GRADIENTS)])
    count = len(gradients)
    rows = ", ".join(f"{{in{i}->num, {{in{i}_p}}, {{}}}}" for i in range(count))
    norm, _ = jt.code(
        [(1,), (count * SUMS,)],
        ["float32", "float32"],
        gradients,
        **kernel(__file__, f"update::measure({{{rows}}}, out0_p, out1_p);"),
    )
    return norm


def _update_together(
    rows: list[tuple[list[jt.Var], jt.Var]], norm: jt.Var, rule: str, numbers: dict[str, float]
) -> None:
    """Updates rows of (what changes, the parameter first) and gradient, in one operator; for `rule` and `numbers` see
    `_update`."""
    changing: list[jt.Var] = []
    inputs, table = [norm], []
    for variables, gradient in rows:
        first, out = len(inputs), len(changing)
        inputs += [variables[0], gradient, *variables[1:]]
        changing += variables
        ins = ", ".join(f"in{first + i}_p" for i in range(len(variables) + 1))
        outs = ", ".join(f"out{out + i}_p" for i in range(len(variables)))
        table.append(f"{{in{first}->num, {{{ins}}}, {{{outs}}}}}")
    members = ", ".join(f'(float)data["{name}"]' for name in numbers if name != "max_norm")
    call = f'update::apply({{{", ".join(table)}}}, in0_p, data["max_norm"], update::{rule}{{{members}}});'
    updated = jt.code(
        [tuple(variable.shape) for variable in changing],
        ["float32"] * len(changing),
        inputs,
        data=numbers,
        **kernel(__file__, call),
    )
    for variable, value in zip(changing, updated, strict=True):
        variable.update(value)


def _update(rows: list[tuple[list[jt.Var], jt.Var]], norm: jt.Var, rule: str, numbers: dict[str, float]) -> None:
    """Updates rows of (what changes, the parameter first) and gradient.

    Args:
        rule: a struct of update_rules.h.
        numbers: max_norm, and the struct's members in their order.
    """
    for part in _parts(rows, ROWS):
        _update_together(part, norm, rule, numbers)


def blend(averages: list[jt.Var], weights: list[jt.Var], share: float) -> None:
    """Moves averages f32 (...) by a `share` of the way to the weights f32 (...)."""
    rows = [([average], weight) for average, weight in zip(averages, weights, strict=True)]
    _update(rows, jt.ones(1), "Average", {"max_norm": 1.0, "share": share})


def _parts(items: list[_Item], most: int) -> list[list[_Item]]:
    return [items[first : first + most] for first in range(0, len(items), most)]


class _Accumulating(jt.optim.Optimizer):
    def keep_gradients(self) -> None:
        """The next backward adds its gradients to those that are there."""
        self._Optimizer__zero_grad = False  # Jittor's own, and the only way to it


class SGD(_Accumulating, jt.optim.SGD):
    """Jittor's SGD (and torch's) with its update in operators of our own."""

    def update(self, norm: jt.Var, max_norm: float) -> None:
        """Moves the parameters by the gradients of the last backward, scaled by max_norm / norm where that is below 1.

        Args:
            norm: f32 (1,), the gradients' norm.
        """
        for group in self.param_groups:
            rows = _rows(group, ("values",))
            numbers = {
                "max_norm": max_norm,
                "rate": group["lr"],
                "decay": group["weight_decay"],
                "momentum": self.momentum,
                "nesterov": float(self.nesterov),
            }
            _update(rows, norm, "SGD", numbers)
        self.zero_grad()


class AdamW(_Accumulating, jt.optim.AdamW):
    """Jittor's AdamW (and torch's) with its update in operators of our own."""

    def update(self, norm: jt.Var, max_norm: float) -> None:
        """See SGD.update."""
        beta1, beta2 = self.betas
        for group in self.param_groups:
            rows = _rows(group, ("m", "values"))
            numbers = {
                "max_norm": max_norm,
                "shrink": 1.0 - group["lr"] * group["weight_decay"],
                "step": group["lr"] / (1.0 - beta1**self.n_step),
                "root": (1.0 - beta2**self.n_step) ** 0.5,
                "eps": self.eps,
                "beta1": beta1,
                "beta2": beta2,
            }
            _update(rows, norm, "AdamW", numbers)
        self.zero_grad()


def _rows(group: dict, buffers: tuple[str, ...]) -> list[tuple[list[jt.Var], jt.Var]]:
    columns = zip(group["params"], group["grads"], *(group[name] for name in buffers), strict=True)
    return [([p, *more], g) for p, g, *more in columns if not p.is_stop_grad()]

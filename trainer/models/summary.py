"""A model as a table: its modules, the shapes of what they give, how much of it trains.

    module                     type        output          parameters  trains
    backbone.layer1            Sequential  1x256x200x336      215,808  frozen
    roi_head.bbox_head.fc_reg  Linear      512x4                4,100  trainable

Listed are the parts that a config names and what each is made of, as far as it has parameters. Shapes are those of one
training step with one image: the first and the last of several, - where a module is used by the part around it and
gives nothing itself. Jittor knows the shapes before it computes anything, so this compiles and computes nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from shared.batch import blank_arrays
from trainer.batch import Batch
from trainer.device import jt, nn
from trainer.models.registry import CLASSES

PROPOSALS = 1000  # of the image, for a detector that does not make them itself
HEADER = ["module", "type", "output", "  parameters", "trains"]
_BUFFERS = ("running_mean", "running_var", "zs_weights")


def rows(model: nn.Module, height: int, width: int) -> list[list[str]]:
    """Name, type, output's shape, number of parameters and whether they train, of each module that is listed."""
    outputs = output_shapes(model, height, width)
    lines = []
    for name, module in listed(model, outputs):
        trainable, frozen, _ = counts(module)
        shapes = outputs.get(id(module), ["-"])
        shape = shapes[0] if len(shapes) == 1 else f"{shapes[0]} ... {shapes[-1]}"
        share = (
            f"{trainable:,} trainable, rest frozen" if trainable and frozen else "trainable" if trainable else "frozen"
        )
        lines.append([name, type(module).__name__, shape, f"{trainable + frozen:12,}", share])
    return lines


def listed(model: nn.Module, outputs: dict[int, list[str]]) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of the parts that a config names and of what these are made of; members of lists, which are
    called one by one, in place of the list."""
    modules = dict(model.named_modules())
    opened = {""}
    for name, module in modules.items():
        if name and name.rpartition(".")[0] in opened and sum(counts(module)):
            is_list = isinstance(module, nn.Sequential) and id(module) not in outputs
            if is_list or type(module) in CLASSES.values():
                opened.add(name)
            if not is_list:
                yield name, module


def counts(module: nn.Module) -> tuple[int, int, int]:
    """How many numbers of a module train, are frozen, and are buffers: running statistics and text embeddings."""
    trainable = frozen = buffers = 0
    for name, value in module.named_parameters():
        size = math.prod(value.shape)
        if name.rpartition(".")[2].startswith(_BUFFERS):
            buffers += size
        elif value.is_stop_grad():
            frozen += size
        else:
            trainable += size
    return trainable, frozen, buffers


def totals(model: nn.Module) -> str:
    """One line: parameters, how many of them train, and buffers."""
    trainable, frozen, buffers = counts(model)
    return (
        f"{trainable + frozen:,} parameters, {trainable:,} trainable and {frozen:,} frozen; "
        f"{buffers:,} numbers in buffers; {len(model.named_parameters())} tensors"
    )


def output_shapes(model: nn.Module, height: int, width: int) -> dict[int, list[str]]:
    """The shapes of what each module gives in a training step, by the module's id; one for each array and call."""
    shapes: dict[int, list[str]] = {}

    # Jittor hands keywords over only where there are any.
    def note(module: nn.Module, _: Any, output: Any, __: dict[str, Any] | None = None) -> None:
        shapes.setdefault(id(module), []).extend("x".join(map(str, array.shape)) for array in _arrays(output))

    modules = [module for name, module in model.named_modules() if name]
    for module in modules:
        module.register_forward_hook(note)
    try:
        with jt.no_grad():
            model.loss(Batch.from_arrays(blank_arrays(1, height, width, proposals=PROPOSALS)))
    finally:
        for module in modules:
            module.remove_forward_hook()
    return shapes


def _arrays(output: Any) -> Iterator[jt.Var]:
    """All Vars in what a module gives."""
    if isinstance(output, jt.Var):
        yield output
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _arrays(getattr(output, field.name))
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _arrays(item)

"""From which epoch on the training images are prepared in another way, as two hooks of MMDetection's say.

    PipelineSwitchHook     from ``switch_epoch`` on by ``switch_pipeline``
    YOLOXModeSwitchHook    the last ``num_last_epochs`` + 1 epochs without the mixing transforms ``skip_type_keys``; its
                           L1 loss is a part of YOLOX's own head, which no network here has

    epochs      0  1  2  3  4  5  6  7  8  9        max_epochs=10
                                ▲                   switch_epoch=5, or num_last_epochs=4

Both count epochs from 0 and look before each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.datasets import MIXING, wrapper_of
from shared.errors import UserError
from shared.hook_keys import find_hook
from shared.keys import Values
from shared.train_loop import TrainLoop

_MIXING_STEPS = ("Mosaic", "RandomAffine", "MixUp")


def pipeline_switch(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """``epoch``, and ``pipeline``, the steps from then on, or ``skip``, the types of steps that are left out from then
    on; None where there is one pipeline for all epochs.

    Args:
        config: its hooks have been checked one by one (`shared.hook_keys`).

    Raises:
        UserError: there are two switches, no epochs, or a data set of which the hook would change nothing.
    """
    other, pipeline = find_hook(config, "PipelineSwitchHook")
    where, mode = find_hook(config, "YOLOXModeSwitchHook")
    if other and where:
        raise UserError(f"config keys '{other}' and '{where}' both switch the pipeline: one is enough")
    where = where or other
    if not where:
        return None
    loop = TrainLoop.of(config.get("train_cfg") or {})
    if not loop.by_epoch:
        raise UserError(f"config key '{where}' counts epochs, and IterBasedTrainLoop has none: use EpochBasedTrainLoop")
    dataset = (config.get("train_dataloader") or {}).get("dataset") or {}
    wrapper = wrapper_of(dataset)
    if pipeline:
        if wrapper is not None:
            raise UserError(
                f"config key '{where}' replaces the pipeline of train_dataloader.dataset, and a {wrapper} has none of "
                "its own to replace: train the last epochs as a run of their own, with load_from"
            )
        return {"epoch": pipeline["switch_epoch"], "pipeline": pipeline["switch_pipeline"]}
    if wrapper != MIXING:
        raise UserError(
            f"config key '{where}' switches off the transforms of a {MIXING}, and train_dataloader.dataset is "
            f"{dataset.get('type')!r}: remove the hook"
        )
    epoch = max(0, loop.length - mode.get("num_last_epochs", 15) - 1)
    return {"epoch": epoch, "skip": list(mode.get("skip_type_keys", _MIXING_STEPS))}


def _is_switch(value: object) -> bool:
    """Whether `value`, which came over the wire, is what `pipeline_switch` makes."""
    return isinstance(value, dict) and (
        type(value.get("epoch")) is int
        and value["epoch"] >= 0
        and (
            (value.keys() == {"epoch", "pipeline"} and isinstance(value["pipeline"], list))
            or (value.keys() == {"epoch", "skip"} and isinstance(value["skip"], list))
        )
    )


PIPELINE_SWITCH = Values(_is_switch, "an epoch with a pipeline or types of steps").or_none()

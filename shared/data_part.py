"""What a stream of batches depends on, cut out of the trainer's config as plain data for HELLO and EVALUATE.

A tuple is written ``{TUPLE: [...]}``, because msgpack has none and MMDetection tells tuples from lists.
"""

from __future__ import annotations

from reprlib import repr as short
from typing import Any

from mmengine.config import Config

from shared.config import feed_settings, section
from shared.datasets import check_evaluated, parts_of, with_data_root
from shared.errors import UserError
from shared.feed_keys import FEED_NAMES, check_feed
from shared.keys import COUNT, SWITCH, of_type
from shared.pipeline_switch import PIPELINE_SWITCH, pipeline_switch
from shared.samplers import check_sampling, sampling

TUPLE = "(tuple)"


_VALUES = {
    "split": of_type(str, "a name"),
    "dataset": of_type(dict, "a dict"),
    "custom_imports": of_type(dict, "a dict").or_none(),
    "batch_size": COUNT,
    "size_divisor": COUNT,
    "training": SWITCH,
    "evaluators": of_type(list, "a list").or_none(),
    "switch": PIPELINE_SWITCH,
    "feed": of_type(dict, "a dict"),
}


def data_part(config: Config, split: str) -> dict[str, Any]:
    """What the stream ``train``, ``val`` or ``test`` depends on, as plain data for HELLO.

    Data sets that name no ``data_root`` of their own get the config's top-level one, so that ``--cfg-options
    data_root=...`` is enough.
    """
    dataloader = section(config, f"{split}_dataloader")
    for key in ("batch_size", "dataset"):
        if dataloader.get(key) is None:
            raise UserError(f"config key '{split}_dataloader.{key}' is missing")
    _VALUES["dataset"].check(f"config key '{split}_dataloader.dataset'", dataloader.dataset)
    parts_of(dataloader.dataset)  # refuses what is wrong with a wrapper
    if split != "train":
        check_evaluated(dataloader.dataset, f"config key '{split}_dataloader.dataset'")
    preprocessor = section(config, "model").get("data_preprocessor") or {}
    part: dict[str, Any] = _plain(
        {
            "split": split,
            "dataset": with_data_root(dataloader.dataset, config.get("data_root")),
            "custom_imports": config.get("custom_imports"),
            "batch_size": dataloader.batch_size,
            "training": split == "train",
            "evaluators": _evaluators(config, split),
            "switch": pipeline_switch(config) if split == "train" else None,
            **sampling(dataloader, split),
            "size_divisor": preprocessor.get("pad_size_divisor", 1),
            "feed": feed_settings(config),
        }
    )
    return part


def _evaluators(config: Config, split: str) -> list[dict[str, Any]]:
    """The metrics that the trainer of a stream will ask for, so that a wrong one is known when it begins."""
    splits = ("val", "test") if split == "train" else (split,)
    asked = [one for one in splits if config.get(f"{one}_evaluator") and config.get(f"{one}_dataloader")]
    return [metric for one in asked for metric in evaluator_part(config, one)]


def check_data_part(part: dict[str, Any]) -> None:
    """Raises UserError unless `part`, which came over the wire, is what `data_part` makes."""
    for key, values in _VALUES.items():
        values.check(f"data part of the config: {key!r}", part.get(key))
    check_sampling(part)
    if part["feed"].keys() != set(FEED_NAMES):
        raise UserError(f"data part of the config: 'feed' has keys {short(list(part['feed']))}; expected {FEED_NAMES}")
    check_feed(from_plain(part["feed"]))
    if not part["training"]:
        check_evaluated(from_plain(part["dataset"]), "data part of the config: 'dataset'")


def evaluator_part(config: Config, split: str) -> list[dict[str, Any]]:
    """``val_evaluator`` or ``test_evaluator`` as a list of metric configs, plain data."""
    evaluator = section(config, f"{split}_evaluator")
    metrics: list[dict[str, Any]] = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    for metric in metrics:
        if not isinstance(metric, dict) or "type" not in metric:
            raise UserError(f"config key '{split}_evaluator' holds {metric!r}; expected a dict with 'type'")
    return [_plain(metric) for metric in metrics]


def _plain(value: Any) -> Any:
    """`value` as plain data for msgpack, where a tuple is written ``{TUPLE: [...]}``, because MMDetection tells tuples
    from lists.

    Raises:
        UserError: something in it is no plain data.
    """
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return {TUPLE: [_plain(item) for item in value]}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise UserError(f"config value {value!r}: a data set's config holds plain data only (numbers, text, lists, dicts)")


def from_plain(value: Any) -> Any:
    """Undoes what `data_part` and `evaluator_part` did to tuples."""
    if isinstance(value, dict):
        if value.keys() == {TUPLE} and isinstance(value[TUPLE], list):
            return tuple(from_plain(item) for item in value[TUPLE])
        return {key: from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    return value

"""A config in MMDetection's own style, loaded and checked without importing torch.

The trainer's config is the single source of truth; the data server has none. `data_part` cuts out what a stream of
batches depends on, as plain data, and the trainer sends that in its HELLO. Where MMDetection has a key, its name and
meaning are kept; what is ours alone is the `feed` section:

    feed.slots             slots of shared memory (default: workers + 3)
    feed.credits           batches the trainer may hold at a time (default 2)
    feed.max_image_size    (height, width) in pixels of the largest padded batch (default: from the pipeline's Resize)
    feed.max_boxes         boxes an image may have (default: the most that an annotated image has)
    feed.checksum          whether every batch's payload is checksummed and checked (default True)
    feed.on_bad_sample     'stop' the stream at an image that is unreadable or kills workers (default), or 'replace' it
                           by the next sample
    feed.worker_memory     MiB that a worker may hold between two batches; who holds more is replaced (default 1024)
    feed.reconnect_seconds how long a trainer waits for an external data server that went away (default 600)
    feed.linger_seconds    how long an external data server keeps the stream of a trainer that was killed, so that the
                           next one is served at once (default 60)

``train_dataloader.sampler.source_ratio``, a number for each data set of a ConcatDataset, is the share that each has in
an epoch (default: every image is in it once; `data_server.serving.plan`).

Of stage 1's proposals, outside of it: ``proposal_dir``, the folder that ``--task propose`` writes to (default: the
work dir's ``proposals``), and a data set's ``proposal_file``, that folder or one file, with ``LoadProposals`` in its
pipeline (`data_server.datasets.proposals`). Relative paths are the data server's, as ``data_root``'s are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from reprlib import repr as short
from typing import Any

from mmengine.config import Config, DictAction

from shared.data_root import fill_in
from shared.datasets import with_data_root
from shared.errors import UserError, described
from shared.keys import check_keys, check_type, nearest

FEED_DEFAULTS: dict[str, Any] = {
    "slots": None,
    "credits": 2,
    "max_image_size": None,
    "max_boxes": None,
    "checksum": True,
    "on_bad_sample": "stop",
    "worker_memory": 1024,
    "reconnect_seconds": 600,
    "linger_seconds": 60,
}
TUPLE = "(tuple)"
_DATALOADER_KEYS = (
    "batch_size",
    "num_workers",
    "persistent_workers",
    "drop_last",
    "sampler",
    "batch_sampler",
    "dataset",
)
_SECTIONS: dict[str, tuple[str, ...]] = {
    "feed": tuple(FEED_DEFAULTS),
    "train_dataloader": _DATALOADER_KEYS,
    "val_dataloader": _DATALOADER_KEYS,
    "test_dataloader": _DATALOADER_KEYS,
    "train_cfg": ("type", "max_epochs", "val_interval"),
    "default_hooks": ("logger", "checkpoint", "timer", "param_scheduler", "sampler_seed", "visualization"),
    "default_hooks.logger": ("type", "interval"),
    "default_hooks.checkpoint": ("type", "interval", "max_keep_ckpts"),
    "randomness": ("seed",),
}
_TYPES = {
    "train_cfg": ("EpochBasedTrainLoop",),
    "sampler": ("DefaultSampler",),
    "batch_sampler": ("AspectRatioBatchSampler",),
}
_DATA_PART: dict[str, tuple[Any, str]] = {
    "split": (str, "a name"),
    "dataset": (dict, "a dict"),
    "custom_imports": (dict | None, "a dict or None"),
    "batch_size": (int, "a number"),
    "size_divisor": (int, "a number"),
    "shuffle": (bool, "True or False"),
    "group_by_aspect_ratio": (bool, "True or False"),
    "training": (bool, "True or False"),
    "source_ratio": (list | None, "a list of numbers or None"),
    "feed": (dict, "a dict"),
}


def add_arguments(parser: argparse.ArgumentParser, recipe: bool = False) -> None:
    """``--config`` and ``--cfg-options`` as MMDetection's tools have them; with `recipe`, ``--recipe`` in place of the
    first."""
    if recipe:
        one = parser.add_mutually_exclusive_group(required=True)
        one.add_argument("--config", help="path of a config file")
        one.add_argument("--recipe", help="path of a recipe: tasks that build on each other")
    else:
        parser.add_argument("--config", required=True, help="path of a config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_Overrides,
        default={},
        metavar="KEY=VALUE",
        help="settings to override, e.g. data_root=data/mine train_dataloader.batch_size=4",
    )


class _Overrides(DictAction):
    """MMDetection's own parser of KEY=VALUE, with a message where that one would recurse for ever."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list, option=None
    ) -> None:
        try:
            super().__call__(parser, namespace, values, option)
        except Exception:
            parser.error(
                f"--cfg-options {' '.join(values)}: expected KEY=VALUE with plain values or lists such as [1,2]"
            )


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """The config at `path` with `options` merged in, ``{data_root}`` filled in, and checked.

    Raises:
        UserError: the file is missing or no valid config, a section of ours has an unknown key, or ``{data_root}``
            stands somewhere and there is no `data_root`.
    """
    if not Path(path).is_file():
        raise UserError(f"config {path!r}: no such file")
    try:
        # custom_imports are for the data server's workers; here they could pull torch into the trainer.
        config = Config.fromfile(path, import_custom_modules=False)
        config.merge_from_dict(options or {})
    except Exception as error:
        raise UserError(f"config {path!r}: {described(error)}") from None
    fill_in(config)
    check(config)
    return config


def check(config: Config) -> None:
    """Raises UserError naming the first unknown key in a section that we interpret, with the nearest known one."""
    for section, known in _SECTIONS.items():
        values: Any = config
        for part in section.split("."):
            values = (values.get(part) if values is not None else None) or {}
        if not isinstance(values, dict):
            raise UserError(f"config key {section!r}: expected a dict, found {type(values).__name__}")
        check_keys(section, values, known)
        _check_type(section, values, section)
        for part in ("sampler", "batch_sampler"):
            if section.endswith("_dataloader") and values.get(part):
                _check_type(part, values[part], f"{section}.{part}")
    _check_feed(feed_settings(config))


def check_data_part(part: dict[str, Any]) -> None:
    """Raises UserError unless `part`, which came over the wire, is what `data_part` makes."""
    for key, (kind, expected) in _DATA_PART.items():
        if not isinstance(part.get(key), kind):
            raise UserError(f"data part of the config: {key!r} is {short(part.get(key))}; expected {expected}")
    for key in ("batch_size", "size_divisor"):
        if not _is_count(part[key]):
            raise UserError(f"config key {key!r} is {short(part[key])}; expected 1 or more")
    if not all(isinstance(share, int | float) and 0 <= share < 1e9 for share in part.get("source_ratio") or ()):
        raise UserError(
            f"config key 'sampler.source_ratio' is {short(part['source_ratio'])}; expected a list of numbers"
        )
    if part["feed"].keys() != FEED_DEFAULTS.keys():
        raise UserError(
            f"data part of the config: 'feed' has keys {short(list(part['feed']))}; expected {_SECTIONS['feed']}"
        )
    _check_feed(from_plain(part["feed"]))


def _check_feed(feed: dict[str, Any]) -> None:
    for key, (is_valid, expected) in _FEED_VALUES.items():
        if not is_valid(feed[key]):
            raise UserError(f"config key 'feed.{key}' is {short(feed[key])}; expected {expected}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_size_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value)))


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e9


_FEED_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "slots": (_is_count_or_none, "1 or more, or None"),
    "credits": (_is_count, "1 or more"),
    "max_image_size": (_is_size_or_none, "(height, width) in pixels, or None"),
    "max_boxes": (_is_count_or_none, "1 or more, or None"),
    "checksum": (lambda value: isinstance(value, bool), "True or False"),
    "on_bad_sample": (lambda value: value in ("stop", "replace"), "'stop' or 'replace'"),
    "worker_memory": (_is_count, "a number of MiB"),
    "reconnect_seconds": (_is_seconds, "a number of seconds"),
    "linger_seconds": (_is_seconds, "a number of seconds"),
}


def _check_type(kind: str, values: dict, where: str) -> None:
    known = _TYPES.get(kind)
    if known and "type" in values:
        check_type(where, values["type"], known)


def feed_settings(config: Config) -> dict[str, Any]:
    """The `feed` section with its defaults filled in."""
    return {**FEED_DEFAULTS, **config.get("feed", {})}


def seed_of(config: Config) -> int:
    """``randomness.seed``, 0 where none is set."""
    return (config.get("randomness") or {}).get("seed") or 0


def section(config: Config, key: str) -> Any:
    """``config[key]``; raises UserError when the config has none."""
    if config.get(key) is None:
        raise UserError(f"config {config.filename!r} has no {key!r}{nearest(key, list(config.keys()))}")
    return config[key]


def data_part(config: Config, split: str) -> dict[str, Any]:
    """What the stream ``train``, ``val`` or ``test`` depends on, as plain data for HELLO.

    Data sets that name no ``data_root`` of their own get the config's top-level one, so that ``--cfg-options
    data_root=...`` is enough.
    """
    dataloader = section(config, f"{split}_dataloader")
    for key in ("batch_size", "dataset"):
        if dataloader.get(key) is None:
            raise UserError(f"config key '{split}_dataloader.{key}' is missing")
    sampler = dataloader.get("sampler") or {}
    preprocessor = section(config, "model").get("data_preprocessor") or {}
    return _plain(
        {
            "split": split,
            "dataset": with_data_root(dataloader.dataset, config.get("data_root")),
            "custom_imports": config.get("custom_imports"),
            "batch_size": dataloader.batch_size,
            "shuffle": sampler.get("shuffle", split == "train"),
            "group_by_aspect_ratio": bool(dataloader.get("batch_sampler")),
            "training": split == "train",
            "source_ratio": list(sampler["source_ratio"]) if sampler.get("source_ratio") else None,
            "size_divisor": preprocessor.get("pad_size_divisor", 32),
            "feed": feed_settings(config),
        }
    )


def evaluator_part(config: Config, split: str) -> list[dict[str, Any]]:
    """``val_evaluator`` or ``test_evaluator`` as a list of metric configs, plain data."""
    evaluator = section(config, f"{split}_evaluator")
    metrics = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    for metric in metrics:
        if not isinstance(metric, dict) or "type" not in metric:
            raise UserError(f"config key '{split}_evaluator' holds {metric!r}; expected a dict with 'type'")
    return _plain(metrics)


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

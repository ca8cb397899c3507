"""Python-style configs (``read_base``, ``type=CocoDataset`` with the class imported) as the text style has them.

MMEngine reads such a file without importing what it names, but imports it as soon as a value is looked at. Here every
class becomes its name before that: the bare name of MMDetection's, MMEngine's, MMCV's and torch's, which are registered
under it, and ``module.Class`` of any other, which MMEngine imports where it builds it, in the data server's workers.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject

from shared.config_keys import class_name


def with_names(config: Config) -> Config:
    """`config` with names in place of classes and without the names that it imports; the same in the text style."""
    return Config(_plain(config._to_lazy_dict()), filename=config.filename, cfg_text=config.text)


def _plain(value: Any) -> Any:
    if isinstance(value, LazyObject | LazyAttr):
        return class_name(f"{value.module}.{value}")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value

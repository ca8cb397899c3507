"""The one place where a config's files lie: `data_root`, at its top.

A data set without a ``data_root`` of its own takes it (`shared.data_part`). In any other text ``{data_root}``
stands for it, and is filled in after ``--cfg-options``, so that ``data_root=...`` there moves everything::

    data_root = 'data'
    load_from = '{data_root}/weights/regionclip_pretrained-cc_rn50.pth'
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from shared.errors import UserError

PLACEHOLDER = "{data_root}"


def fill_in(config: Config) -> None:
    """Puts `data_root` where a text of `config`, however deep, says ``{data_root}``.

    Raises:
        UserError: a text does, and there is no `data_root`.
    """
    _fill_in(config, config.get("data_root"), "")


def _fill_in(node: Config | dict[str, Any] | list[Any], data_root: str | None, where: str) -> None:
    for key, value in list(enumerate(node) if isinstance(node, list) else node.items()):
        place = f"{where}.{key}" if where else str(key)
        if isinstance(value, dict | list):
            _fill_in(value, data_root, place)
        elif isinstance(value, str) and PLACEHOLDER in value:
            if data_root is None:
                raise UserError(f"config key {place!r} is {value!r}, and there is no 'data_root'; set data_root=DIR")
            node[key] = value.replace(PLACEHOLDER, str(data_root))

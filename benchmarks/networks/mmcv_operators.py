"""mmcv's compiled operators (RoIAlign, NMS), which the package itself does not bring: from a wheel, or not at all."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Uncompiled(types.ModuleType):
    """Stands where mmcv's compiled operators are missing: mmdet's modules import them by name, few call them."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> None:
            raise RuntimeError(f"mmcv has no compiled operator {name}")

        return missing


def unpack_wheel(target: Path) -> Path | None:
    """Unpacks the mmcv wheel of $WHEELS_DIR; returns `target`, to be put on PYTHONPATH, or None without a wheel."""
    folder = Path(os.environ.get("WHEELS_DIR", REPOSITORY.parent / "shared" / "wheels"))
    wheels = sorted(folder.glob("*mmcv*.whl"))
    if not wheels:
        return None
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(target)
    return target


def stand_in() -> None:
    """Makes ``import mmdet.models`` possible where there are no compiled operators; to be called before it."""
    if importlib.util.find_spec("mmcv._ext") is None:
        sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")


def are_compiled() -> bool:
    """Whether the operators can be called; after ``import mmdet.models``."""
    return not isinstance(sys.modules["mmcv._ext"], Uncompiled)
